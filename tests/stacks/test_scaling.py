import re
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from app.main import GETS, POSTS, UNMATCHED
from app.metrics import Metrics
from stacks.scaling import REQUESTS_PER_SECOND, Scaling, ScalingArgs, Target
from stacks.sizing import size
from tests.app.support import ASKED, Place, serving, variant, wait_for
from tests.stacks.conftest import Engine
from tests.stacks.prometheus import ask, prometheus
from tests.stacks.test_sizing import CONFIG

SIZING = size(CONFIG, 3, "c6i.large")
ROLLOUT = Target(api_version="argoproj.io/v1alpha1", kind="Rollout")


def scaled(engine: Engine, scale_on: str) -> dict[str, Any]:
    sizing = size(msgspec.structs.replace(CONFIG, scale_on=scale_on), 3, "c6i.large")
    engine.run(lambda: Scaling("scaling", ScalingArgs(namespace="churn", target=ROLLOUT, sizing=sizing)))
    [found] = [each.inputs for each in engine.plan.resources if each.type.startswith("kubernetes:")]
    return found


@pytest.mark.parametrize("scale_on", ["requests", "resources"])
def test_there_is_one_autoscaler_and_it_keeps_to_the_sizing(engine: Engine, scale_on: str):
    found = scaled(engine, scale_on)
    spec, target = found["spec"], found["spec"]["scaleTargetRef"]
    assert found["metadata"]["namespace"] == "churn"
    assert target == {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "inference"}
    assert (spec.get("minReplicas") or spec["minReplicaCount"]) == SIZING.replicas_min
    assert (spec.get("maxReplicas") or spec["maxReplicaCount"]) == SIZING.replicas_max


def test_keda_scales_on_processor_memory_and_requests(engine: Engine):
    found = scaled(engine, "requests")
    assert found["kind"] == "ScaledObject"
    triggers = {each["type"]: each for each in found["spec"]["triggers"]}
    assert triggers["cpu"]["metadata"] == {"value": str(SIZING.cpu_target_percent)}
    assert triggers["memory"]["metadata"] == {"value": "80"}
    assert triggers["prometheus"]["metadata"]["threshold"] == str(SIZING.requests_per_second_target)
    assert triggers["prometheus"]["metadata"]["serverAddress"] == "http://monitoring-prometheus.monitoring:9090"


def test_without_keda_processor_and_memory_are_left(engine: Engine):
    metrics = scaled(engine, "resources")["spec"]["metrics"]
    targets = {each["resource"]["name"]: each["resource"]["target"] for each in metrics}
    assert targets["cpu"] == {"type": "Utilization", "averageUtilization": SIZING.cpu_target_percent}
    assert targets["memory"]["averageUtilization"] == 80


def test_both_behave_the_same_and_are_slow_to_take_pods_away(engine: Engine):
    plain = scaled(engine, "resources")["spec"]["behavior"]
    keda = scaled(engine, "requests")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]
    assert keda == {"name": "inference", "behavior": plain}
    assert plain["scaleDown"]["stabilizationWindowSeconds"] > plain["scaleUp"]["stabilizationWindowSeconds"]
    assert plain["scaleDown"]["policies"] == [{"type": "Percent", "value": 25, "periodSeconds": 60}]


def test_the_request_rate_is_of_a_metric_that_the_app_has_from_its_start():
    [name] = re.findall(r"rate\((\w+)\{", REQUESTS_PER_SECOND)
    families = Metrics((*POSTS, *GETS, UNMATCHED)).collect()
    samples = {sample.labels["route"] for each in families for sample in each.samples if sample.name == name}
    [routes] = re.findall(r'route=~"([^"]+)"', REQUESTS_PER_SECOND)
    assert set(POSTS) <= {route for route in samples if re.fullmatch(routes, route)}
    assert not {route for route in samples if re.fullmatch(routes, route)} & {"/livez", "/readyz"}


def test_prometheus_counts_the_requests_that_clients_sent_and_no_others(tmp_path: Path):
    place, sent, window_seconds = Place(tmp_path), 300, 120
    place.write_release(variant(place.add_bundle()))
    with serving(place.settings(), tmp_path / "log") as server, httpx.Client(base_url=server.url) as http:
        wait_for(lambda: http.get("/readyz").is_success, "the service")
        pod = {"targets": [server.metrics_url.split("/")[2]], "labels": {"namespace": "churn", "pod": "one"}}
        with prometheus(tmp_path / "prometheus", {"job_name": "churn/inference", "static_configs": [pod]}) as address:
            # A scrape has seen that there was none before.
            wait_for(lambda: ask(address, REQUESTS_PER_SECOND) == 0, "the first scrapes")
            for _ in range(sent):
                http.post("/v1/predict", json=ASKED).raise_for_status()
                http.get("/livez")
            # Between scrapes Prometheus extends what it saw, less so the longer it has looked.
            rate = pytest.approx(sent / window_seconds, rel=0.1)
            wait_for(lambda: ask(address, REQUESTS_PER_SECOND) == rate, "the rate that was sent", 60)
