"""The VPC: subnets by zone and tier, the ways out of it, flow logs and endpoints of AWS services."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from stacks.config import NetworkConfig
from stacks.groups import SecurityGroups, SecurityGroupsArgs
from stacks.keeping import known_after
from stacks.subnets import TIERS, Tier, zone_subnets
from stacks.tags import component_tags

ANYWHERE = "0.0.0.0/0"
Subnets = dict[str, aws.ec2.Subnet]


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """The network's values, and the bucket that takes its flow logs."""

    config: NetworkConfig
    region: str
    log_bucket_arn: pulumi.Input[str]


class Network(pulumi.ComponentResource):
    """A VPC in which only balancers and NAT can be reached from the internet; lists of ids are in the order of the zones."""

    vpc_id: pulumi.Output[str]
    # Each known once there is a way out of it, so that in a `destroy` the way goes after whoever needs it to leave in order.
    private_subnet_ids: list[pulumi.Output[str]]
    data_subnet_ids: list[pulumi.Output[str]]
    groups: SecurityGroups

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:network:Network", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=str(args.config.vpc_cidr),
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=self._tags("vpc"),
            opts=self._child,
        )
        self.vpc_id = vpc.id
        # AWS puts this group on whatever names none; without rules it lets nothing through.
        aws.ec2.DefaultSecurityGroup(f"{name}-default", vpc_id=vpc.id, tags=self._tags("default"), opts=self._child)
        self._flow_logs()
        subnets = {tier: self._subnets(tier) for tier in TIERS}
        nats = self._nats(subnets["public"], self._route_public(subnets["public"]))
        tables, ways = self._route_private(subnets["private"], nats)
        self._s3_endpoint([*tables, self._table("data", subnets["data"])[0]])
        self.groups = SecurityGroups(f"{name}-groups", SecurityGroupsArgs(vpc_id=vpc.id), self._child)
        self._interface_endpoints(subnets["private"])
        self.data_subnet_ids = [subnet.id for subnet in subnets["data"].values()]
        self.private_subnet_ids = [known_after(subnet.id, ways[zone]) for zone, subnet in subnets["private"].items()]
        self.register_outputs({"vpc_id": self.vpc_id})

    def _tags(self, role: str) -> dict[str, str]:
        return component_tags("network", f"{self._name}-{role}")

    def _subnets(self, tier: Tier) -> Subnets:
        # Named by the zone's letter, so that another zone renames none of them.
        return {
            zone: aws.ec2.Subnet(
                f"{self._name}-{tier}-{zone[-1]}",
                vpc_id=self.vpc_id,
                availability_zone=zone,
                cidr_block=str(zone_subnets(self._args.config.vpc_cidr, zone)[tier]),
                map_public_ip_on_launch=False,
                tags=self._tags(f"{tier}-{zone[-1]}"),
                opts=self._child,
            )
            for zone in self._args.config.zones
        }

    def _table(self, role: str, subnets: Subnets) -> tuple[aws.ec2.RouteTable, list[pulumi.Resource]]:
        table = aws.ec2.RouteTable(f"{self._name}-{role}", vpc_id=self.vpc_id, tags=self._tags(role), opts=self._child)
        tier = role.split("-", maxsplit=1)[0]
        return table, [
            aws.ec2.RouteTableAssociation(
                f"{self._name}-{tier}-{zone[-1]}", subnet_id=subnet.id, route_table_id=table.id, opts=self._child
            )
            for zone, subnet in subnets.items()
        ]

    def _route_public(self, subnets: Subnets) -> list[pulumi.Resource]:
        name = f"{self._name}-internet"
        gateway = aws.ec2.InternetGateway(name, vpc_id=self.vpc_id, tags=self._tags("internet"), opts=self._child)
        table, ways = self._table("public", subnets)
        route = aws.ec2.Route(
            f"{self._name}-public",
            route_table_id=table.id,
            destination_cidr_block=ANYWHERE,
            gateway_id=gateway.id,
            opts=self._child,
        )
        return [*ways, route]

    def _nats(self, public: Subnets, ways: list[pulumi.Resource]) -> dict[str, aws.ec2.NatGateway]:
        # AWS refuses one in a VPC that has no way to the internet yet.
        child = pulumi.ResourceOptions(parent=self, depends_on=ways)
        nats: dict[str, aws.ec2.NatGateway] = {}
        for zone in self._args.config.nat_zones:
            role = f"nat-{zone[-1]}"
            name, tags = f"{self._name}-{role}", self._tags(role)
            address = aws.ec2.Eip(name, domain="vpc", tags=tags, opts=child)
            nats[zone] = aws.ec2.NatGateway(name, subnet_id=public[zone].id, allocation_id=address.id, tags=tags, opts=child)
        return nats

    def _route_private(
        self, subnets: Subnets, nats: dict[str, aws.ec2.NatGateway]
    ) -> tuple[list[aws.ec2.RouteTable], dict[str, list[pulumi.Resource]]]:
        tables: list[aws.ec2.RouteTable] = []
        ways: dict[str, list[pulumi.Resource]] = {}
        for zone, subnet in subnets.items():
            role = f"private-{zone[-1]}"
            table, ways[zone] = self._table(role, {zone: subnet})
            nat = nats.get(zone) or next(iter(nats.values()))
            route = aws.ec2.Route(
                f"{self._name}-{role}",
                route_table_id=table.id,
                destination_cidr_block=ANYWHERE,
                nat_gateway_id=nat.id,
                opts=self._child,
            )
            ways[zone].append(route)
            tables.append(table)
        return tables, ways

    def _flow_logs(self) -> None:
        aws.ec2.FlowLog(
            f"{self._name}-flow-logs",
            vpc_id=self.vpc_id,
            traffic_type="ALL",
            log_destination_type="s3",
            log_destination=self._args.log_bucket_arn,
            destination_options={"file_format": "parquet", "per_hour_partition": True},
            max_aggregation_interval=self._args.config.flow_log_interval_seconds,
            tags=self._tags("flow-logs"),
            opts=self._child,
        )

    def _s3_endpoint(self, tables: list[aws.ec2.RouteTable]) -> None:
        """Free of charge, and what lets the nodes reach data and images past NAT."""
        aws.ec2.VpcEndpoint(
            f"{self._name}-s3",
            vpc_id=self.vpc_id,
            service_name=f"com.amazonaws.{self._args.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in tables],
            tags=self._tags("s3"),
            opts=self._child,
        )

    def _interface_endpoints(self, private: Subnets) -> None:
        for service in self._args.config.interface_endpoints:
            role = service.replace(".", "-")
            aws.ec2.VpcEndpoint(
                f"{self._name}-{role}",
                vpc_id=self.vpc_id,
                service_name=f"com.amazonaws.{self._args.region}.{service}",
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=[subnet.id for subnet in private.values()],
                security_group_ids=[self.groups.endpoints_id],
                tags=self._tags(role),
                opts=self._child,
            )
