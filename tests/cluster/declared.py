"""What a stack declares in Kubernetes, and nodes that it fits on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stacks.flows import OURS
from stacks.manifests import manifests
from stacks.names import INFERENCE_NODES, NODES
from stacks.record import Plan
from tests.cluster.conftest import Cluster, Object, is_played

# What makes pods or is needed by them to start.
FIRST = ("Namespace", "PriorityClass", "StorageClass", "ServiceAccount", "PersistentVolumeClaim")


def in_order(plan: Plan) -> list[Object]:
    """The objects of a plan, what others need first."""
    objects = [manifest for _, manifest in manifests(plan)]
    return sorted(objects, key=lambda each: FIRST.index(each["kind"]) if each["kind"] in FIRST else len(FIRST))


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


def is_of_charts(manifest: Object) -> bool:
    return manifest["kind"] == "Namespace" and manifest["metadata"]["name"] not in OURS


@contextmanager
def played_nodes(cluster: Cluster) -> Iterator[list[Object]]:
    """Nodes as the node groups of AWS have them; skips the test where the nodes are real."""
    nodes = cluster.list("/api/v1/nodes")
    if not all(is_played(each) for each in nodes):
        pytest.skip("the nodes are real and have no image of ours; give a cluster whose nodes kwok plays")
    for each in nodes:
        cluster.apply(node(each["metadata"]["name"], {NODES: INFERENCE_NODES}))
    try:
        yield nodes
    finally:
        for each in nodes:
            cluster.apply(node(each["metadata"]["name"], {}))


def node(name: str, labels: dict[str, str], **spec: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}} | ({"spec": spec} if spec else {})


def cordon(cluster: Cluster, nodes: list[Object], *, closed: bool) -> None:
    """Whether pods may be put there, for nodes that are played."""
    for each in nodes:
        cluster.apply(node(each["metadata"]["name"], {NODES: INFERENCE_NODES}, unschedulable=closed))
