"""The control plane of the EKS cluster and its log."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks

from stacks.config import ClusterConfig
from stacks.eks_children import CLUSTER
from stacks.tags import component_tags

LOGS = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
# Left to itself, EKS chooses one of two ranges; config reserves this one.
SERVICES_CIDR = "172.20.0.0/16"


@dataclass(frozen=True, kw_only=True)
class ControlPlaneArgs:
    """The cluster's values, its place, and the keys of its secrets and its log."""

    config: ClusterConfig
    cluster_name: str
    vpc_id: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    cluster_key_arn: pulumi.Input[str]
    logs_key_arn: pulumi.Input[str]


class ControlPlane(pulumi.ComponentResource):
    """A control plane and nothing else: what pulumi-eks would add floats, or is open."""

    cluster_name: pulumi.Output[str]
    version: pulumi.Output[str]
    kubeconfig: pulumi.Output[str]
    security_group_id: pulumi.Output[str]

    def __init__(self, name: str, args: ControlPlaneArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:control_plane:ControlPlane", name, None, opts)
        config = args.config
        # Made first: one that EKS makes for itself has neither key nor end.
        logs = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/aws/eks/{args.cluster_name}/cluster",
            retention_in_days=config.logs_retention_days,
            kms_key_id=args.logs_key_arn,
            tags=component_tags("cluster", f"{name}-logs"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        public = [str(each) for each in config.public_access_cidrs]
        made = eks.Cluster(
            name,
            # By way of the log group, so that it outlives the cluster as well: options do not reach into this component.
            name=logs.name.apply(lambda _: args.cluster_name),
            version=config.version,
            vpc_id=args.vpc_id,
            subnet_ids=args.subnet_ids,
            kubernetes_service_ip_address_range=SERVICES_CIDR,
            endpoint_private_access=True,
            endpoint_public_access=bool(public),
            public_access_cidrs=public or None,
            enabled_cluster_log_types=LOGS,
            encryption_config_key_arn=args.cluster_key_arn,
            authentication_mode=eks.AuthenticationMode.API,
            # Add-ons and nodes are made beside it, each with its version.
            bootstrap_self_managed_addons=False,
            use_default_vpc_cni=True,
            kube_proxy_addon_options={"enabled": False},
            skip_default_security_groups=True,
            skip_default_node_group=True,
            tags=component_tags("cluster", name),
            opts=pulumi.ResourceOptions(parent=self, transforms=[without_creator]),
        )
        self.cluster_name = made.eks_cluster.apply(lambda cluster: cluster.name)
        self.version = made.eks_cluster.apply(lambda cluster: cluster.version)
        self.kubeconfig, self.security_group_id = made.kubeconfig_json, made.cluster_security_group_id
        self.register_outputs({"cluster_name": self.cluster_name})


def without_creator(made: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
    """Who ran the first `up` enters as everybody else does; pulumi-eks has no setting for it and makes them an admin."""
    if made.type_ != CLUSTER:
        return None
    props = cast("dict[str, Any]", made.props)
    access = props["accessConfig"] | {"bootstrapClusterCreatorAdminPermissions": False}
    return pulumi.ResourceTransformResult(props={**props, "accessConfig": access}, opts=made.opts)
