import json
from typing import Any

import msgspec
import pytest

from stacks.config import InferenceConfig, StackConfig
from stacks.monitoring import Monitoring, MonitoringArgs, Notify, publish
from stacks.names import INFERENCE, METRICS_PORT
from stacks.pins import chart
from tests.stacks.access import may
from tests.stacks.conftest import Engine

NOTIFY = Notify(topic_arn="arn:aws:sns:eu-west-1:1:alerts", key_arn="key", region="eu-west-1", cluster_name="churn-prod")


def build(engine: Engine, config: StackConfig, objective: InferenceConfig | None = None, **replaced: Any) -> None:
    usual = {"namespace": "monitoring", "workloads_namespace": "churn", "storage_class": "gp3", "notify": NOTIFY}
    told = {**usual, "serving": True, "tracking": True, "cert_manager": True, **replaced}
    args = MonitoringArgs(config=config.monitoring, objective=objective or config.inference, **told)
    engine.run(lambda: Monitoring("monitoring", args))


def test_the_chart_is_the_pinned_one(engine: Engine, prod: StackConfig):
    build(engine, prod)
    release, pinned = engine.one("Release", "monitoring-stack"), chart("kube-prometheus-stack")
    assert (release["chart"], release["version"]) == (pinned.name, pinned.version)
    assert release["repositoryOpts"] == {"repo": pinned.repository}
    assert (release["namespace"], release["name"]) == ("monitoring", "monitoring")


def test_the_services_pods_are_scraped_on_their_metrics_port(engine: Engine, prod: StackConfig):
    build(engine, prod)
    monitor = engine.one("PodMonitor", "monitoring-inference")
    assert monitor["metadata"] == {"name": "inference", "namespace": "churn"}
    assert monitor["spec"]["selector"] == {"matchLabels": INFERENCE.labels}
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["portNumber"], endpoint["path"]) == (METRICS_PORT, "/metrics")


def test_rollouts_are_watched_where_there_are_some(engine: Engine, prod: StackConfig):
    at_once = msgspec.structs.replace(prod.inference, canary_weights_percent=())
    for objective, names in ((prod.inference, ["inference", "rollouts"]), (at_once, ["inference"])):
        build(engine, prod, objective)
        assert [each.name for each in engine.resources("PodMonitor")] == [f"monitoring-{name}" for name in names]


def test_dashboards_carry_the_label_that_grafana_looks_for(engine: Engine, prod: StackConfig):
    build(engine, prod)
    maps = engine.inputs("ConfigMap")
    assert [each["metadata"]["labels"] for each in maps] == [{"grafana_dashboard": "1"}] * 2
    shown = [json.loads(content) for each in maps for content in each["data"].values()]
    assert [each["title"] for each in shown] == ["Churn model", "Churn service"]


@pytest.mark.parametrize(("serving", "tracking"), [(True, True), (True, False), (False, True), (False, False)])
def test_only_what_the_stack_runs_is_watched(engine: Engine, prod: StackConfig, *, serving: bool, tracking: bool):
    build(engine, prod, serving=serving, tracking=tracking)
    assert len(engine.resources("PrometheusRule")) == (serving or tracking)
    told = json.dumps(engine.inputs("PrometheusRule"))
    assert [name in told for name in ("ChurnSlow", "ChurnMlflowDown")] == [serving, tracking]
    assert (len(engine.resources("PodMonitor")), len(engine.resources("ConfigMap"))) == ((2, 2) if serving else (0, 0))


def test_no_object_holds_an_empty_map(engine: Engine, prod: StackConfig):
    build(engine, prod)
    objects = [each.inputs for kind in ("PodMonitor", "PrometheusRule") for each in engine.resources(kind)]
    assert "{}" not in json.dumps(objects)


def test_alertmanager_may_write_to_its_topic_and_nowhere_else(engine: Engine, prod: StackConfig):
    build(engine, prod)
    association = engine.one("PodIdentityAssociation", "monitoring-alertmanager")
    assert {key: association[key] for key in ("clusterName", "namespace", "serviceAccount")} == {
        "clusterName": "churn-prod",
        "namespace": "monitoring",
        "serviceAccount": engine.one("Release", "monitoring-stack")["values"]["alertmanager"]["serviceAccount"]["name"],
    }
    statements = publish("topic", "key")
    assert may(statements, "sns:Publish", "topic")
    assert may(statements, "kms:GenerateDataKey", "key", {"kms:ViaService": "sns.eu-west-1.amazonaws.com"})
    assert not may(statements, "kms:GenerateDataKey", "key")
    assert not any(may(statements, "sns:Publish", other) for other in ("other", "key"))
    assert not any(may(statements, action, "topic") for action in ("sns:Subscribe", "sns:DeleteTopic", "kms:Decrypt"))


def test_without_a_topic_nothing_of_aws_is_declared(engine: Engine, prod: StackConfig):
    build(engine, prod, notify=None, cert_manager=False)
    assert not [each for each in engine.plan.resources if each.type.startswith("aws:")]
    values = engine.one("Release", "monitoring-stack")["values"]
    assert [each["name"] for each in values["alertmanager"]["config"]["receivers"]] == ["nobody"]
