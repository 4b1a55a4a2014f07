"""Everything that stacks declare in Kubernetes, on a real API server."""

from collections.abc import Iterator
from typing import Any

import pytest

from stacks.record import Plan
from tests.cluster.conftest import Cluster, Object, RefusedError
from tests.cluster.declared import in_order, is_of_charts, of_kind, played_nodes
from tests.stacks.wholes import complete


@pytest.fixture(scope="session", params=["local", "dev", "staging", "prod"])
def plan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return complete(request.param, tmp_path_factory.mktemp("releases"))


@pytest.fixture
def emptied(cluster: Cluster, plan: Plan) -> Iterator[Cluster]:
    """The server without what the stack declares, before and after."""
    # What is in a namespace goes with it; those of charts are not ours alone.
    ours = [each for each in in_order(plan) if "namespace" not in each["metadata"] and not is_of_charts(each)]
    cluster.clear(ours)
    yield cluster
    cluster.clear(ours)


@pytest.fixture
def fitted(emptied: Cluster) -> Iterator[Cluster]:
    """Nodes as the node groups of AWS have them, and a volume as a provisioner would make it."""
    with played_nodes(emptied):
        emptied.apply(VOLUME)
        yield emptied
        emptied.delete(VOLUME)


VOLUME: Object = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "metadata": {"name": "churn-test"},
    "spec": {
        "storageClassName": "standard",
        "capacity": {"storage": "5Gi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/nowhere"},
        "claimRef": {"namespace": "churn", "name": "churn"},
    },
}


def test_every_object_is_accepted_in_strict_mode(emptied: Cluster, plan: Plan):
    objects = in_order(plan)
    for each in of_kind(objects, "Namespace"):
        emptied.apply(each)
    unknown = {each["kind"] for each in objects if not emptied.knows(each)}
    for each in objects:
        if each["kind"] not in unknown:
            emptied.apply(each, dry_run=True)
    if unknown:
        pytest.skip(f"the cluster knows no {', '.join(sorted(unknown))}; all else was accepted")


def test_a_field_that_kubernetes_does_not_know_is_refused(emptied: Cluster, plan: Plan):
    [namespace, *_] = of_kind(in_order(plan), "Namespace")
    with pytest.raises(RefusedError, match="misspelt"):
        emptied.apply({**namespace, "spec": {"misspelt": True}}, dry_run=True)


def test_workloads_become_available(fitted: Cluster, plan: Plan):
    objects = in_order(plan)
    for each in objects:
        if not fitted.knows(each):
            pytest.skip(f"the cluster knows no {each['kind']}")
        fitted.apply(each)
    waiting = of_kind(objects, "Deployment", "Rollout")
    assert {each["metadata"]["name"] for each in waiting} == {"inference", "mlflow"}
    for each in waiting:
        found = fitted.until(each, is_available)
        assert found["status"]["availableReplicas"] == each["spec"]["replicas"]


def is_available(found: dict[str, Any]) -> bool:
    status = found.get("status", {})
    wanted = found["spec"]["replicas"]
    seen = status.get("observedGeneration")
    return str(seen) == str(found["metadata"]["generation"]) and status.get("availableReplicas", 0) == wanted
