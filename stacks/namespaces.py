"""The namespaces of our workloads and of monitoring: who runs there, and that nothing is open but what stacks/flows.py lists."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from stacks.flows import OURS, Surroundings, flows, policies
from stacks.names import INFERENCE, MONITORING_NAMESPACE, NAMESPACE, TRACKING, TRAINING

# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
# A pod is ready once the balancer has taken it in, where there is one; before, an update could stop pods that it still relies on.
# Not where there is nothing behind the balancer: while its controller is away, no pod starts in a namespace with this label.
# https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/pod_readiness_gate/
AWAITED = {"elbv2.k8s.aws/pod-readiness-gate-inject": "enabled"}


@dataclass(frozen=True, kw_only=True)
class NamespacesArgs:
    """What is around the cluster's pods, and whether our namespace outlives the stack, as it must with data in it."""

    around: Surroundings
    retained: bool = False


class Namespaces(pulumi.ComponentResource):
    """Both namespaces; each is given out as a name once everything stands that its pods need to start."""

    churn: pulumi.Output[str]
    monitoring: pulumi.Output[str]

    def __init__(self, name: str, args: NamespacesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:namespaces:Namespaces", name, None, opts)
        self._name, self._child = name, pulumi.ResourceOptions(parent=self)
        made = {each: self._namespace(each, retained=args.retained and each == NAMESPACE) for each in OURS}
        ready: dict[str, list[pulumi.Input[str]]] = {each: [made[each]] for each in OURS}
        ready[NAMESPACE] += self._accounts(made[NAMESPACE])
        for policy in policies(flows(args.around)):
            open_ = k8s.networking.v1.NetworkPolicy(
                f"{name}-{policy.namespace}-{policy.name}",
                metadata=ObjectMetaArgs(name=policy.name, namespace=made[policy.namespace]),
                spec=policy.spec,
                opts=self._child,
            )
            ready[policy.namespace].append(open_.metadata.name)
        self._defaults(made[NAMESPACE])
        first = {each: pulumi.Output.all(*names).apply(lambda names: str(names[0])) for each, names in ready.items()}
        self.churn, self.monitoring = first[NAMESPACE], first[MONITORING_NAMESPACE]
        self.register_outputs({"churn": self.churn, "monitoring": self.monitoring})

    def _namespace(self, namespace: str, *, retained: bool) -> pulumi.Output[str]:
        awaited = AWAITED if namespace == NAMESPACE else {}
        made = k8s.core.v1.Namespace(
            f"{self._name}-{namespace}",
            metadata=ObjectMetaArgs(name=namespace, labels={"app.kubernetes.io/part-of": "churn", **RESTRICTED, **awaited}),
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=retained),
        )
        return made.metadata.name

    def _accounts(self, namespace: pulumi.Output[str]) -> list[pulumi.Output[str]]:
        """Service accounts, by whose names AWS gives roles to pods; none of them may ask Kubernetes anything."""
        return [
            k8s.core.v1.ServiceAccount(
                f"{self._name}-{each.name}",
                metadata=ObjectMetaArgs(name=each.name, namespace=namespace, labels=each.labels),
                automount_service_account_token=False,
                opts=self._child,
            ).metadata.name
            for each in (INFERENCE, TRACKING, TRAINING)
        ]

    def _defaults(self, namespace: pulumi.Output[str]) -> None:
        """What a job gets that somebody starts without saying what it needs."""
        usual = {"cpu": "1", "memory": "2Gi"}
        k8s.core.v1.LimitRange(
            f"{self._name}-defaults",
            metadata=ObjectMetaArgs(name="defaults", namespace=namespace),
            spec=k8s.core.v1.LimitRangeSpecArgs(
                limits=[k8s.core.v1.LimitRangeItemArgs(type="Container", default=usual, default_request=usual)]
            ),
            opts=self._child,
        )
