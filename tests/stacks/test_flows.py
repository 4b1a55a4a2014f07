from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from stacks.config import StackConfig
from stacks.flows import AROUND_LOCAL, EVERYBODY, OURS, Flow, Peer, Pods, Surroundings, around_aws, flows, policies
from stacks.names import INFERENCE, TRACKING, TRAINING
from stacks.record import record
from tests.stacks.reach import Place, reaches


def manifests(allowed: list[Flow]) -> list[dict[str, Any]]:
    """What Kubernetes is given."""

    def program() -> None:
        for each in policies(allowed):
            metadata = ObjectMetaArgs(name=each.name, namespace=each.namespace)
            NetworkPolicy(f"{each.namespace}-{each.name}", metadata=metadata, spec=each.spec)

    return [each.inputs for each in record(program, "test", {}).resources]


def monitor(name: str, number: int) -> Place:
    return Place(address=f"10.30.1.{number}", namespace="monitoring", labels={"app.kubernetes.io/name": name})


PLACES = {
    "inference": Place(address="10.30.0.1", namespace="churn", labels=INFERENCE.labels),
    "mlflow": Place(address="10.30.0.2", namespace="churn", labels=TRACKING.labels),
    "training": Place(address="10.30.0.3", namespace="churn", labels=TRAINING.labels),
    "stranger": Place(address="10.30.0.4", namespace="churn", labels={"app": "stranger"}),
    "prometheus": monitor("prometheus", 1),
    "alertmanager": monitor("alertmanager", 2),
    "grafana": monitor("grafana", 3),
    "state-metrics": monitor("kube-state-metrics", 4),
    "operator": Place(address="10.30.1.5", namespace="monitoring", labels={"app.kubernetes.io/component": "prometheus-operator"}),
    "dns": Place(address="10.30.2.1", namespace="kube-system", labels={"k8s-app": "kube-dns"}),
    "keda": Place(address="10.30.2.2", namespace="keda", labels={"app.kubernetes.io/name": "keda-operator"}),
    "rollouts": Place(address="10.30.2.4", namespace="argo-rollouts", labels={"app.kubernetes.io/name": "argo-rollouts"}),
    "elsewhere": Place(address="10.30.2.3", namespace="default"),
    "balancer": Place(address="10.30.3.1"),
    "node": Place(address="10.30.3.2"),
    "database": Place(address="10.30.20.7"),
    "agent": Place(address="169.254.170.23"),
    "internet": Place(address="52.218.0.1"),
}
HERE = ("inference", "mlflow", "training", "stranger", "prometheus", "alertmanager", "grafana", "state-metrics", "operator")
PORTS = (22, 53, 80, 443, 3000, 5000, 5432, 8080, 9090, 9093, 9094, 9100, 10250)


@pytest.fixture(scope="module")
def on_aws(prod: StackConfig) -> list[dict[str, Any]]:
    assert prod.aws
    return manifests(flows(around_aws(prod.aws.network)))


def into(policies: list[dict[str, Any]], name: str, *ports: int) -> dict[int, set[str]]:
    """Who else reaches the place, by port."""
    others = {each: place for each, place in PLACES.items() if each != name}
    sources = {port: {each for each, place in others.items() if reaches(policies, place, PLACES[name], port)} for port in ports}
    return {port: found for port, found in sources.items() if found}


def out(policies: list[dict[str, Any]], name: str, *others: str) -> set[tuple[str, int]]:
    return {(each, port) for each, port in product(others, PORTS) if reaches(policies, PLACES[name], PLACES[each], port)}


def test_predictions_are_asked_for_from_the_vpc_and_metrics_by_prometheus(on_aws: list[dict[str, Any]]):
    # Outside of our namespaces nobody is kept in; from the VPC, a pod is told from the balancer by nothing.
    around = {"balancer", "node", "database", "dns", "elsewhere", "keda", "rollouts"}
    assert into(on_aws, "inference", *PORTS) == {8080: around, 9090: {"prometheus"}}


def test_mlflow_is_reached_by_training_and_reaches_its_database_and_aws(on_aws: list[dict[str, Any]]):
    assert into(on_aws, "mlflow", *PORTS) == {5000: {"training"}}
    assert out(on_aws, "mlflow", "inference", "training", "stranger", "prometheus", "grafana") == set()
    assert out(on_aws, "mlflow", "database", "agent", "internet", "dns") == {
        ("database", 5432),
        ("agent", 80),
        ("dns", 53),
        # S3 has public addresses, so that 443 is open to all that listens there; of ours nobody does.
        *((each, 443) for each in ("database", "agent", "internet", "dns")),
    }


def test_only_mlflow_reaches_the_database(on_aws: list[dict[str, Any]]):
    assert {each for each in HERE if reaches(on_aws, PLACES[each], PLACES["database"], 5432)} == {"mlflow"}


def test_only_who_has_a_role_on_aws_reaches_the_agent_that_gives_it(on_aws: list[dict[str, Any]]):
    users = {each for each in HERE if reaches(on_aws, PLACES[each], PLACES["agent"], 80)}
    assert users == {"inference", "mlflow", "training", "alertmanager"}


def test_a_pod_that_nobody_knows_learns_names_and_no_more(on_aws: list[dict[str, Any]]):
    assert out(on_aws, "stranger", *PLACES) == {("dns", 53)}
    assert reaches(on_aws, PLACES["stranger"], PLACES["dns"], 53, "UDP")
    assert into(on_aws, "stranger", *PORTS) == {}
    assert into(on_aws, "training", *PORTS) == {}


def test_in_monitoring_each_part_is_reached_by_those_that_work_with_it(on_aws: list[dict[str, Any]]):
    assert into(on_aws, "prometheus", *PORTS) == {9090: {"grafana", "keda", "rollouts"}}
    assert into(on_aws, "grafana", *PORTS) == {3000: {"prometheus"}}
    assert into(on_aws, "state-metrics", *PORTS) == {8080: {"prometheus"}}
    assert into(on_aws, "alertmanager", *PORTS) == {8080: {"prometheus"}, 9093: {"grafana", "prometheus"}}
    assert "node" in into(on_aws, "operator", *PORTS)[10250], "the API server asks its webhook"
    assert reaches(on_aws, PLACES["alertmanager"], PLACES["alertmanager"], 9094, "UDP")


def test_prometheus_scrapes_what_there_is_and_reaches_no_other_port(on_aws: list[dict[str, Any]]):
    assert out(on_aws, "prometheus", *HERE) - {("prometheus", 8080), ("prometheus", 9090)} == {
        ("inference", 9090),
        ("alertmanager", 8080),
        ("alertmanager", 9093),
        ("grafana", 3000),
        ("state-metrics", 8080),
        ("operator", 10250),
    }
    assert out(on_aws, "prometheus", "node", "internet") == {("node", 443), ("node", 9100), ("node", 10250)}


def test_without_aws_nothing_of_ours_leaves_the_cluster():
    local = manifests(flows(AROUND_LOCAL))
    for each in ("inference", "mlflow", "training", "alertmanager"):
        assert out(local, each, "internet", "agent", "database", "node", "balancer", "elsewhere") == set()
    assert into(local, "inference", 8080) == {8080: {"mlflow", "training", "stranger"}}


@pytest.mark.parametrize("around", [AROUND_LOCAL, None], ids=["local", "AWS"])
def test_eks_takes_as_many_ports_for_one_range_as_the_list_has(around: Surroundings | None, prod: StackConfig):
    # https://docs.aws.amazon.com/eks/latest/userguide/cni-network-policy.html
    assert prod.aws
    allowed = flows(around or around_aws(prod.aws.network))
    for target in {flow.target for flow in allowed}:
        assert len({(flow.port, flow.protocol) for flow in allowed if flow.target == target}) <= 24


KINDS = [
    *(Pods(name=name, namespace=namespace, labels=(("name", name),)) for name in "abc" for namespace in OURS),
    *EVERYBODY.values(),
]
some_flows = st.lists(
    st.builds(
        Flow,
        source=st.sampled_from(KINDS),
        target=st.sampled_from(KINDS),
        port=st.sampled_from([1, 2]),
        protocol=st.sampled_from(["TCP", "UDP"]),
    ),
    max_size=6,
)


def there(kind: Peer, place: Place) -> bool:
    return isinstance(kind, Pods) and kind.namespace == place.namespace and dict(kind.labels).items() <= place.labels.items()


@settings(max_examples=30)
@given(some_flows)
def test_whatever_is_listed_passes_and_nothing_else_does(allowed: list[Flow]):
    rendered = manifests(allowed)
    places = [Place(address="10.0.0.1", namespace=each, labels={"name": name}) for each in OURS for name in "abd"]
    for source, target, port, protocol in product(places, places, (1, 2), ("TCP", "UDP")):
        opened = {(there(each.source, source), there(each.target, target), each.port, each.protocol) for each in allowed}
        assert reaches(rendered, source, target, port, protocol) == ((True, True, port, protocol) in opened)
