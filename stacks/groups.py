"""Security groups that name each other: who may open a connection to whom."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from stacks.keeping import known_after
from stacks.tags import component_tags

HTTPS = 443
POSTGRESQL = 5432
GROUPS = {"workload": "nodes and pods", "endpoints": "interface endpoints of AWS services", "database": "PostgreSQL"}
# From, to, port (None: any; which pod may speak to which is for network policies to say). Everything else is refused, but
# for nodes and the control plane, whose group EKS makes: stacks/cluster.py.
FLOWS = (("workload", "endpoints", HTTPS), ("workload", "database", POSTGRESQL), ("workload", "workload", None))


@dataclass(frozen=True, kw_only=True)
class SecurityGroupsArgs:
    """The VPC that the groups are of."""

    vpc_id: pulumi.Input[str]


class SecurityGroups(pulumi.ComponentResource):
    """The groups of a VPC; rules are resources of their own, so that no change of one touches another."""

    # Each known once its rules stand.
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
        rules: dict[str, list[pulumi.Resource]] = {role: [] for role in GROUPS}
        for source, target, port in FLOWS:
            rules[target].append(let_in(f"{name}-{source}-to-{target}", ids[source], ids[target], port, child))
            if port != HTTPS:
                rules[source].append(_let_out(f"{name}-{source}-to-{target}", ids[source], ids[target], port, child))
        # Image registries and the AWS services without an endpoint here have no group to name; the way there is NAT. Whatever
        # else answers HTTPS (endpoints, S3, the control plane) is within this range: a rule of its own would allow nothing more.
        out = aws.vpc.SecurityGroupEgressRule(
            f"{name}-workload-to-internet",
            security_group_id=ids["workload"],
            cidr_ipv4="0.0.0.0/0",
            ip_protocol="tcp",
            from_port=HTTPS,
            to_port=HTTPS,
            description="out by HTTPS only",
            tags=component_tags("network", f"{name}-workload-to-internet"),
            opts=child,
        )
        rules["workload"].append(out)
        self.workload_id, self.endpoints_id, self.database_id = (
            known_after(ids[role], rules[role]) for role in ("workload", "endpoints", "database")
        )
        self.register_outputs({f"{role}_id": each for role, each in ids.items()})


def let_in(
    name: str, source: pulumi.Input[str], target: pulumi.Input[str], port: int | None, opts: pulumi.ResourceOptions
) -> pulumi.Resource:
    """The target group takes connections of the source group on a port, or on any."""
    return _open(aws.vpc.SecurityGroupIngressRule, name, target, source, port, opts)


def _let_out(
    name: str, source: pulumi.Input[str], target: pulumi.Input[str], port: int | None, opts: pulumi.ResourceOptions
) -> pulumi.Resource:
    return _open(aws.vpc.SecurityGroupEgressRule, name, source, target, port, opts)


def _open(
    kind: type[aws.vpc.SecurityGroupIngressRule | aws.vpc.SecurityGroupEgressRule],
    name: str,
    owner: pulumi.Input[str],
    other: pulumi.Input[str],
    port: int | None,
    opts: pulumi.ResourceOptions,
) -> pulumi.Resource:
    return kind(
        name,
        security_group_id=owner,
        referenced_security_group_id=other,
        ip_protocol="-1" if port is None else "tcp",
        from_port=port,
        to_port=port,
        tags=component_tags("network", name),
        opts=opts,
    )
