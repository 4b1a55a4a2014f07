"""Security groups that name each other: who may open a connection to whom."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from stacks.tags import component_tags

HTTPS = 443
POSTGRESQL = 5432
GROUPS = {"workload": "nodes and pods", "endpoints": "interface endpoints of AWS services", "database": "PostgreSQL"}
# From, to, port. Everything that is not here, nor in SecurityGroups below, is refused.
FLOWS = (("workload", "endpoints", HTTPS), ("workload", "database", POSTGRESQL))


@dataclass(frozen=True, kw_only=True)
class SecurityGroupsArgs:
    """The VPC, and the prefix list that stands for S3 in its region."""

    vpc_id: pulumi.Input[str]
    s3_prefix_list_id: pulumi.Input[str]


class SecurityGroups(pulumi.ComponentResource):
    """The groups of a VPC; rules are resources of their own, so that no change of one touches another."""

    workload_id: pulumi.Output[str]
    endpoints_id: pulumi.Output[str]
    database_id: pulumi.Output[str]

    def __init__(self, name: str, args: SecurityGroupsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:groups:SecurityGroups", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        ids = {
            role: aws.ec2.SecurityGroup(
                f"{name}-{role}",
                vpc_id=args.vpc_id,
                description=description,
                tags=component_tags("network", f"{name}-{role}"),
                opts=child,
            ).id
            for role, description in GROUPS.items()
        }
        for source, target, port in FLOWS:
            connect(f"{name}-{source}-to-{target}", ids[source], ids[target], port, child)
        workload_out = {"s3": {"prefix_list_id": args.s3_prefix_list_id}, "internet": {"cidr_ipv4": "0.0.0.0/0"}}
        for target, rule in workload_out.items():
            # Image registries and the AWS services without an endpoint here have no group to name; the way there is NAT.
            aws.vpc.SecurityGroupEgressRule(
                f"{name}-workload-to-{target}",
                security_group_id=ids["workload"],
                ip_protocol="tcp",
                from_port=HTTPS,
                to_port=HTTPS,
                description=f"workload to {target}, HTTPS only",
                tags=component_tags("network", f"{name}-workload-to-{target}"),
                opts=child,
                **rule,
            )
        self.workload_id, self.endpoints_id, self.database_id = ids["workload"], ids["endpoints"], ids["database"]
        self.register_outputs({f"{role}_id": each for role, each in ids.items()})


def connect(name: str, source: pulumi.Input[str], target: pulumi.Input[str], port: int, opts: pulumi.ResourceOptions) -> None:
    """Both halves of one flow: out of the source group, into the target group."""
    for kind, owner, other in (
        (aws.vpc.SecurityGroupEgressRule, source, target),
        (aws.vpc.SecurityGroupIngressRule, target, source),
    ):
        kind(
            name,
            security_group_id=owner,
            referenced_security_group_id=other,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            tags=component_tags("network", name),
            opts=opts,
        )
