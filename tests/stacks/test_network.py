from ipaddress import IPv4Network

import msgspec
import pytest

from stacks.config import AwsConfig, NetworkConfig
from stacks.network import Network, NetworkArgs
from tests.stacks.conftest import Engine

LOGS = "arn:aws:s3:::logs"


def build(config: NetworkConfig) -> Network:
    return Network("network", NetworkArgs(config=config, region="eu-west-1", log_bucket_arn=LOGS))


def routes(engine: Engine) -> dict[str, dict[str, str]]:
    return {each.name: each.inputs for each in engine.resources("Route")}


def test_each_zone_has_a_subnet_of_each_tier_and_none_gives_out_public_addresses(engine: Engine, prod_aws: AwsConfig):
    engine.run(lambda: build(prod_aws.network))
    subnets = engine.inputs("Subnet")
    assert sorted(each["availabilityZone"] for each in subnets) == sorted(prod_aws.network.zones * 3)
    assert not any(each["mapPublicIpOnLaunch"] for each in subnets)


def test_a_nat_gateway_per_zone_keeps_the_way_out_in_the_zone(engine: Engine, prod_aws: AwsConfig):
    engine.run(lambda: build(prod_aws.network))
    assert {name: each.get("natGatewayId") for name, each in routes(engine).items()} == {
        "network-public": None,
        "network-private-a": "${natGateway/network-nat-a.id}",
        "network-private-b": "${natGateway/network-nat-b.id}",
        "network-private-c": "${natGateway/network-nat-c.id}",
    }


def test_one_nat_gateway_serves_every_zone(engine: Engine, dev_aws: AwsConfig):
    engine.run(lambda: build(dev_aws.network))
    assert [each.name for each in engine.resources("NatGateway")] == ["network-nat-a"]
    ways = {each["natGatewayId"] for name, each in routes(engine).items() if "private" in name}
    assert ways == {"${natGateway/network-nat-a.id}"}


def test_the_data_subnets_have_no_route_out(engine: Engine, prod_aws: AwsConfig):
    engine.run(lambda: build(prod_aws.network))
    tables = {each.inputs["routeTableId"] for each in engine.resources("RouteTableAssociation") if "data" in each.name}
    assert tables == {"${routeTable/network-data.id}"}
    assert tables.isdisjoint(each["routeTableId"] for each in routes(engine).values())


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_adding_a_zone_changes_no_subnet_that_is_there(engine: Engine, prod_aws: AwsConfig, place: int):
    engine.run(lambda: build(prod_aws.network))
    after = {each.name: each.inputs for each in engine.resources("Subnet")}
    fewer = tuple(zone for number, zone in enumerate(prod_aws.network.zones) if number != place)
    engine.run(lambda: build(msgspec.structs.replace(prod_aws.network, zones=fewer)))
    before = {each.name: each.inputs for each in engine.resources("Subnet")}
    assert len(before) == 6
    assert before.items() <= after.items()


def test_all_traffic_is_logged_to_the_log_bucket(engine: Engine, prod_aws: AwsConfig):
    engine.run(lambda: build(prod_aws.network))
    [logs] = engine.inputs("FlowLog")
    assert (logs["trafficType"], logs["logDestination"], logs["maxAggregationInterval"]) == ("ALL", LOGS, 60)


def test_s3_is_reached_through_a_gateway_from_private_and_data_subnets(engine: Engine, dev_aws: AwsConfig):
    engine.run(lambda: build(dev_aws.network))
    [endpoint] = engine.inputs("VpcEndpoint")
    assert endpoint["vpcEndpointType"] == "Gateway"
    assert [table.split("/")[1] for table in endpoint["routeTableIds"]] == [
        "network-private-a.id}",
        "network-private-b.id}",
        "network-private-c.id}",
        "network-data.id}",
    ]


def test_interface_endpoints_are_in_every_private_subnet_behind_their_own_group(engine: Engine, prod_aws: AwsConfig):
    engine.run(lambda: build(prod_aws.network))
    interfaces = [each for each in engine.inputs("VpcEndpoint") if each["vpcEndpointType"] == "Interface"]
    assert {each["serviceName"].removeprefix("com.amazonaws.eu-west-1.") for each in interfaces} == set(
        prod_aws.network.interface_endpoints
    )
    for each in interfaces:
        assert each["subnetIds"] == [f"${{subnet/network-private-{letter}.id}}" for letter in "abc"]
        assert each["securityGroupIds"] == ["${securityGroup/network-groups-endpoints.id}"]
        assert each["privateDnsEnabled"]


def test_only_the_workload_reaches_the_database_and_the_endpoints(engine: Engine, prod_aws: AwsConfig):
    engine.run(lambda: build(prod_aws.network))
    let_in = {(each["securityGroupId"], each["referencedSecurityGroupId"], each.get("fromPort"), each.get("toPort"))
              for each in engine.inputs("SecurityGroupIngressRule")}  # fmt: skip
    group = "${{securityGroup/network-groups-{}.id}}".format
    assert let_in == {
        (group("database"), group("workload"), 5432, 5432),
        (group("endpoints"), group("workload"), 443, 443),
        (group("workload"), group("workload"), None, None),
    }


def test_ranges_stand_only_in_the_workloads_way_out_by_https(engine: Engine, prod_aws: AwsConfig):
    engine.run(lambda: build(prod_aws.network))
    rules = engine.inputs("SecurityGroupIngressRule") + engine.inputs("SecurityGroupEgressRule")
    [ranged] = [each for each in rules if "cidrIpv4" in each]
    assert (ranged["securityGroupId"], ranged["toPort"]) == ("${securityGroup/network-groups-workload.id}", 443)
    assert not any({"ingress", "egress"} & each.keys() for each in engine.inputs("SecurityGroup"))


def test_the_group_of_whatever_names_none_lets_nothing_through(engine: Engine, prod_aws: AwsConfig):
    engine.run(lambda: build(prod_aws.network))
    [default] = engine.inputs("DefaultSecurityGroup")
    assert not default.get("ingress")
    assert not default.get("egress")
    assert IPv4Network(engine.one("Vpc", "network-vpc")["cidrBlock"]) == prod_aws.network.vpc_cidr
