"""What people and workflows may do in the cluster, by kind."""

from collections.abc import Mapping, Sequence
from typing import Literal

import pulumi
import pulumi_kubernetes as k8s
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.rbac.v1 import PolicyRuleArgs, RoleRefArgs, SubjectArgs

from stacks.names import MONITORING_NAMESPACE, NAMESPACE

Kind = Literal["admin", "deployer", "viewer"]
Rights = Mapping[str, Sequence[str]]
READ = ("get", "list", "watch")
CHANGE = ("create", "update", "patch", "delete")

# Kinds of objects by API group. Secrets are in none of them, nor is what opens a shell in a pod.
CLUSTER: Rights = {
    "": ["nodes", "namespaces", "persistentvolumes"],
    "metrics.k8s.io": ["nodes"],
    "storage.k8s.io": ["storageclasses"],
    "scheduling.k8s.io": ["priorityclasses"],
}
# What a change of the service consists of. Whoever starts pods can have them read what the pods of the namespace may read.
WORKLOADS: Rights = {
    "": ["services", "configmaps"],
    "apps": ["deployments", "deployments/scale"],
    "argoproj.io": ["rollouts", "rollouts/scale", "rollouts/status", "analysistemplates", "analysisruns"],
    "autoscaling": ["horizontalpodautoscalers"],
    "batch": ["jobs", "cronjobs"],
    "keda.sh": ["scaledobjects"],
    "networking.k8s.io": ["ingresses"],
    "policy": ["poddisruptionbudgets"],
}
OTHERS: Rights = {
    "": [
        "endpoints",
        "events",
        "limitranges",
        "persistentvolumeclaims",
        "pods",
        "pods/log",
        "pods/status",
        "resourcequotas",
        "serviceaccounts",
    ],
    "apps": ["controllerrevisions", "daemonsets", "replicasets", "statefulsets"],
    "argoproj.io": ["experiments"],
    "discovery.k8s.io": ["endpointslices"],
    "events.k8s.io": ["events"],
    "keda.sh": ["triggerauthentications"],
    "metrics.k8s.io": ["pods"],
    "monitoring.coreos.com": ["alertmanagers", "podmonitors", "prometheuses", "prometheusrules", "servicemonitors"],
    "networking.k8s.io": ["networkpolicies"],
    "rbac.authorization.k8s.io": ["rolebindings", "roles"],
    "secrets-store.csi.x-k8s.io": ["secretproviderclasses", "secretproviderclasspodstatuses"],
}


def group(kind: Kind) -> str:
    """The Kubernetes group that EKS puts a kind of people into."""
    return f"churn:{kind}"


def rules(verbs: Sequence[str], *rights: Rights) -> list[PolicyRuleArgs]:
    """RBAC rules that allow verbs on everything listed."""
    return [
        PolicyRuleArgs(api_groups=[api_group], resources=list(resources), verbs=list(verbs))
        for each in rights
        for api_group, resources in each.items()
    ]


class Access(pulumi.ComponentResource):
    """Viewers read all but secrets, deployers change workloads as well; admins need no rule, as EKS itself lets them do all."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:access:Access", name, None, opts)
        self._name, self._child = name, pulumi.ResourceOptions(parent=self)
        viewers: tuple[Kind, ...] = ("viewer", "deployer")
        everywhere = self._role("cluster-viewer", rules(READ, CLUSTER))
        k8s.rbac.v1.ClusterRoleBinding(
            f"{name}-cluster-viewer",
            metadata=ObjectMetaArgs(name=f"churn-{everywhere}"),
            role_ref=_to(everywhere),
            subjects=_groups(*viewers),
            opts=self._child,
        )
        viewer = self._role("viewer", rules(READ, WORKLOADS, OTHERS))
        for namespace in (NAMESPACE, MONITORING_NAMESPACE):
            self._bind(namespace, viewer, *viewers)
        # A pod that hangs is deleted; its controller makes the next.
        changes = [*rules(CHANGE, WORKLOADS), *rules(["delete"], {"": ["pods"]})]
        self._bind(NAMESPACE, self._role("deployer", changes), "deployer")
        self.register_outputs({})

    def _role(self, role: str, allowed: list[PolicyRuleArgs]) -> str:
        metadata = ObjectMetaArgs(name=f"churn-{role}")
        k8s.rbac.v1.ClusterRole(f"{self._name}-{role}", metadata=metadata, rules=allowed, opts=self._child)
        return role

    def _bind(self, namespace: str, role: str, *kinds: Kind) -> None:
        k8s.rbac.v1.RoleBinding(
            f"{self._name}-{role}-{namespace}",
            metadata=ObjectMetaArgs(name=f"churn-{role}", namespace=namespace),
            role_ref=_to(role),
            subjects=_groups(*kinds),
            opts=self._child,
        )


def _to(role: str) -> RoleRefArgs:
    return RoleRefArgs(api_group="rbac.authorization.k8s.io", kind="ClusterRole", name=f"churn-{role}")


def _groups(*kinds: Kind) -> list[SubjectArgs]:
    return [SubjectArgs(api_group="rbac.authorization.k8s.io", kind="Group", name=group(kind)) for kind in kinds]
