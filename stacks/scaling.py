"""Autoscaling of the inference service: one list of triggers, for KEDA or for Kubernetes' own autoscaler, never for both."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi_kubernetes.autoscaling.v2 import (
    CrossVersionObjectReferenceArgs,
    HorizontalPodAutoscalerBehaviorArgs,
    HorizontalPodAutoscalerSpecArgs,
    HPAScalingPolicyArgs,
    HPAScalingRulesArgs,
    MetricSpecArgs,
    MetricTargetArgs,
    ResourceMetricSourceArgs,
)
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from stacks.names import INFERENCE, NAMESPACE, PROMETHEUS_URL
from stacks.sizing import Sizing

# Requests of clients, not of probes; the window holds some scrapes, so that a missed one is not seen as silence. This counter is
# there from a process's start on, unlike the one by status.
REQUESTS_PER_SECOND = f'sum(rate(churn_request_seconds_count{{namespace="{NAMESPACE}",route=~"/v1/.+"}}[2m]))'
# Up as fast as nodes come, down a quarter a minute after five quiet ones: a load that swings does not take the pods along.
BEHAVIOR = HorizontalPodAutoscalerBehaviorArgs(
    scale_up=HPAScalingRulesArgs(
        stabilization_window_seconds=0,
        policies=[HPAScalingPolicyArgs(type="Percent", value=100, period_seconds=30)],
    ),
    scale_down=HPAScalingRulesArgs(
        stabilization_window_seconds=300,
        policies=[HPAScalingPolicyArgs(type="Percent", value=25, period_seconds=60)],
    ),
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is scaled: a Deployment, or a Rollout in its place."""

    api_version: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class ScalingArgs:
    """What is scaled, and how far."""

    namespace: pulumi.Input[str]
    target: Target
    sizing: Sizing


class Scaling(pulumi.ComponentResource):
    """The autoscaler that `scaleOn` asks for."""

    def __init__(self, name: str, args: ScalingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:scaling:Scaling", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        metadata = ObjectMetaArgs(name=INFERENCE.name, namespace=args.namespace, labels=INFERENCE.labels)
        if args.sizing.config.scale_on == "requests":
            k8s.apiextensions.CustomResource(
                f"{name}-keda",
                api_version="keda.sh/v1alpha1",
                kind="ScaledObject",
                metadata=metadata,
                spec=keda_spec(args.target, args.sizing),
                opts=child,
            )
        else:
            k8s.autoscaling.v2.HorizontalPodAutoscaler(
                f"{name}-hpa", metadata=metadata, spec=hpa_spec(args.target, args.sizing), opts=child
            )
        self.register_outputs({})


def utilisations(sizing: Sizing) -> dict[str, int]:
    """What both autoscalers look at: the use of each resource, in percent of what a pod was promised."""
    return {"cpu": sizing.cpu_target_percent, "memory": sizing.memory_target_percent}


def keda_spec(target: Target, sizing: Sizing) -> dict[str, object]:
    """A ScaledObject: the resources, and requests per second; https://keda.sh/docs/latest/reference/scaledobject-spec/."""
    use = [
        {"type": resource, "metricType": "Utilization", "metadata": {"value": str(percent)}}
        for resource, percent in utilisations(sizing).items()
    ]
    requests = {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": PROMETHEUS_URL,
            "query": REQUESTS_PER_SECOND,
            "threshold": str(sizing.requests_per_second_target),
            # No series is no answer, not no load: the other triggers go on alone, and nothing is scaled down.
            "ignoreNullValues": "false",
        },
    }
    return {
        "scaleTargetRef": {"apiVersion": target.api_version, "kind": target.kind, "name": INFERENCE.name},
        "minReplicaCount": sizing.replicas_min,
        "maxReplicaCount": sizing.replicas_max,
        # The autoscaler that KEDA makes gets the name that it has where there is no KEDA.
        "advanced": {"horizontalPodAutoscalerConfig": {"name": INFERENCE.name, "behavior": BEHAVIOR}},
        "triggers": [*use, requests],
    }


def hpa_spec(target: Target, sizing: Sizing) -> HorizontalPodAutoscalerSpecArgs:
    """The same without KEDA: the resources alone."""
    return HorizontalPodAutoscalerSpecArgs(
        scale_target_ref=CrossVersionObjectReferenceArgs(api_version=target.api_version, kind=target.kind, name=INFERENCE.name),
        min_replicas=sizing.replicas_min,
        max_replicas=sizing.replicas_max,
        behavior=BEHAVIOR,
        metrics=[
            MetricSpecArgs(
                type="Resource",
                resource=ResourceMetricSourceArgs(
                    name=resource, target=MetricTargetArgs(type="Utilization", average_utilization=percent)
                ),
            )
            for resource, percent in utilisations(sizing).items()
        ],
    )
