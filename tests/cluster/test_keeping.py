"""What keeps enough pods up when nodes are emptied or lost."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stacks.record import Plan
from tests.cluster.conftest import Cluster, Object, RefusedError, holds
from tests.cluster.declared import cordon
from tests.cluster.service import PODS, SELECTED, Service, going, is_ready, served
from tests.stacks.wholes import complete

TOO_MANY_REQUESTS = 429
ZONE = "topology.kubernetes.io/zone"


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return complete("prod", tmp_path_factory.mktemp("releases"))


@pytest.fixture
def service(cluster: Cluster, plan: Plan, tmp_path: Path) -> Iterator[Service]:
    with served(cluster, plan, tmp_path) as service:
        yield service


def ready(service: Service) -> list[Object]:
    return [each for each in service.cluster.list(PODS, labelSelector=SELECTED) if is_ready(each)]


def running(service: Service) -> list[Object]:
    """Ready, or would be if the heartbeat of their node were not late."""
    pods = service.cluster.list(PODS, labelSelector=SELECTED)
    return [each for each in pods if holds(each, "ContainersReady") and not going(each)]


def evict(service: Service, pod: Object) -> None:
    """As `kubectl drain` does. Raises RefusedError."""
    about = {"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": about}
    service.cluster.create(f"{PODS}/{about['name']}/eviction", body)


def test_a_drain_takes_as_many_pods_as_the_budget_has_and_goes_on_when_others_are_there(service: Service):
    nodes, before = service.cluster.list("/api/v1/nodes"), ready(service)
    spared = len(before) - 1
    cordon(service.cluster, nodes, closed=True)
    try:
        service.until(lambda: is_evicted(service, before[0]), "with a pod to spare")
        for each in before[1:]:
            with pytest.raises(RefusedError, match="disruption budget"):
                evict(service, each)
        service.until(lambda: len(ready(service)) == spared, "left with all but one")
    finally:
        cordon(service.cluster, nodes, closed=False)
    service.until(lambda: len(ready(service)) == len(before), "as many as before")
    service.until(lambda: is_evicted(service, before[1]), "further with the drain")


def is_evicted(service: Service, pod: Object) -> bool:
    try:
        evict(service, pod)
    except RefusedError as refused:
        # The budget learns a little later of a pod than we do.
        if refused.status != TOO_MANY_REQUESTS:
            raise
        return False
    return True


def test_pods_of_a_node_whose_heartbeat_was_late_serve_again(service: Service):
    pods = ready(service)
    for each in pods:
        # As the controller of nodes does, and as kwok leaves it.
        others = [condition for condition in each["status"]["conditions"] if condition["type"] != "Ready"]
        late = {"type": "Ready", "status": "False"}
        service.cluster.patch_status({"apiVersion": "v1", "kind": "Pod", **each}, {"conditions": [*others, late]})
    service.until(lambda: len(ready(service)) == len(pods), "as many as before the heartbeat was late")
    assert names(ready(service)) == names(pods)


def names(pods: list[Object]) -> set[str]:
    return {each["metadata"]["name"] for each in pods}


def zones(service: Service) -> dict[str, str]:
    """The zone of each node."""
    return {each["metadata"]["name"]: each["metadata"]["labels"][ZONE] for each in service.cluster.list("/api/v1/nodes")}


def test_a_zone_that_is_lost_leaves_the_others_serving_and_they_take_its_pods(service: Service):
    where, pods = zones(service), ready(service)
    assert {where[each["spec"]["nodeName"]] for each in pods} == set(where.values()), "one in each zone"
    lost = where[pods[0]["spec"]["nodeName"]]
    gone = [each for each in service.cluster.list("/api/v1/nodes") if where[each["metadata"]["name"]] == lost]
    fewest = len(pods)

    def recovered() -> bool:
        nonlocal fewest
        left = [each for each in running(service) if where[each["spec"]["nodeName"]] != lost]
        fewest = min(fewest, len(left))
        return len(left) == len(pods)

    try:
        lose(service, gone, lost, where)
        service.until(recovered, "as many as before in the other zones")
    finally:
        for each in gone:
            service.cluster.create("/api/v1/nodes", again(each))
    # stacks/sizing.py reckons with the zone that has most.
    assert fewest >= len(pods) - -(-len(pods) // len(set(where.values())))


def lose(service: Service, nodes: list[Object], zone: str, where: dict[str, str]) -> None:
    """Nodes that are no more, and their pods with them, which nobody tells to leave."""
    for each in nodes:
        service.cluster.delete({"apiVersion": "v1", "kind": "Node", **each})
    for each in service.cluster.list(PODS, labelSelector=SELECTED):
        if where[each["spec"]["nodeName"]] == zone and not going(each):
            service.cluster.delete({"apiVersion": "v1", "kind": "Pod", **each}, grace_seconds=0)


def again(found: Object) -> Object:
    """The node as it was first made."""
    about: dict[str, Any] = found["metadata"]
    metadata = {key: about[key] for key in ("name", "labels", "annotations")}
    resources = {key: found["status"][key] for key in ("allocatable", "capacity")}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": resources}
