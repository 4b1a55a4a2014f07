"""Roles that pods get by their service account, and nobody else does."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from stacks.documents import Document, policy
from stacks.tags import component_tags


@dataclass(frozen=True, kw_only=True)
class PodIdentityArgs:
    """Whose role it is, and what it may do: statements of ours, policies that AWS keeps for its own software."""

    cluster_name: pulumi.Input[str]
    namespace: str
    service_account: str
    statements: pulumi.Input[list[Document]] | None = None
    policy_arns: Sequence[str] = ()


class PodIdentity(pulumi.ComponentResource):
    """One role for the pods of one service account."""

    role_arn: pulumi.Output[str]
    # Known only once the role has its rights and pods get it: a pod that starts earlier goes without.
    service_account: pulumi.Output[str]

    def __init__(self, name: str, args: PodIdentityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:identity:PodIdentity", name, None, opts)
        child, tags = pulumi.ResourceOptions(parent=self), component_tags("identity", name)
        trust = pulumi.Output.from_input(args.cluster_name).apply(
            lambda cluster: trust_policy(cluster, args.namespace, args.service_account)
        )
        role = aws.iam.Role(name, assume_role_policy=pulumi.Output.json_dumps(trust), tags=tags, opts=child)
        rights: list[pulumi.Resource] = [
            aws.iam.RolePolicyAttachment(f"{name}-{arn.rpartition('/')[2]}", role=role.name, policy_arn=arn, opts=child)
            for arn in args.policy_arns
        ]
        if args.statements is not None:
            allowed = pulumi.Output.from_input(args.statements).apply(lambda statements: json.dumps(policy(*statements)))
            rights.append(aws.iam.RolePolicy(name, role=role.id, policy=allowed, opts=child))
        association = aws.eks.PodIdentityAssociation(
            name,
            cluster_name=args.cluster_name,
            namespace=args.namespace,
            service_account=args.service_account,
            role_arn=role.arn,
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self, depends_on=rights),
        )
        self.role_arn, self.service_account = role.arn, association.service_account
        self.register_outputs({"role_arn": self.role_arn, "service_account": self.service_account})


def trust_policy(cluster_name: str, namespace: str, service_account: str) -> Document:
    """Who may take the role: EKS, for pods that it tags as those of this service account."""
    # https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html
    tags = {
        "aws:RequestTag/eks-cluster-name": cluster_name,
        "aws:RequestTag/kubernetes-namespace": namespace,
        "aws:RequestTag/kubernetes-service-account": service_account,
    }
    statement = {
        "Sid": "PodsOfTheServiceAccount",
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": {"StringEquals": tags},
    }
    return policy(statement)
