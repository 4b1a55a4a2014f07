from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.cost import Cost, over_budget, price
from stacks.counting import gib
from stacks.prices import HOURS_PER_MONTH, PRICES
from stacks.record import Plan, Resource

PROVIDER = ("pulumi:providers:aws", "aws", {})
NAT, TEMPLATE, NODES = "aws:ec2/natGateway:NatGateway", "aws:ec2/launchTemplate:LaunchTemplate", "aws:eks/nodeGroup:NodeGroup"
DATABASE = {
    "instanceClass": "db.m6g.large",
    "multiAz": False,
    "storageType": "gp3",
    "allocatedStorage": 50,
    "manageMasterUserPassword": True,
}


def plan(*declared: tuple[str, str, dict[str, Any]]) -> Plan:
    resources = tuple(
        Resource(type=kind, name=name, parent="", provider="", protect=False, retain_on_delete=False, inputs=inputs)
        for kind, name, inputs in declared
    )
    return Plan(stack="test", outputs={}, resources=resources)


def cost(kind: str, inputs: dict[str, Any], *others: tuple[str, str, dict[str, Any]]) -> Cost:
    return price(plan(PROVIDER, (kind, "it", inputs), *others))


def nodes(least: int, most: int, types: list[str], disk_gib: int = 0) -> Cost:
    group = {
        "scalingConfig": {"minSize": least, "maxSize": most},
        "instanceTypes": types,
        "launchTemplate": {"id": "${launchTemplate/it.id}"},
    }
    disks = [{"ebs": {"volumeType": "gp3", "volumeSize": disk_gib}}] if disk_gib else []
    return cost(NODES, group, (TEMPLATE, "it", {"blockDeviceMappings": disks}))


def test_an_hourly_price_is_paid_all_month():
    assert cost(NAT, {}).usd == pytest.approx(HOURS_PER_MONTH * PRICES["NAT gateway"].usd)


@given(least=st.integers(0, 50), more=st.integers(0, 50), disk_gib=st.integers(1, 500))
def test_a_node_group_costs_from_its_least_to_its_most(least: int, more: int, disk_gib: int):
    one = HOURS_PER_MONTH * PRICES["m6i.large"].usd + disk_gib * PRICES["disk gp3"].usd
    found = nodes(least, least + more, ["m6i.large"], disk_gib)
    assert found.usd == pytest.approx(least * one, abs=0.01)
    assert found.usd_most == pytest.approx((least + more) * one, abs=0.01)


def test_of_several_machines_the_dearest_is_counted():
    assert nodes(1, 1, ["m5a.xlarge", "m6i.xlarge"]).usd == pytest.approx(HOURS_PER_MONTH * PRICES["m6i.xlarge"].usd)


def test_a_machine_without_a_price_is_named_and_not_guessed():
    found = nodes(1, 1, ["m6i.large", "x99.huge"])
    assert found.usd == 0
    assert "x99.huge: it, not in stacks/prices.py" in found.unpriced


def test_a_standby_doubles_the_instance_and_its_disk_but_not_the_password():
    one, two = (cost("aws:rds/instance:Instance", DATABASE | {"multiAz": standby}).usd for standby in (False, True))
    assert two - PRICES["secret"].usd == pytest.approx(2 * (one - PRICES["secret"].usd))


@pytest.mark.parametrize(("kind", "hours"), [("Interface", 3 * HOURS_PER_MONTH), ("Gateway", 0)])
def test_an_endpoint_is_billed_in_each_zone_unless_it_is_a_gateway(kind: str, hours: int):
    found = cost("aws:ec2/vpcEndpoint:VpcEndpoint", {"vpcEndpointType": kind, "subnetIds": ["a", "b", "c"]})
    assert found.usd == pytest.approx(hours * PRICES["interface endpoint"].usd)


def test_volumes_of_charts_count_with_their_replicas():
    claim = {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "100Gi"}}}}}
    values = {"prometheus": {"prometheusSpec": {"replicas": 2, "storageSpec": claim}}}
    found = cost("kubernetes:helm.sh/v3:Release", {"chart": "x", "values": values})
    assert found.usd == pytest.approx(200 * PRICES["disk gp3"].usd)


@pytest.mark.parametrize(("name", "count"), [("alb", 1), ("nginx", 0)])
def test_an_ingress_of_the_balancers_class_is_a_balancer(name: str, count: int):
    found = cost("kubernetes:networking.k8s.io/v1:Ingress", {"spec": {"ingressClassName": name}})
    assert found.usd == pytest.approx(count * HOURS_PER_MONTH * PRICES["balancer"].usd, abs=0.01)


def test_what_is_billed_by_use_and_what_nobody_looked_at_is_listed():
    said = cost("aws:s3/bucket:Bucket", {}, ("aws:braket/job:Job", "odd", {})).unpriced
    assert said == ("S3: what is stored and asked for, by use", "aws:braket/job:Job: unknown to stacks/counting.py")


def test_a_component_costs_what_is_below_it():
    component = ("churn:network:Network", "network", {})
    inner = msgspec.structs.replace(plan((NAT, "nat", {})).resources[0], parent="churn:network:Network network")
    made = plan(PROVIDER, component)
    found = price(msgspec.structs.replace(made, resources=(*made.resources, inner)))
    assert found.by_component == {"network": found.usd}


def test_a_cluster_that_is_there_costs_nothing():
    claim = {"spec": {"resources": {"requests": {"storage": "5Gi"}}}}
    assert price(plan(("kubernetes:core/v1:PersistentVolumeClaim", "volume", claim))).usd == 0


def test_above_the_budget_a_plan_is_refused_with_the_amount_and_the_largest_part():
    found = cost(NAT, {})
    assert over_budget(found, 33, "test") is None
    said = over_budget(found, 30, "test") or ""
    assert "2.85 above account:budgetUsdPerMonth 30" in said
    assert "largest part is it with 32.85" in said


@pytest.mark.parametrize(("quantity", "expected"), [("20Gi", 20), ("512Mi", 0.5), ("1Ti", 1024)])
def test_a_volume_is_read_in_gibibytes(quantity: str, expected: float):
    assert gib(quantity) == expected


def test_a_volume_in_another_unit_is_refused():
    with pytest.raises(ValueError, match="give one in Gi, such as 20Gi"):
        gib("20G")


def test_every_price_says_where_it_is_from():
    assert all(each.usd > 0 and each.unit and each.source for each in PRICES.values())
