"""Node groups of the cluster: machines that nobody logs into, as many as the cluster autoscaler finds needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_aws as aws

from stacks.config import ClusterConfig
from stacks.names import INFERENCE_NODES, NODES, SYSTEM_NODES, TRAINING_NODES
from stacks.pins import NODE_AMI
from stacks.tags import component_tags


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What tells one group from another. `nodes` is its label; a kept group takes only pods that tolerate its taint."""

    nodes: str
    instance_types: Sequence[str]
    least: int
    most: int
    kept: bool = True
    capacity: Literal["ON_DEMAND", "SPOT"] = "ON_DEMAND"


def shapes(config: ClusterConfig, *, inference_min: int, inference_max: int) -> tuple[Shape, ...]:
    """The groups of a cluster; training, which can be taken up again, runs on what AWS has left over."""
    every = (
        Shape(
            nodes=SYSTEM_NODES,
            instance_types=[config.system_instance_type],
            least=config.system_nodes_min,
            most=config.system_nodes_max,
            kept=False,
        ),
        Shape(
            nodes=INFERENCE_NODES,
            instance_types=[config.inference_instance_type],
            least=inference_min,
            most=inference_max,
        ),
        Shape(
            nodes=TRAINING_NODES,
            instance_types=config.training_instance_types,
            least=0,
            most=config.training_nodes_max,
            capacity="SPOT",
        ),
    )
    # EKS has no group that may never have a node.
    return tuple(shape for shape in every if shape.most)


def autoscaling_tags(cluster_name: str, shape: Shape) -> dict[str, tuple[str, str]]:
    """Tags of the auto-scaling group by role: how the autoscaler finds it, and what it would be if it had a node."""
    # https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/cloudprovider/aws/README.md
    prefix = "k8s.io/cluster-autoscaler"
    tags = {
        "enabled": (f"{prefix}/enabled", "true"),
        "owned": (f"{prefix}/{cluster_name}", "owned"),
        "label": (f"{prefix}/node-template/label/{NODES}", shape.nodes),
    }
    taint = {"taint": (f"{prefix}/node-template/taint/{NODES}", f"{shape.nodes}:NoSchedule")}
    return tags | (taint if shape.kept else {})


@dataclass(frozen=True, kw_only=True)
class NodesArgs:
    """Where the group's machines stand and what they may; `after` is what must be there before one can join."""

    shape: Shape
    cluster_name: str
    version: pulumi.Input[str]
    role_arn: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    security_group_id: pulumi.Input[str]
    kms_key_arn: pulumi.Input[str]
    disk_gib: int
    tags: Mapping[str, str]
    after: Sequence[pulumi.Resource]


class Nodes(pulumi.ComponentResource):
    """An EKS managed node group with a launch template of its own."""

    def __init__(self, name: str, args: NodesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:nodes:Nodes", name, None, opts)
        shape, child = args.shape, pulumi.ResourceOptions(parent=self)
        template = self._template(name, args)
        group = aws.eks.NodeGroup(
            name,
            cluster_name=args.cluster_name,
            version=args.version,
            release_version=NODE_AMI.version,
            ami_type="AL2023_x86_64_STANDARD",
            node_role_arn=args.role_arn,
            subnet_ids=args.subnet_ids,
            instance_types=shape.instance_types,
            capacity_type=shape.capacity,
            labels={NODES: shape.nodes},
            taints=[{"key": NODES, "value": shape.nodes, "effect": "NO_SCHEDULE"}] if shape.kept else [],
            scaling_config={"min_size": shape.least, "max_size": shape.most, "desired_size": shape.least},
            update_config={"max_unavailable_percentage": 33},
            node_repair_config={"enabled": True},
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            tags=component_tags("cluster", name),
            # How many there are is the autoscaler's to say once the group stands.
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.after, ignore_changes=["scalingConfig.desiredSize"]),
        )
        scaled = group.resources.apply(_scaled)
        for role, (key, value) in autoscaling_tags(args.cluster_name, shape).items():
            aws.autoscaling.Tag(
                f"{name}-{role}",
                autoscaling_group_name=scaled,
                tag={"key": key, "value": value, "propagate_at_launch": False},
                opts=child,
            )
        self.register_outputs({})

    def _template(self, name: str, args: NodesArgs) -> aws.ec2.LaunchTemplate:
        tags = component_tags("cluster", name)
        return aws.ec2.LaunchTemplate(
            name,
            update_default_version=True,
            # A pod is one hop further away than its node: it gets no credentials of the node.
            metadata_options={"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1},
            block_device_mappings=[
                {
                    "device_name": "/dev/xvda",
                    "ebs": {
                        "volume_type": "gp3",
                        "volume_size": args.disk_gib,
                        "encrypted": "true",
                        "kms_key_id": args.kms_key_arn,
                        "delete_on_termination": "true",
                    },
                }
            ],
            # Naming a group keeps EKS from adding its own, which lets everything out.
            network_interfaces=[
                {
                    "device_index": 0,
                    "associate_public_ip_address": "false",
                    "delete_on_termination": "true",
                    "security_groups": [args.security_group_id],
                }
            ],
            # The provider's default tags reach the template, not what is launched from it.
            tag_specifications=[
                {"resource_type": kind, "tags": {**args.tags, **tags}} for kind in ("instance", "volume", "network-interface")
            ],
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self),
        )


def _scaled(resources: Sequence[aws.eks.outputs.NodeGroupResource]) -> str:
    """The name of the one auto-scaling group that EKS makes for a node group."""
    [group] = resources[0].autoscaling_groups or []
    return group.name or ""
