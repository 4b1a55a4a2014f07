"""Everything that stacks declare in Kubernetes, on a real API server."""

from collections.abc import Iterator
from typing import Any

import pytest

from stacks.flows import OURS
from stacks.manifests import manifests
from stacks.names import INFERENCE_NODES, NODES
from stacks.record import Plan
from tests.cluster.conftest import Cluster, Object, RefusedError
from tests.stacks.wholes import complete

# What makes pods or is needed by them to start.
FIRST = ("Namespace", "PriorityClass", "StorageClass", "ServiceAccount", "PersistentVolumeClaim")


@pytest.fixture(scope="session", params=["local", "dev", "staging", "prod"])
def plan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return complete(request.param, tmp_path_factory.mktemp("releases"))


def in_order(plan: Plan) -> list[Object]:
    """The objects of a plan, what others need first."""
    objects = [manifest for _, manifest in manifests(plan)]
    return sorted(objects, key=lambda each: FIRST.index(each["kind"]) if each["kind"] in FIRST else len(FIRST))


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


def is_of_charts(manifest: Object) -> bool:
    return manifest["kind"] == "Namespace" and manifest["metadata"]["name"] not in OURS


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
    nodes = emptied.list("/api/v1/nodes")
    if not all("kwok.x-k8s.io/node" in each["metadata"].get("annotations", {}) for each in nodes):
        pytest.skip("the nodes are real and have no image of ours; give a cluster whose nodes kwok plays")
    for each in nodes:
        emptied.apply(node(each["metadata"]["name"], {NODES: INFERENCE_NODES}))
    emptied.apply(VOLUME)
    yield emptied
    emptied.delete(VOLUME)
    for each in nodes:
        emptied.apply(node(each["metadata"]["name"], {}))


def node(name: str, labels: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


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
