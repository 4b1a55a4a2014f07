"""The EKS cluster: control plane, who enters it, its own add-ons and its machines."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_aws as aws

from stacks.access import Kind
from stacks.charts import managed
from stacks.config import ClusterConfig
from stacks.control_plane import ControlPlane, ControlPlaneArgs
from stacks.documents import policy
from stacks.entries import Entries, EntriesArgs, Roles
from stacks.grants import volumes
from stacks.groups import HTTPS, let_in
from stacks.identity import PodIdentity, PodIdentityArgs
from stacks.keeping import known_after
from stacks.nodes import Nodes, NodesArgs, shapes
from stacks.tags import component_tags

# What the control plane calls on nodes and pods: kubelet (webhooks of cert-manager and the Prometheus operator share its number),
# metrics-server by the port of the EKS add-on, KEDA's metrics, webhooks of KEDA and the load balancer controller.
# https://docs.aws.amazon.com/eks/latest/userguide/metrics-server.html
CALLED_BY_CONTROL_PLANE = {"kubelet": 10250, "metrics": 10251, "keda": 6443, "webhooks": 9443}
# Without them no node becomes ready; the others' pods need a node first.
BEFORE_NODES, AFTER_NODES = ("vpc-cni", "kube-proxy", "eks-pod-identity-agent"), ("coredns", "aws-ebs-csi-driver")
# Without this setting, network policies are accepted and do nothing.
SETTINGS: Mapping[str, Mapping[str, Any]] = {"vpc-cni": {"enableNetworkPolicy": "true"}}
AWS_POLICY = "arn:aws:iam::aws:policy"


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """The cluster's values and its place. `cluster_name` is known to AWS; `delivery_roles` enter beside those of the values."""

    config: ClusterConfig
    cluster_name: str
    region: str
    account_id: pulumi.Input[str]
    vpc_id: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    workload_security_group_id: pulumi.Input[str]
    cluster_key_arn: pulumi.Input[str]
    logs_key_arn: pulumi.Input[str]
    inference_nodes_min: int
    inference_nodes_max: int
    tags: Mapping[str, str]
    delivery_roles: Roles = field(default_factory=dict[Any, Any])


class Cluster(pulumi.ComponentResource):
    """A cluster that is entered by access entries alone, with node groups for the system, inference and training."""

    # The cluster's name, known only once the control plane stands: for what is made in it.
    made_name: pulumi.Output[str]
    # Known only once the admins may enter, which EKS takes a while to hear of, and pods get names and volumes; in a `destroy`
    # controllers that clean up in AWS keep these until they are done. For the Kubernetes provider.
    kubeconfig: pulumi.Output[str]
    # Of the control plane; whoever is to reach it from inside the VPC is let in there.
    security_group_id: pulumi.Output[str]
    # What pods wait for.
    node_groups: list[pulumi.Resource]

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:cluster:Cluster", name, None, opts)
        self._name, self._args, self._child = name, args, pulumi.ResourceOptions(parent=self)
        made = ControlPlane(
            f"{name}-control-plane",
            ControlPlaneArgs(
                config=args.config,
                cluster_name=args.cluster_name,
                vpc_id=args.vpc_id,
                subnet_ids=args.subnet_ids,
                cluster_key_arn=args.cluster_key_arn,
                logs_key_arn=args.logs_key_arn,
            ),
            self._child,
        )
        self.made_name, self.security_group_id = made.cluster_name, made.security_group_id
        entries = Entries(f"{name}-entries", EntriesArgs(cluster_name=self.made_name, roles=self._roles()), self._child)
        network = PodIdentity(
            f"{name}-vpc-cni",
            PodIdentityArgs(
                cluster_name=self.made_name,
                namespace="kube-system",
                service_account="aws-node",
                policy_arns=[f"{AWS_POLICY}/AmazonEKS_CNI_Policy"],
            ),
            self._child,
        )
        storage = PodIdentity(
            f"{name}-ebs-csi",
            PodIdentityArgs(
                cluster_name=self.made_name,
                namespace="kube-system",
                service_account="ebs-csi-controller-sa",
                policy_arns=[f"{AWS_POLICY}/service-role/AmazonEBSCSIDriverPolicy"],
                statements=pulumi.Output.from_input(args.cluster_key_arn).apply(lambda key: volumes(key, args.region)),
            ),
            self._child,
        )
        ready = [*self._let_in(), *(self._addon(addon, [network]) for addon in BEFORE_NODES)]
        self.node_groups = self._nodes(made.version, ready)
        served = [self._addon(addon, [storage, *self.node_groups]) for addon in AFTER_NODES]
        entered = pulumi.Output.all(made.kubeconfig, entries.admin_arns).apply(lambda known: str(known[0]))
        self.kubeconfig = known_after(entered, served)
        self.register_outputs({"cluster_name": self.made_name, "security_group_id": self.security_group_id})

    def _roles(self) -> Roles:
        config, extra = self._args.config, self._args.delivery_roles
        named: dict[Kind, Sequence[str]] = {
            "admin": config.admin_roles,
            "deployer": config.deployer_roles,
            "viewer": config.viewer_roles,
        }
        arn = "arn:aws:iam::{0}:role/{1}"
        return {
            kind: {role: pulumi.Output.format(arn, self._args.account_id, role) for role in roles} | dict(extra.get(kind, {}))
            for kind, roles in named.items()
        }

    def _let_in(self) -> list[pulumi.Resource]:
        """Nodes and pods to the control plane, which calls some of them back."""
        control_plane, workload = self.security_group_id, self._args.workload_security_group_id
        return [
            let_in(f"{self._name}-api", workload, control_plane, HTTPS, self._child),
            *(
                let_in(f"{self._name}-{called}", control_plane, workload, port, self._child)
                for called, port in CALLED_BY_CONTROL_PLANE.items()
            ),
        ]

    def _addon(self, addon: str, after: Sequence[pulumi.Resource]) -> aws.eks.Addon:
        opts = pulumi.ResourceOptions(parent=self, depends_on=after)
        return managed(self._name, addon, cluster_name=self.made_name, values=SETTINGS.get(addon), opts=opts)

    def _nodes(self, version: pulumi.Output[str], ready: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        args = self._args
        role, rights = self._node_role()
        groups = shapes(args.config, inference_min=args.inference_nodes_min, inference_max=args.inference_nodes_max)
        return [
            Nodes(
                f"{self._name}-{shape.nodes}",
                NodesArgs(
                    shape=shape,
                    cluster_name=args.cluster_name,
                    # An upgrade is the control plane's first.
                    version=version,
                    role_arn=role.arn,
                    subnet_ids=args.subnet_ids,
                    security_group_id=args.workload_security_group_id,
                    kms_key_arn=args.cluster_key_arn,
                    disk_gib=args.config.disk_gib,
                    tags=args.tags,
                    after=[*ready, *rights],
                ),
                self._child,
            )
            for shape in groups
        ]

    def _node_role(self) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
        """To join and to pull images; what pods may do is for their own roles to say, the network's included."""
        name = f"{self._name}-nodes"
        service = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        role = aws.iam.Role(
            name,
            assume_role_policy=json.dumps(policy(service)),
            tags=component_tags("cluster", name),
            opts=self._child,
        )
        return role, [
            aws.iam.RolePolicyAttachment(
                f"{name}-{policy}", role=role.name, policy_arn=f"{AWS_POLICY}/{policy}", opts=self._child
            )
            for policy in ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")
        ]
