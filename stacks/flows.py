"""Who may open a connection to whom in the cluster, as one list; everything that is not in it is refused."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pulumi_kubernetes.meta.v1 import LabelSelectorArgs
from pulumi_kubernetes.networking.v1 import (
    IPBlockArgs,
    NetworkPolicyEgressRuleArgs,
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicyPortArgs,
    NetworkPolicySpecArgs,
)

from stacks.config import NetworkConfig
from stacks.names import (
    INFERENCE,
    KEDA_NAMESPACE,
    METRICS_PORT,
    MONITORING_NAMESPACE,
    NAMESPACE,
    ROLLOUTS_NAMESPACE,
    TRACKING,
    TRAINING,
    Workload,
)
from stacks.subnets import zone_subnets

OURS = (NAMESPACE, MONITORING_NAMESPACE)
BOTH = ("Ingress", "Egress")


@dataclass(frozen=True, kw_only=True)
class Pods:
    """Pods of one namespace that carry these labels; without labels all of them."""

    name: str
    namespace: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """What no label selects: other machines, AWS, the API server."""

    name: str
    ranges: tuple[str, ...]


Peer = Pods | Addresses


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Connections that `source` may open to one port of `target`."""

    source: Peer
    target: Peer
    port: int
    protocol: Literal["TCP", "UDP"] = "TCP"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the cluster's pods have around them; AWS and a database only where there are some."""

    # Who asks for predictions: on AWS the balancer, which stands among the nodes and has no label.
    clients: Peer
    database: Addresses | None = None
    aws: Addresses | None = None


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One NetworkPolicy: what is open to and from some pods, or, of a namespace, that nothing else is."""

    name: str
    namespace: str
    spec: NetworkPolicySpecArgs


def _of(workload: Workload) -> Pods:
    return Pods(name=workload.name, namespace=NAMESPACE, labels=tuple(workload.labels.items()))


def _monitors(name: str, label: str = "app.kubernetes.io/name", value: str | None = None) -> Pods:
    return Pods(name=name, namespace=MONITORING_NAMESPACE, labels=((label, value or name),))


SERVING, TRACKER, JOBS = _of(INFERENCE), _of(TRACKING), _of(TRAINING)
# As kube-prometheus-stack labels them.
PROMETHEUS, ALERTMANAGER, GRAFANA = _monitors("prometheus"), _monitors("alertmanager"), _monitors("grafana")
STATE_METRICS = _monitors("kube-state-metrics")
OPERATOR = _monitors("operator", "app.kubernetes.io/component", "prometheus-operator")
WEBHOOK_JOBS = _monitors("webhook-jobs", "app.kubernetes.io/component", "prometheus-operator-webhook")
EVERYBODY = {namespace: Pods(name="everybody", namespace=namespace) for namespace in OURS}
DNS = Pods(name="dns", namespace="kube-system", labels=(("k8s-app", "kube-dns"),))
KEDA = Pods(name="keda", namespace=KEDA_NAMESPACE, labels=(("app.kubernetes.io/name", "keda-operator"),))
ROLLOUTS = Pods(name="argo-rollouts", namespace=ROLLOUTS_NAMESPACE, labels=(("app.kubernetes.io/name", "argo-rollouts"),))
# Nodes and the API server, which pods reach by its service's address as well as its own.
PRIVATE = Addresses(name="private", ranges=("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
ANYWHERE = Addresses(name="anywhere", ranges=("0.0.0.0/0",))
# https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html
IDENTITY_AGENT = Addresses(name="identity agent", ranges=("169.254.170.23/32",))
HTTP, HTTPS, POSTGRESQL = 80, 443, 5432
ALERTS_PORT, OPERATOR_PORT, RELOADER_PORT = 9093, 10250, 8080
# The API server's own, on EKS, kind and minikube.
API_PORTS = (HTTPS, 6443, 8443)


def around_aws(network: NetworkConfig) -> Surroundings:
    """An EKS cluster in the network, where pods have addresses of the VPC."""
    data = (zone_subnets(network.vpc_cidr, zone)["data"] for zone in network.zones)
    return Surroundings(
        clients=Addresses(name="vpc", ranges=(str(network.vpc_cidr),)),
        database=Addresses(name="database", ranges=tuple(map(str, sorted(data)))),
        # S3 keeps its public addresses behind the gateway endpoint, so there is no range to name.
        aws=ANYWHERE,
    )


# People come by `kubectl port-forward`, which no policy is asked about.
AROUND_LOCAL = Surroundings(clients=EVERYBODY[NAMESPACE])


def flows(around: Surroundings) -> list[Flow]:
    """The whole list."""
    return [*_names(), *_service(around), *_aws(around), *_monitoring()]


def _names() -> Iterator[Flow]:
    for namespace in OURS:
        yield Flow(source=EVERYBODY[namespace], target=DNS, port=53)
        yield Flow(source=EVERYBODY[namespace], target=DNS, port=53, protocol="UDP")


def _service(around: Surroundings) -> Iterator[Flow]:
    yield Flow(source=around.clients, target=SERVING, port=INFERENCE.port)
    yield Flow(source=JOBS, target=TRACKER, port=TRACKING.port)
    if around.database:
        yield Flow(source=TRACKER, target=around.database, port=POSTGRESQL)


def _aws(around: Surroundings) -> Iterator[Flow]:
    """Buckets and topics, and the agent on each node that gives a pod the credentials of its role."""
    if around.aws:
        for source in (SERVING, TRACKER, JOBS, ALERTMANAGER):
            yield Flow(source=source, target=IDENTITY_AGENT, port=HTTP)
            yield Flow(source=source, target=around.aws, port=HTTPS)


def _monitoring() -> Iterator[Flow]:
    for source in (PROMETHEUS, OPERATOR, STATE_METRICS, GRAFANA, WEBHOOK_JOBS):
        for port in API_PORTS:
            yield Flow(source=source, target=PRIVATE, port=port)
    scraped = (
        (SERVING, METRICS_PORT),
        (PROMETHEUS, METRICS_PORT),
        (PROMETHEUS, RELOADER_PORT),
        (ALERTMANAGER, ALERTS_PORT),
        (ALERTMANAGER, RELOADER_PORT),
        (STATE_METRICS, 8080),
        (OPERATOR, OPERATOR_PORT),
        (GRAFANA, 3000),
        (ROLLOUTS, 8090),
        (DNS, 9153),
        # Kubelets, and the exporters on the nodes.
        (PRIVATE, 10250),
        (PRIVATE, 9100),
    )
    for target, port in scraped:
        yield Flow(source=PROMETHEUS, target=target, port=port)
    for source in (GRAFANA, KEDA, ROLLOUTS):
        yield Flow(source=source, target=PROMETHEUS, port=METRICS_PORT)
    yield Flow(source=GRAFANA, target=ALERTMANAGER, port=ALERTS_PORT)
    # What one Alertmanager has sent, the other does not send again.
    yield Flow(source=ALERTMANAGER, target=ALERTMANAGER, port=9094)
    yield Flow(source=ALERTMANAGER, target=ALERTMANAGER, port=9094, protocol="UDP")
    # The API server asks the operator whether a rule is well written.
    yield Flow(source=PRIVATE, target=OPERATOR, port=OPERATOR_PORT)


def policies(allowed: Sequence[Flow], namespaces: Iterable[str] = OURS) -> list[Policy]:
    """What refuses everything to and from the namespaces' pods, and for each kind of pods what opens its flows."""
    shut = NetworkPolicySpecArgs(pod_selector=LabelSelectorArgs(), policy_types=BOTH)
    ours = {each: None for flow in allowed for each in (flow.source, flow.target) if isinstance(each, Pods)}
    return [
        *(Policy(name="default-deny", namespace=namespace, spec=shut) for namespace in namespaces),
        *(
            Policy(name=each.name, namespace=each.namespace, spec=_open(each, allowed))
            for each in ours
            if each.namespace in namespaces
        ),
    ]


def _open(pods: Pods, allowed: Sequence[Flow]) -> NetworkPolicySpecArgs:
    sources = _by_peer((flow.source, flow) for flow in allowed if flow.target == pods)
    targets = _by_peer((flow.target, flow) for flow in allowed if flow.source == pods)
    return NetworkPolicySpecArgs(
        pod_selector=LabelSelectorArgs(match_labels=dict(pods.labels)),
        policy_types=BOTH,
        ingress=[NetworkPolicyIngressRuleArgs(from_=_peers(each), ports=ports) for each, ports in sources.items()],
        egress=[NetworkPolicyEgressRuleArgs(to=_peers(each), ports=ports) for each, ports in targets.items()],
    )


def _by_peer(found: Iterable[tuple[Peer, Flow]]) -> dict[Peer, list[NetworkPolicyPortArgs]]:
    ports: dict[Peer, list[NetworkPolicyPortArgs]] = {}
    for peer, flow in found:
        ports.setdefault(peer, []).append(NetworkPolicyPortArgs(port=flow.port, protocol=flow.protocol))
    return ports


def _peers(peer: Peer) -> list[NetworkPolicyPeerArgs]:
    if isinstance(peer, Addresses):
        return [NetworkPolicyPeerArgs(ip_block=IPBlockArgs(cidr=each)) for each in peer.ranges]
    namespace = LabelSelectorArgs(match_labels={"kubernetes.io/metadata.name": peer.namespace})
    pods = LabelSelectorArgs(match_labels=dict(peer.labels)) if peer.labels else None
    return [NetworkPolicyPeerArgs(namespace_selector=namespace, pod_selector=pods)]
