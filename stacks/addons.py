"""What the cluster needs before anything of ours can run in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from stacks import addon_values
from stacks.addon_grants import Scope, autoscaler_grants, balancer_grants, log_grants, rollouts_grants
from stacks.addon_values import Place, Values
from stacks.charts import managed, release
from stacks.documents import Document
from stacks.identity import PodIdentity, PodIdentityArgs
from stacks.names import KEDA_NAMESPACE, ROLLOUTS_NAMESPACE, STORAGE_CLASS
from stacks.pins import chart
from stacks.tags import component_tags

SYSTEM_NAMESPACE = "kube-system"
# The namespace and the service account of AWS's add-on.
LOG_SHIPPER = "fluent-bit"


@dataclass(frozen=True, kw_only=True)
class AddonsArgs:
    """The cluster, the nodes that everything waits for and their group, which balancers reach; keys, and what is asked for."""

    place: Place
    # The same name as the place's, known only once the cluster stands.
    made_name: pulumi.Input[str]
    account_id: pulumi.Input[str]
    nodes_group_id: pulumi.Input[str]
    nodes: Sequence[pulumi.Resource]
    logs_key_arn: pulumi.Input[str]
    logs_retention_days: int
    volumes_key_arn: pulumi.Input[str]
    scales_on_requests: bool
    has_canaries: bool


class Addons(pulumi.ComponentResource):
    """Controllers and drivers: EKS managed add-ons where AWS has them, charts where it has not."""

    def __init__(self, name: str, args: AddonsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:addons:Addons", name, None, opts)
        self._name, self._args, place = name, args, args.place
        self._child = pulumi.ResourceOptions(parent=self)
        scope = pulumi.Output.all(args.account_id, place.vpc_id, args.nodes_group_id).apply(
            lambda known: Scope(
                cluster_name=place.cluster_name,
                region=place.region,
                account_id=known[0],
                vpc_id=known[1],
                nodes_group_id=known[2],
            )
        )
        self._storage_class()
        self._addon("metrics-server", {"replicas": 2})
        self._addon("aws-secrets-store-csi-driver-provider", addon_values.secrets_driver(place.region))
        pair: Values = {"replicaCount": 2}
        certificates = self._addon("cert-manager", pair | {"webhook": pair, "cainjector": pair})
        self._logs()
        system, balancer = SYSTEM_NAMESPACE, "aws-load-balancer-controller"
        self._chart(
            "cluster-autoscaler",
            system,
            addon_values.autoscaler(place),
            [self._identity("cluster-autoscaler", system, scope.apply(autoscaler_grants))],
        )
        self._chart(
            balancer,
            system,
            addon_values.balancer(place),
            [certificates, self._identity(balancer, system, scope.apply(balancer_grants))],
        )
        if args.scales_on_requests:
            self._chart("keda", self._namespace(KEDA_NAMESPACE), addon_values.keda(), [certificates])
        if args.has_canaries:
            namespace = self._namespace(ROLLOUTS_NAMESPACE)
            identity = self._identity("argo-rollouts", ROLLOUTS_NAMESPACE, rollouts_grants())
            self._chart("argo-rollouts", namespace, addon_values.rollouts(place.region), [identity])
        self.register_outputs({})

    def _after(self, others: Sequence[pulumi.Resource] = ()) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[*self._args.nodes, *others])

    def _addon(
        self, addon: str, values: Values, after: Sequence[pulumi.Resource] = (), namespace: str | None = None
    ) -> aws.eks.Addon:
        cluster_name, opts = self._args.made_name, self._after(after)
        return managed(self._name, addon, cluster_name=cluster_name, values=values, namespace=namespace, opts=opts)

    def _chart(self, name: str, namespace: pulumi.Input[str], values: Values, after: Sequence[pulumi.Resource]) -> None:
        release(
            f"{self._name}-{name}",
            chart(name),
            release_name=name,
            namespace=namespace,
            values=values,
            opts=self._after(after),
        )

    def _identity(self, account: str, namespace: str, statements: pulumi.Input[list[Document]]) -> PodIdentity:
        return PodIdentity(
            f"{self._name}-{account}",
            PodIdentityArgs(
                cluster_name=self._args.made_name,
                namespace=namespace,
                service_account=account,
                statements=statements,
            ),
            self._child,
        )

    def _namespace(self, namespace: str) -> pulumi.Output[str]:
        made = k8s.core.v1.Namespace(
            f"{self._name}-{namespace}",
            metadata=k8s.meta.v1.ObjectMetaArgs(name=namespace, labels={"pod-security.kubernetes.io/enforce": "restricted"}),
            opts=self._child,
        )
        return made.metadata.name

    def _logs(self) -> None:
        """The log group of all containers, and what writes to it."""
        name, place = f"{self._name}-containers", self._args.place
        group_name = f"/aws/eks/{place.cluster_name}/containers"
        group = aws.cloudwatch.LogGroup(
            name,
            name=group_name,
            kms_key_id=self._args.logs_key_arn,
            retention_in_days=self._args.logs_retention_days,
            tags=component_tags("addons", name),
            opts=self._child,
        )
        writer = self._identity(LOG_SHIPPER, LOG_SHIPPER, group.arn.apply(log_grants))
        self._addon("fluent-bit", addon_values.log_shipping(group_name, place.region), [writer], LOG_SHIPPER)

    def _storage_class(self) -> None:
        """What volumes are made of if nobody says otherwise; the provider's default tags do not reach them."""
        tags = {**self._args.place.tags, **component_tags("addons", "volume")}
        k8s.storage.v1.StorageClass(
            f"{self._name}-{STORAGE_CLASS}",
            metadata=k8s.meta.v1.ObjectMetaArgs(
                name=STORAGE_CLASS, annotations={"storageclass.kubernetes.io/is-default-class": "true"}
            ),
            provisioner="ebs.csi.aws.com",
            parameters={
                "type": "gp3",
                "encrypted": "true",
                "kmsKeyId": self._args.volumes_key_arn,
                **{f"tagSpecification_{number}": f"{key}={value}" for number, (key, value) in enumerate(sorted(tags.items()), 1)},
            },
            # A volume is bound to its zone: its pod is placed first.
            volume_binding_mode="WaitForFirstConsumer",
            allow_volume_expansion=True,
            reclaim_policy="Delete",
            opts=self._child,
        )
