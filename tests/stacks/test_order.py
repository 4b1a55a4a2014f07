"""What has to stand before something else can be made, and so goes after it in a `destroy`."""

import pytest

from stacks.record import Plan, Resource

CONTROL_PLANE = "eks:index:Cluster cluster-control-plane"
# Kinds of AWS that are made in a cluster.
IN_EKS = ("AccessEntry", "AccessPolicyAssociation", "Addon", "NodeGroup", "PodIdentityAssociation")
DEFAULT_ROUTE = "aws:ec2/route:Route network-private-a"


def before(plan: Plan) -> dict[str, set[str]]:
    """The keys of all that each resource waits for, by itself, by its parent, by its provider or by way of others."""
    waits = {each.key: {each.parent, each.provider, *each.waits_for} for each in plan.resources}
    known: dict[str, set[str]] = {}

    def reach(key: str) -> set[str]:
        if key not in known:
            known[key] = set()
            known[key] = waits.get(key, set()).union(*(reach(each) for each in waits.get(key, ())))
        return known[key]

    return {key: reach(key) for key in waits}


def of(plan: Plan, *kinds: str) -> list[Resource]:
    return [each for each in plan.resources if each.type.endswith(tuple(f":{kind}" for kind in kinds))]


def in_cluster(plan: Plan) -> list[Resource]:
    return [each for each in plan.resources if each.type.startswith("kubernetes:")]


def test_what_is_made_in_the_cluster_waits_for_it(whole: Plan):
    waits = before(whole)
    made = of(whole, *IN_EKS)
    assert {each.type.rpartition(":")[2] for each in made} == set(IN_EKS)
    assert [each.key for each in made if CONTROL_PLANE not in waits[each.key]] == []


def test_a_way_out_of_the_vpc_waits_for_the_gateway_that_it_leads_to(whole: Plan):
    waits = before(whole)
    [gateway] = of(whole, "InternetGateway")
    assert [each.key for each in of(whole, "NatGateway", "Eip") if gateway.key not in waits[each.key]] == []


@pytest.mark.parametrize("needed", ["Route", "RouteTableAssociation", "SecurityGroupEgressRule"])
def test_a_node_starts_where_it_can_reach_everything(whole: Plan, needed: str):
    # What the data subnets and the runner have is not for nodes.
    wanted = {each.key for each in of(whole, needed) if not each.name.startswith(("network-data", "runner"))}
    for group in of(whole, "NodeGroup"):
        assert wanted - before(whole)[group.key] == set()


def test_objects_wait_for_nodes_names_and_volumes(whole: Plan):
    waits = before(whole)
    needed = {each.key for each in of(whole, "NodeGroup")}
    needed |= {each.key for each in of(whole, "Addon") if each.inputs["addonName"] in {"coredns", "aws-ebs-csi-driver"}}
    assert [each.key for each in in_cluster(whole) if needed - waits[each.key]] == []


def test_a_workload_waits_for_the_controllers_that_finish_it_and_clean_up_after_it(whole: Plan):
    waits = before(whole)
    controllers = {
        each.key for each in whole.resources if each.name.startswith("addons-") and each in of(whole, "Addon", "Release")
    }
    ours = [each for each in in_cluster(whole) if each.inputs.get("metadata", {}).get("namespace") in {"churn", "monitoring"}]
    assert {"Ingress", "ScaledObject"} & {each.inputs["kind"] for each in ours}
    assert [each.key for each in ours if controllers - waits[each.key]] == []
