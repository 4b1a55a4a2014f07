"""The MLflow server: runs, models and their artifacts, for people and workflows inside the cluster."""

import json
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi_kubernetes.apps.v1 import DeploymentSpecArgs, DeploymentStrategyArgs, RollingUpdateDeploymentArgs
from pulumi_kubernetes.core.v1 import ServicePortArgs, ServiceSpecArgs
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs

from stacks.config import TrackingConfig
from stacks.names import TRACKING
from stacks.tracking_pods import SECRET_CLASS, SECRET_FILE, File, Postgres, template

# A file has one writer, so that the old server ends before the new one begins.
ONE_AFTER_THE_OTHER = DeploymentStrategyArgs(type="Recreate")
WITHOUT_A_GAP = DeploymentStrategyArgs(
    type="RollingUpdate", rolling_update=RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0)
)


@dataclass(frozen=True, kw_only=True)
class TrackingArgs:
    """The server's values, its image, and where it keeps what it is told: rows in the backend, files below `artifacts`."""

    config: TrackingConfig
    namespace: pulumi.Input[str]
    image: pulumi.Input[str]
    backend: Postgres | File
    # A URL such as s3://bucket/mlflow, or a path on the volume.
    artifacts: pulumi.Input[str]
    across_zones: bool


class Tracking(pulumi.ComponentResource):
    """Servers behind one service, which is known inside the cluster only."""

    url: pulumi.Output[str]

    def __init__(self, name: str, args: TrackingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:tracking:Tracking", name, None, opts)
        self._name, self._args, self._child = name, args, pulumi.ResourceOptions(parent=self)
        needed = [self._secret(args.backend)] if isinstance(args.backend, Postgres) else []
        k8s.apps.v1.Deployment(
            name,
            metadata=self._metadata(TRACKING.name),
            spec=DeploymentSpecArgs(
                replicas=args.config.replicas,
                revision_history_limit=3,
                selector=LabelSelectorArgs(match_labels=TRACKING.labels),
                strategy=ONE_AFTER_THE_OTHER if isinstance(args.backend, File) else WITHOUT_A_GAP,
                template=template(args.config, args.image, args.backend, args.artifacts, across_zones=args.across_zones),
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=needed),
        )
        if args.config.replicas > 1:
            k8s.policy.v1.PodDisruptionBudget(
                name,
                metadata=self._metadata(TRACKING.name),
                spec=k8s.policy.v1.PodDisruptionBudgetSpecArgs(
                    max_unavailable=1,
                    selector=LabelSelectorArgs(match_labels=TRACKING.labels),
                    # A pod that is broken anyway does not hold up the emptying of its node.
                    unhealthy_pod_eviction_policy="AlwaysAllow",
                ),
                opts=self._child,
            )
        service = k8s.core.v1.Service(
            name,
            metadata=self._metadata(TRACKING.name),
            spec=ServiceSpecArgs(
                selector=TRACKING.labels, ports=[ServicePortArgs(name="http", port=TRACKING.port, target_port=TRACKING.port)]
            ),
            opts=self._child,
        )
        self.url = service.metadata.name.apply(lambda _: f"http://{TRACKING.address}")
        self.register_outputs({"url": self.url})

    def _metadata(self, name: str) -> ObjectMetaArgs:
        return ObjectMetaArgs(name=name, namespace=self._args.namespace, labels=TRACKING.labels)

    def _secret(self, backend: Postgres) -> pulumi.Resource:
        """Which secret the driver mounts; it fetches it with the pods' own role, and Kubernetes keeps no copy."""
        # https://docs.aws.amazon.com/secretsmanager/latest/userguide/ascp-examples.html
        wanted = pulumi.Output.from_input(backend.secret_arn).apply(
            lambda arn: json.dumps([{"objectName": arn, "objectAlias": SECRET_FILE}])
        )
        return k8s.apiextensions.CustomResource(
            f"{self._name}-secret",
            api_version="secrets-store.csi.x-k8s.io/v1",
            kind="SecretProviderClass",
            metadata=self._metadata(SECRET_CLASS),
            spec={
                "provider": "aws",
                "parameters": {"region": backend.region, "usePodIdentity": "true", "objects": wanted},
            },
            opts=self._child,
        )
