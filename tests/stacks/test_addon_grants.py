import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.addon_grants import ANY_RESOURCE, Scope, autoscaler_grants, balancer_grants, log_grants, rollouts_grants
from stacks.documents import Document
from tests.stacks.access import may

SCOPE = Scope(cluster_name="churn-test", region="eu-west-1", account_id="1234", vpc_id="vpc-1", nodes_group_id="sg-nodes")
BALANCING, GROUP = balancer_grants(SCOPE), SCOPE.arn("ec2", "security-group/sg-1")
BALANCER = SCOPE.arn("elasticloadbalancing", "loadbalancer/app/k8s-churn-inferenc-1/2")
TARGETS = SCOPE.arn("elasticloadbalancing", "targetgroup/k8s-churn-inferenc-1/2")
SCALED = SCOPE.arn("autoscaling", "autoScalingGroup:1:autoScalingGroupName/eks-inference")
ALL = {
    "autoscaler": autoscaler_grants(SCOPE),
    "balancer": BALANCING,
    "rollouts": rollouts_grants(),
    "logs": log_grants("arn:log"),
}
OTHERS = st.text(min_size=1).filter(lambda name: name != SCOPE.cluster_name)
CHANGES = [
    ("elasticloadbalancing:DeleteLoadBalancer", BALANCER),
    ("elasticloadbalancing:RegisterTargets", TARGETS),
    ("ec2:DeleteSecurityGroup", GROUP),
    ("ec2:AuthorizeSecurityGroupIngress", GROUP),
    ("ec2:CreateTags", GROUP),
]
MAKES = [
    ("elasticloadbalancing:CreateLoadBalancer", BALANCER),
    ("elasticloadbalancing:CreateTargetGroup", TARGETS),
    ("ec2:CreateSecurityGroup", GROUP),
]


def tagged(cluster: str, kind: str = "Resource") -> dict[str, str]:
    return {f"aws:{kind}Tag/elbv2.k8s.aws/cluster": cluster}


@pytest.mark.parametrize(("action", "resource"), CHANGES)
@given(other=OTHERS)
def test_the_balancers_controller_changes_what_its_own_cluster_made_and_nothing_else(action: str, resource: str, other: str):
    assert may(BALANCING, action, resource, tagged(SCOPE.cluster_name))
    assert not may(BALANCING, action, resource, tagged(other))
    assert not may(BALANCING, action, resource)


@pytest.mark.parametrize(("action", "resource"), MAKES)
@given(other=OTHERS)
def test_it_makes_nothing_without_the_tag_of_its_cluster(action: str, resource: str, other: str):
    assert may(BALANCING, action, resource, tagged(SCOPE.cluster_name, "Request"))
    assert not may(BALANCING, action, resource, tagged(other, "Request"))
    assert not may(BALANCING, action, resource)


def test_it_does_not_take_over_what_another_cluster_made_by_tagging_it():
    ours = tagged(SCOPE.cluster_name, "Request")
    assert may(BALANCING, "ec2:CreateTags", GROUP, ours | {"ec2:CreateAction": "CreateSecurityGroup"})
    assert not may(BALANCING, "ec2:CreateTags", GROUP, ours)
    assert not may(BALANCING, "elasticloadbalancing:AddTags", BALANCER, ours)
    assert not may(BALANCING, "elasticloadbalancing:RemoveTags", BALANCER, ours | tagged(SCOPE.cluster_name))


def test_it_opens_the_nodes_group_but_does_not_delete_it():
    nodes = SCOPE.arn("ec2", "security-group/sg-nodes")
    assert may(BALANCING, "ec2:AuthorizeSecurityGroupIngress", nodes)
    assert not may(BALANCING, "ec2:DeleteSecurityGroup", nodes)


def test_it_directs_the_traffic_of_balancers_that_are_called_like_its_own():
    listener = "listener/app/k8s-churn-inferenc-1/2/3"
    assert may(BALANCING, "elasticloadbalancing:ModifyRule", SCOPE.arn("elasticloadbalancing", f"{listener}-rule/4"))
    assert may(BALANCING, "elasticloadbalancing:CreateListener", BALANCER)
    assert not may(BALANCING, "elasticloadbalancing:DeleteListener", SCOPE.arn("elasticloadbalancing", "listener/app/shop/2/3"))


def test_it_makes_security_groups_in_this_vpc_only():
    assert may(BALANCING, "ec2:CreateSecurityGroup", SCOPE.arn("ec2", "vpc/vpc-1"))
    assert not may(BALANCING, "ec2:CreateSecurityGroup", SCOPE.arn("ec2", "vpc/vpc-2"))


@pytest.mark.parametrize("action", ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"])
@given(other=OTHERS)
def test_the_autoscaler_resizes_the_groups_of_its_own_cluster_only(action: str, other: str):
    grants = ALL["autoscaler"]
    assert may(grants, action, SCALED, {"aws:ResourceTag/k8s.io/cluster-autoscaler/churn-test": "owned"})
    assert not may(grants, action, SCALED, {f"aws:ResourceTag/k8s.io/cluster-autoscaler/{other}": "owned"})
    assert not may(grants, "autoscaling:DeleteAutoScalingGroup", SCALED)


def test_the_rollouts_controller_only_asks():
    assert may(ALL["rollouts"], "elasticloadbalancing:DescribeTargetHealth", "*")
    assert not may(ALL["rollouts"], "elasticloadbalancing:DeregisterTargets", TARGETS)


def test_logs_are_written_to_one_group_that_its_writer_cannot_make_or_delete():
    assert may(ALL["logs"], "logs:PutLogEvents", "arn:log:log-stream:churn.inference.app")
    assert not may(ALL["logs"], "logs:PutLogEvents", "arn:other:log-stream:x")
    assert not any(may(ALL["logs"], f"logs:{action}", "arn:log:x") for action in ("CreateLogGroup", "DeleteLogGroup"))


@pytest.mark.parametrize("grants", ALL.values(), ids=ALL)
def test_a_statement_on_any_resource_has_its_reason_and_asks_only(grants: list[Document]):
    for statement in grants:
        assert not [action for action in statement["Action"] if "*" in action]
        if "*" in statement["Resource"]:
            assert ANY_RESOURCE[statement["Sid"]]
            assert all(action.split(":")[1].startswith(("Describe", "Get", "List")) for action in statement["Action"])
