from typing import Any

import msgspec
import pytest

from stacks.chart_values import Topic, alert_routes, chart_values
from stacks.config import StackConfig
from stacks.names import MONITORING_RELEASE, PROMETHEUS_URL

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
    routes: Any = alert_routes(TOPIC)
    [sent] = routes["route"]["routes"]
    [matcher] = sent["matchers"]
    assert (severity in matcher.split('"')[1].split("|")) is told
    assert routes["route"]["receiver"] == "nobody"
    [receiver] = [each for each in routes["receivers"] if each["name"] == sent["receiver"]]
    assert receiver["sns_configs"][0]["topic_arn"] == TOPIC.arn


def test_without_a_topic_alerts_are_shown_and_not_sent():
    routes: Any = alert_routes(None)
    assert (routes["route"]["routes"], routes["receivers"]) == ([], [{"name": "nobody"}])


def test_others_find_prometheus_by_the_releases_name(prod: StackConfig):
    assert values(prod)["fullnameOverride"] == MONITORING_RELEASE
    assert PROMETHEUS_URL == "http://monitoring-prometheus.monitoring:9090"
