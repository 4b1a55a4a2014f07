"""The inference service: its pods, the ways to them, and what keeps enough of them running."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi_kubernetes.apps.v1 import DeploymentSpecArgs, DeploymentStrategyArgs, RollingUpdateDeploymentArgs
from pulumi_kubernetes.core.v1 import ServicePortArgs, ServiceSpecArgs
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.policy.v1 import PodDisruptionBudgetSpecArgs

from stacks.balancer import DEREGISTRATION_SECONDS, ingress_metadata, ingress_spec
from stacks.canary import REVISION, analysis, steps
from stacks.inference_pod import PodArgs, template
from stacks.live import Live
from stacks.names import INFERENCE
from stacks.scaling import Scaling, ScalingArgs, Target
from stacks.sizing import Sizing

SERVICE_PORT = 80
# One has the customers, the other the canary; with every update they change parts, so that neither ever changes its pods while
# the balancer looks: https://argo-rollouts.readthedocs.io/en/stable/features/traffic-management/alb/#zero-downtime-updates-with-ping-pong-feature
PING, PONG = f"{INFERENCE.name}-ping", f"{INFERENCE.name}-pong"
# A canary that does not get ready by then is given up.
PROGRESS_DEADLINE_SECONDS = 600
DEPLOYMENT, ROLLOUT = Target(api_version="apps/v1", kind="Deployment"), Target(api_version="argoproj.io/v1alpha1", kind="Rollout")


@dataclass(frozen=True, kw_only=True)
class InferenceArgs:
    """A release, how many pods serve it, and where their data is: stores, or a volume that `claim_name` names.

    `nodes` is the group that is kept for them; `inbound_cidrs` are who may call the balancer, where there can be one.
    """

    namespace: pulumi.Input[str]
    sizing: Sizing
    live: Live
    image: pulumi.Input[str]
    bundles: pulumi.Input[str]
    events: pulumi.Input[str]
    claim_name: pulumi.Input[str] | None = None
    nodes: str | None = None
    inbound_cidrs: Sequence[str] = ()


class Inference(pulumi.ComponentResource):
    """Pods of one release behind a service, and a balancer where `ingress` asks for it; `url` is for callers in the cluster."""

    url: pulumi.Output[str]

    def __init__(self, name: str, args: InferenceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:inference:Inference", name, None, opts)
        self._name, self._args, self._child = name, args, pulumi.ResourceOptions(parent=self)
        config = args.sizing.config
        # Argo Rollouts narrows selectors to the pods of one revision.
        moved = pulumi.ResourceOptions(parent=self, ignore_changes=["spec.selector"])
        service = self._service(name, INFERENCE.name, moved if config.canary_weights_percent else self._child)
        if config.canary_weights_percent:
            for physical_name in (PING, PONG):
                self._service(physical_name.replace(INFERENCE.name, name), physical_name, moved)
            target = self._rollout()
        else:
            target = self._deployment()
        scaling = ScalingArgs(namespace=args.namespace, target=target, sizing=args.sizing)
        Scaling(f"{name}-scaling", scaling, self._child)
        k8s.policy.v1.PodDisruptionBudget(
            name,
            metadata=self._metadata(),
            spec=PodDisruptionBudgetSpecArgs(
                max_unavailable=args.sizing.pdb_max_unavailable,
                selector=LabelSelectorArgs(match_labels=INFERENCE.labels),
                # A pod that is not ready serves nobody: it does not hold a drain up.
                unhealthy_pod_eviction_policy="AlwaysAllow",
            ),
            opts=self._child,
        )
        if args.inbound_cidrs and config.ingress == "internal":
            k8s.networking.v1.Ingress(
                name,
                metadata=ingress_metadata(args.inbound_cidrs, args.namespace, config.host),
                spec=ingress_spec(config.host, "use-annotation" if config.canary_weights_percent else "http"),
                opts=self._child,
            )
        self.url = pulumi.Output.concat("http://", service.metadata.name, ".", args.namespace)
        self.register_outputs({"url": self.url})

    def _service(self, name: str, physical_name: str, opts: pulumi.ResourceOptions) -> k8s.core.v1.Service:
        return k8s.core.v1.Service(
            name,
            metadata=self._metadata(physical_name),
            spec=ServiceSpecArgs(
                type="ClusterIP",
                selector=INFERENCE.labels,
                ports=[ServicePortArgs(name="http", port=SERVICE_PORT, target_port="http")],
            ),
            opts=opts,
        )

    def _metadata(self, name: str = INFERENCE.name) -> ObjectMetaArgs:
        return ObjectMetaArgs(name=name, namespace=self._args.namespace, labels=INFERENCE.labels)

    def _pod(self) -> PodArgs:
        args = self._args
        return PodArgs(
            config=args.sizing.config,
            live=args.live,
            image=args.image,
            bundles=args.bundles,
            events=args.events,
            claim_name=args.claim_name,
            nodes=args.nodes,
            across_zones=args.sizing.zones > 1,
        )

    def _scaled(self, *needed: pulumi.Resource) -> pulumi.ResourceOptions:
        """Options of what has replicas: their number is the autoscaler's, once there are some."""
        return pulumi.ResourceOptions(parent=self, ignore_changes=["spec.replicas"], depends_on=needed)

    def _deployment(self) -> Target:
        k8s.apps.v1.Deployment(
            self._name,
            metadata=self._metadata(),
            spec=DeploymentSpecArgs(
                replicas=self._args.sizing.replicas_min,
                selector=LabelSelectorArgs(match_labels=INFERENCE.labels),
                strategy=DeploymentStrategyArgs(
                    type="RollingUpdate", rolling_update=RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0)
                ),
                revision_history_limit=3,
                progress_deadline_seconds=PROGRESS_DEADLINE_SECONDS,
                template=template(self._pod(), "pod-template-hash"),
            ),
            opts=self._scaled(),
        )
        return DEPLOYMENT

    def _rollout(self) -> Target:
        args = self._args
        judged = k8s.apiextensions.CustomResource(
            f"{self._name}-analysis",
            api_version=ROLLOUT.api_version,
            kind="AnalysisTemplate",
            metadata=self._metadata(),
            spec=analysis(args.sizing.config, args.live.release.limits),
            opts=self._child,
        )
        k8s.apiextensions.CustomResource(
            self._name,
            api_version=ROLLOUT.api_version,
            kind=ROLLOUT.kind,
            metadata=self._metadata(),
            spec={
                "replicas": args.sizing.replicas_min,
                "selector": LabelSelectorArgs(match_labels=INFERENCE.labels),
                "strategy": {
                    "canary": canary(args.sizing.config.canary_weights_percent, back=args.live.release.rollback_of is not None)
                },
                "revisionHistoryLimit": 3,
                "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
                "progressDeadlineAbort": True,
                # In the Rollout itself: a workloadRef would hide a changed image from previews and CPU from the autoscaler.
                "template": template(self._pod(), REVISION),
            },
            opts=self._scaled(judged),
        )
        return ROLLOUT


def canary(weights_percent: tuple[int, ...], *, back: bool) -> dict[str, object]:
    """How the balancer gives a new revision its shares of the traffic; the way back is one step, once its pods are ready.

    What it restores has served all of it before, and what it replaces is not to be waited for.
    """
    shares: dict[str, object] = {} if back else {"steps": steps(weights_percent)}
    return shares | {
        # Who calls the service and not the balancer, from within the cluster, gets no canary.
        "stableService": INFERENCE.name,
        "pingPong": {"pingService": PING, "pongService": PONG},
        "trafficRouting": {
            "alb": {"ingress": INFERENCE.name, "rootService": INFERENCE.name, "servicePort": SERVICE_PORT},
        },
        # Old pods stay until the balancer has let go of them.
        "scaleDownDelaySeconds": 2 * DEREGISTRATION_SECONDS,
    }
