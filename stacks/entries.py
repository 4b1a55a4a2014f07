"""Who of the account enters the cluster, and as what kind."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from stacks.access import Kind, group
from stacks.tags import component_tags

# EKS has no Kubernetes group for all rights: names that begin with `system:` are refused.
ADMIN_POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
Roles = Mapping[Kind, Mapping[str, pulumi.Input[str]]]


@dataclass(frozen=True, kw_only=True)
class EntriesArgs:
    """The cluster, and ARNs of IAM roles by kind and a name for each."""

    cluster_name: pulumi.Input[str]
    roles: Roles


class Entries(pulumi.ComponentResource):
    """Access entries, which are the only way into a cluster whose creator has no rights of its own."""

    # Known only once they stand.
    admin_arns: pulumi.Output[list[str]]

    def __init__(self, name: str, args: EntriesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:entries:Entries", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        admins: list[pulumi.Output[str]] = []
        for kind, roles in args.roles.items():
            for role, arn in roles.items():
                entry = aws.eks.AccessEntry(
                    f"{name}-{kind}-{role}",
                    cluster_name=args.cluster_name,
                    principal_arn=arn,
                    kubernetes_groups=[group(kind)],
                    tags=component_tags("cluster", f"{name}-{kind}-{role}"),
                    opts=child,
                )
                if kind == "admin":
                    association = aws.eks.AccessPolicyAssociation(
                        f"{name}-{kind}-{role}",
                        cluster_name=args.cluster_name,
                        principal_arn=entry.principal_arn,
                        policy_arn=ADMIN_POLICY,
                        access_scope={"type": "cluster"},
                        opts=child,
                    )
                    admins.append(association.principal_arn)
        self.admin_arns = pulumi.Output.all(*admins)
        self.register_outputs({"admin_arns": self.admin_arns})
