from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml

from stacks.alerts import rule_groups
from stacks.chart_values import Topic, alert_routes, chart_values
from stacks.config import StackConfig
from stacks.names import MONITORING_RELEASE, PROMETHEUS_URL
from tests.app.support import wait_for
from tests.conftest import CHECKOUT
from tests.stacks.alertmanager import alertmanager, github

TOPIC = Topic(arn="arn:aws:sns:eu-west-1:1:alerts", region="eu-west-1")


def values(config: StackConfig, *, topic: Topic | None = TOPIC, cert_manager: bool = True, **replaced: Any) -> dict[str, Any]:
    asked = msgspec.structs.replace(config.monitoring, **replaced)
    return chart_values(asked, "gp3", topic, cert_manager=cert_manager)


def test_what_is_kept_and_for_how_long_is_the_configuration(prod: StackConfig):
    spec = values(prod, retention_days=12, storage_gib=10, replicas=2, memory_mib=700)["prometheus"]["prometheusSpec"]
    assert (spec["retention"], spec["replicas"]) == ("12d", 2)
    assert spec["resources"]["limits"] == {"memory": "700Mi"}
    claim = spec["storageSpec"]["volumeClaimTemplate"]["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("gp3", "10Gi")


@pytest.mark.parametrize("gib", [1, 2, 100, 5000])
def test_old_metrics_go_before_the_disk_is_full(prod: StackConfig, gib: int):
    size = values(prod, storage_gib=gib)["prometheus"]["prometheusSpec"]["retentionSize"]
    # Prometheus counts a megabyte as 1024 times 1024.
    assert 0.5 * gib < int(size.removesuffix("MB")) / 1024 <= 0.85 * gib


def test_rules_and_targets_of_ours_count_without_a_label_of_the_chart(prod: StackConfig):
    spec = values(prod)["prometheus"]["prometheusSpec"]
    assert [spec[f"{kind}SelectorNilUsesHelmValues"] for kind in ("rule", "podMonitor", "serviceMonitor")] == [False] * 3


@pytest.mark.parametrize(("replicas", "guarded"), [(1, False), (2, True)])
def test_two_of_a_kind_are_not_taken_away_together(prod: StackConfig, replicas: int, *, guarded: bool):
    given = values(prod, replicas=replicas)
    assert [given[part]["podDisruptionBudget"]["enabled"] for part in ("prometheus", "alertmanager")] == [guarded] * 2


def test_nobody_can_sign_in_to_grafana_and_everybody_may_only_look(prod: StackConfig):
    grafana = values(prod)["grafana"]
    settings = grafana["grafana.ini"]
    assert settings["auth"]["disable_login_form"]
    assert not settings["auth.basic"]["enabled"]
    assert settings["auth.anonymous"] == {"enabled": True, "org_role": "Viewer"}
    assert grafana["env"] == {"GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true"}
    assert grafana["rbac"] == {"namespaced": True}


def test_the_webhooks_certificate_is_cert_managers_where_there_is_one(prod: StackConfig):
    hooks = [values(prod, cert_manager=there)["prometheusOperator"]["admissionWebhooks"] for there in (True, False)]
    assert [hook.get("certManager") for hook in hooks] == [{"enabled": True}, None]


def test_every_container_has_a_memory_limit(prod: StackConfig):
    given = values(prod, cert_manager=False)
    operator, grafana = given["prometheusOperator"], given["grafana"]
    parts = [operator, operator["prometheusConfigReloader"], operator["admissionWebhooks"]["patch"], grafana, grafana["sidecar"]]
    parts += [given["prometheus"]["prometheusSpec"], given["alertmanager"]["alertmanagerSpec"]]
    parts += [given["kube-state-metrics"], given["prometheus-node-exporter"]]
    assert all(part["resources"]["limits"]["memory"] for part in parts)


def test_secrets_are_not_listed_for_metrics(prod: StackConfig):
    assert not {"secrets", "configmaps"} & set(values(prod)["kube-state-metrics"]["collectors"])


@pytest.mark.parametrize(("severity", "told"), [("critical", True), ("warning", True), ("info", False), ("none", False)])
def test_what_wants_somebody_goes_to_the_topic(severity: str, *, told: bool):
    routes: Any = alert_routes(TOPIC, "")
    [sent] = routes["route"]["routes"]
    [matcher] = sent["matchers"]
    assert (severity in matcher.split('"')[1].split("|")) is told
    assert routes["route"]["receiver"] == "nobody"
    [receiver] = [each for each in routes["receivers"] if each["name"] == sent["receiver"]]
    assert receiver["sns_configs"][0]["topic_arn"] == TOPIC.arn


def test_without_a_topic_alerts_are_shown_and_not_sent():
    routes: Any = alert_routes(None, "")
    assert (routes["route"]["routes"], routes["receivers"]) == ([], [{"name": "nobody"}])


@pytest.mark.parametrize("topic", [TOPIC, None])
def test_alerts_about_the_model_start_the_workflow_and_still_reach_people(prod: StackConfig, topic: Topic | None):
    routes: Any = alert_routes(topic, "retention-team/churn")
    first, *others = routes["route"]["routes"]
    assert (first["receiver"], first["continue"]) == ("retrain", True)
    assert [each["receiver"] for each in others] == (["topic"] if topic else [])
    [matcher] = first["matchers"]
    asked = set(matcher.split('"')[1].split("|"))
    groups: list[Any] = rule_groups(prod.inference, serving=True, tracking=True)
    declared = {rule.get("alert") for group in groups for rule in group["rules"]}
    assert asked
    assert asked <= declared
    workflow = yaml.safe_load((CHECKOUT / ".github/workflows/model-retraining.yml").read_text())
    [hook] = next(each["webhook_configs"] for each in routes["receivers"] if each["name"] == "retrain")
    # YAML reads a bare `on` as true.
    assert [hook["payload"]["event_type"]] == workflow[True]["repository_dispatch"]["types"]


@pytest.mark.parametrize(("repository", "mounted"), [("retention-team/churn", True), ("", False)])
def test_the_token_is_mounted_where_alertmanager_looks_for_it_and_may_be_missing(
    prod: StackConfig, repository: str, *, mounted: bool
):
    given = values(prod, retrain_repository=repository)["alertmanager"]
    spec, hooks = given["alertmanagerSpec"], [each for each in given["config"]["receivers"] if "webhook_configs" in each]
    assert ("volumes" in spec, "volumeMounts" in spec, bool(hooks)) == (mounted,) * 3
    for hook in hooks:
        [volume], [mount] = spec["volumes"], spec["volumeMounts"]
        assert (volume["name"], volume["secret"]["optional"], mount["readOnly"]) == (mount["name"], True, True)
        sent = hook["webhook_configs"][0]
        assert sent["http_config"]["authorization"]["credentials_file"] == f"{mount['mountPath']}/token"
        assert sent["url"] == f"https://api.github.com/repos/{repository}/dispatches"


def test_an_alert_reaches_github_as_the_event_that_the_workflow_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "token").write_text("of-the-repository")
    monkeypatch.setattr("stacks.chart_values.TOKEN_FOLDER", str(tmp_path))
    with github() as (address, asked):
        monkeypatch.setattr("stacks.chart_values.GITHUB_API", address)
        routes: Any = alert_routes(None, "retention-team/churn")
        routes["route"]["group_wait"] = "0s"
        with alertmanager(tmp_path, routes) as url:
            # What is not about the model comes first, and so would be told first.
            for name in ("ChurnSlow", "ChurnDrift", "ChurnModelOld"):
                httpx.post(f"{url}/api/v2/alerts", json=[{"labels": {"alertname": name}}]).raise_for_status()
            wait_for(lambda: bool(asked), "the event", 30)
    [(path, token, body)] = asked
    assert (path, token) == ("/repos/retention-team/churn/dispatches", "Bearer of-the-repository")
    assert body == {"event_type": "retrain"}


def test_others_find_prometheus_by_the_releases_name(prod: StackConfig):
    assert values(prod)["fullnameOverride"] == MONITORING_RELEASE
    assert PROMETHEUS_URL == "http://monitoring-prometheus.monitoring:9090"
