"""Inside the cluster: what is kept apart, who may ask Kubernetes what, and what stays up while nodes go."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, cast

from msgspec import Meta, field

from policies.declared import Node, Resource, Stack, Unknown, shown
from policies.pods import SERVING, TEMPLATES, template
from policies.rule import EachRule, Settings, StackRule, Whole

NAMESPACE = "kubernetes:core/v1:Namespace"
NETWORK_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
SERVICE, INGRESS = "kubernetes:core/v1:Service", "kubernetes:networking.k8s.io/v1:Ingress"
BUDGET = "kubernetes:policy/v1:PodDisruptionBudget"
SECRET = "kubernetes:core/v1:Secret"  # noqa: S105 - a kind of object
ROLES = ("kubernetes:rbac.authorization.k8s.io/v1:Role", "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole")
BINDINGS = (
    "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding",
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding",
)
SCALERS = ("kubernetes:autoscaling/v2:HorizontalPodAutoscaler", "kubernetes:keda.sh/v1alpha1:ScaledObject")
NAMESPACED = (
    *TEMPLATES,
    *SCALERS,
    *(NETWORK_POLICY, SERVICE, INGRESS, BUDGET, SECRET, ROLES[0], BINDINGS[0]),
    *(f"kubernetes:core/v1:{kind}" for kind in ("ConfigMap", "LimitRange", "PersistentVolumeClaim", "ServiceAccount")),
    *(f"kubernetes:monitoring.coreos.com/v1:{kind}" for kind in ("PodMonitor", "PrometheusRule", "ServiceMonitor")),
    "kubernetes:secrets-store.csi.x-k8s.io/v1:SecretProviderClass",
)
BALANCER = "alb.ingress.kubernetes.io"
ENFORCED = "pod-security.kubernetes.io/enforce"
ANYWHERE = ("0.0.0.0/0", "::/0")


def _is_in(namespace: Resource, other: Resource) -> bool:
    """Whether an object is in a namespace; a name that is not known yet is an output of the namespace."""
    found = other["metadata"]["namespace"]
    return namespace.is_meant_by(found) or (found.given and found.value == namespace["metadata"]["name"].value)


class Isolated(Settings, frozen=True, kw_only=True):
    """Namespaces of others' software, which brings its own policies or needs none."""

    others: tuple[Annotated[str, Meta(examples=["keda"])], ...] = ()


def _default_deny(stack: Stack, settings: Isolated) -> Whole:
    for namespace in stack.of(NAMESPACE):
        if namespace["metadata"]["name"].known in settings.others:
            continue
        if not any(_is_in(namespace, policy) and _denies_all(policy["spec"]) for policy in stack.of(NETWORK_POLICY)):
            yield namespace, "everything in it may connect to everything; declare a NetworkPolicy for all its pods without rules"


def _denies_all(spec: Node) -> bool:
    selector = spec["podSelector"]
    everything = not selector.given and set(spec["policyTypes"].texts) == {"Ingress", "Egress"}
    return everything and not spec["ingress"].given and not spec["egress"].given


class Ranges(Settings, frozen=True, kw_only=True):
    """The ports on which pods may call anything on the internet."""

    ports: tuple[Annotated[int, Meta(ge=1, le=65_535, examples=[443])], ...] = ()
    # Those on which all pods of a namespace may call, such as to look names up.
    everybody: tuple[Annotated[int, Meta(ge=1, le=65_535, examples=[53])], ...] = ()


def _loose(selector: Node) -> bool:
    """Whether it selects by nothing but what all pods of ours carry."""
    labels = set(selector["matchLabels"].names) - {"app.kubernetes.io/part-of"}
    return not labels and not selector["matchExpressions"].given


def _openings(policy: Resource, settings: Ranges) -> Iterator[str]:
    loose = _loose(policy["spec"]["podSelector"])
    for direction, side in (("ingress", "from"), ("egress", "to")):
        for rule in policy["spec"][direction]:
            ports = [int(each["port"].number) for each in rule["ports"]]
            if not rule[side].given:
                yield f"{rule.place}.{side} is missing, which is everybody; give who"
            if not ports or 0 in ports:
                yield f"{rule.place}.ports is {shown(rule['ports'].value)}, which is every port; give those that are used"
            if loose and not set(ports) <= set(settings.everybody):
                yield f"{rule.place} opens ports {ports} for all pods of the namespace; give a podSelector with their name"
            for peer in rule[side]:
                yield from _peer(peer, direction, ports, settings)


def _peer(peer: Node, direction: str, ports: list[int], settings: Ranges) -> Iterator[str]:
    """What is wrong with one who may connect, or may be connected to, on these ports."""
    if peer["ipBlock"].given:
        cidr = peer["ipBlock"]["cidr"].known
        if cidr in ANYWHERE and (direction == "ingress" or not set(ports) <= set(settings.ports)):
            yield f"{peer.place}.ipBlock.cidr is {cidr} for ports {ports}; give a narrower range"
        return
    if peer["namespaceSelector"].given and not peer["namespaceSelector"]["matchLabels"].given:
        yield f"{peer.place}.namespaceSelector is every namespace; give the name of one"
    if _loose(peer["podSelector"]) and not set(ports) <= set(settings.everybody):
        yield f"{peer.place} is {shown(peer.value)}, which is every pod there; give a podSelector with their name"


class Standards(Settings, frozen=True, kw_only=True):
    """Namespaces that cannot have the `restricted` standard, with the one that they have."""

    lower: dict[Annotated[str, Meta(examples=["monitoring"])], Literal["baseline", "privileged"]] = field(
        default_factory=dict[str, Literal["baseline", "privileged"]]
    )


def _standard(namespace: Resource, settings: Standards) -> Iterator[str]:
    name = namespace["metadata"]["name"].text
    wanted = settings.lower.get(name, "restricted")
    if (found := namespace["metadata"]["labels"][ENFORCED]).known != wanted:
        yield f"label {ENFORCED} is {shown(found.value)}; give {wanted}"


def _namespaced(resource: Resource, _: Settings) -> Iterator[str]:
    if not (found := resource["metadata"]["namespace"]).given or found.value == "default":
        yield f"{found.place} is {shown(found.value)}; give one of the stack's"


def _service(service: Resource, _: Settings) -> Iterator[str]:
    if service["spec"]["type"].known not in (None, "ClusterIP"):
        yield f"spec.type is {shown(service['spec']['type'].value)}; give ClusterIP, and an internal Ingress for the way in"
    if service["spec"]["externalIPs"].given:
        yield "spec.externalIPs is given, by which traffic of others can be taken; leave it out"


def _ingress(ingress: Resource, _: Settings) -> Iterator[str]:
    annotations = ingress["metadata"]["annotations"]
    if (found := annotations[f"{BALANCER}/scheme"]).known != "internal":
        yield f"annotation {BALANCER}/scheme is {shown(found.value)}; give internal"
    ranges = annotations[f"{BALANCER}/inbound-cidrs"]
    if not ranges.given or any(each.strip() in ANYWHERE for each in ranges.text.split(",")):
        yield f"annotation {BALANCER}/inbound-cidrs is {shown(ranges.value)}; give the ranges that may call"


def _labels(value: Any) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _budgets(stack: Stack, _: Settings) -> Whole:
    for workload in stack.of(*SERVING):
        least = _least_replicas(stack, workload)
        if least <= 1:
            continue
        labels, namespace = _labels(template(workload)["metadata"]["labels"].value), workload["metadata"]["namespace"].value
        chosen = [
            each
            for each in stack.of(BUDGET)
            if each["metadata"]["namespace"].value == namespace
            and (selector := _labels(each["spec"]["selector"]["matchLabels"].value))
            and selector.items() <= labels.items()
        ]
        if len(chosen) != 1:
            yield (
                workload,
                f"{least:.0f} replicas have {len(chosen)} disruption budgets; declare one PodDisruptionBudget that selects them",
            )
        for budget in chosen:
            yield from ((budget, message) for message in _leaves_room(budget["spec"], least))


def _leaves_room(budget: Node, least: float) -> Iterator[str]:
    available, lost = budget["minAvailable"].known, budget["maxUnavailable"].known
    if (isinstance(available, int) and 1 <= available < least) or (isinstance(lost, int) and 1 <= lost < least):
        return
    yield (
        f"minAvailable is {shown(available)} and maxUnavailable {shown(lost)} of {least:.0f} replicas; "
        "give one that lets a node go and keeps a pod"
    )


def _least_replicas(stack: Stack, workload: Resource) -> float:
    """As many as its autoscaler goes down to, or as many as it is given."""
    for scaler in stack.of(*SCALERS):
        target = scaler["spec"]["scaleTargetRef"]["name"].value
        if target == workload["metadata"]["name"].value and not isinstance(target, Unknown):
            key = "minReplicas" if scaler.type == SCALERS[0] else "minReplicaCount"
            return scaler["spec"][key].number
    return workload["spec"]["replicas"].number or 1


NETWORK = "NSA Kubernetes Hardening: network separation and hardening"
RULES = (
    StackRule(
        id="namespace-default-deny",
        why="What nobody has opened is closed, so that a pod that is broken into reaches little.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 4.3.2", NETWORK),
        example="everything in it may connect to everything; declare a NetworkPolicy for all its pods without rules",
        settings=Isolated,
        check=_default_deny,
    ),
    EachRule(
        id="network-policy-openings",
        why="An opening says who and on which port; one that leaves it out opens everything.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 5.4.4", NETWORK),
        example="spec.ingress[0].from is missing, which is everybody; give who",
        settings=Ranges,
        types=(NETWORK_POLICY,),
        check=_openings,
    ),
    EachRule(
        id="namespace-pod-security",
        why="Kubernetes itself refuses what slips past these rules.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 4.2.1",),
        example=f"label {ENFORCED} is missing; give restricted",
        settings=Standards,
        types=(NAMESPACE,),
        check=_standard,
    ),
    EachRule(
        id="namespace-own",
        why="In the default namespace no policy of ours applies.",
        severity="medium",
        frameworks=("CIS EKS 1.7.0 4.5.2",),
        needs="presence",
        example='metadata.namespace is "default"; give one of the stack\'s',
        types=NAMESPACED,
        check=_namespaced,
    ),
    EachRule(
        id="service-internal",
        why="A balancer that a service makes for itself is on the internet unless somebody says otherwise.",
        severity="critical",
        frameworks=("Well-Architected SEC05-BP01", NETWORK),
        example='spec.type is "LoadBalancer"; give ClusterIP, and an internal Ingress for the way in',
        types=(SERVICE,),
        check=_service,
    ),
    EachRule(
        id="ingress-internal",
        why="The service is asked from inside the VPC, by ranges that are named.",
        severity="critical",
        frameworks=("Well-Architected SEC05-BP01",),
        example=f'annotation {BALANCER}/scheme is "internet-facing"; give internal',
        types=(INGRESS,),
        check=_ingress,
    ),
    StackRule(
        id="disruption-budget",
        why="Nodes are replaced all the time: without a budget all replicas may go at once, with too tight a one no node can.",
        severity="medium",
        frameworks=("Well-Architected REL10-BP01",),
        example="3 replicas have 0 disruption budgets; declare one PodDisruptionBudget that selects them",
        check=_budgets,
    ),
)
