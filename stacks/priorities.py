"""Who goes first when the nodes are full."""

import pulumi
import pulumi_kubernetes as k8s

from stacks.names import BATCH_PRIORITY, INFERENCE_PRIORITY


class Priorities(pulumi.ComponentResource):
    """The two priority classes: what answers customers pushes others aside, what runs in the background waits for room."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:priorities:Priorities", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        k8s.scheduling.v1.PriorityClass(
            f"{name}-inference",
            metadata=k8s.meta.v1.ObjectMetaArgs(name=INFERENCE_PRIORITY),
            value=1_000_000,
            description="Customers wait for it.",
            opts=child,
        )
        k8s.scheduling.v1.PriorityClass(
            f"{name}-batch",
            metadata=k8s.meta.v1.ObjectMetaArgs(name=BATCH_PRIORITY),
            # Below everything that has no class, and above -10, from where the cluster autoscaler makes no node for a pod.
            # https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md#how-does-cluster-autoscaler-work-with-pod-priority-and-preemption
            value=-1,
            preemption_policy="Never",
            description="It can wait.",
            opts=child,
        )
        self.register_outputs({})
