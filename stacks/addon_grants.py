"""What the cluster's controllers may do in AWS, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass

from stacks.documents import Document

# Statements on any resource, by name, each with the reason why there is no narrower one.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
ANY_RESOURCE = {
    "ReadScaling": "AWS cannot limit these questions about auto-scaling groups and instances to resources",
    "ReadBalancing": "AWS cannot limit these questions about networks and balancers to resources",
}
# The tag that the balancers' controller puts on what it makes, and the beginning of the names that it gives.
OWNED, NAMED = "elbv2.k8s.aws/cluster", "k8s-"
BALANCER_QUESTIONS = ("LoadBalancers", "TargetGroups", "TargetHealth", "Listeners", "Rules", "Tags")


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The cluster that a controller works for, and where it is."""

    cluster_name: str
    region: str
    account_id: str
    vpc_id: str
    nodes_group_id: str

    def arn(self, service: str, resource: str) -> str:
        """Something of the account in the region."""
        return f"arn:aws:{service}:{self.region}:{self.account_id}:{resource}"


def autoscaler_grants(scope: Scope) -> list[Document]:
    """Read what there is, and change the size of the cluster's own groups."""
    # https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/cloudprovider/aws/README.md
    scaling = ("AutoScalingGroups", "AutoScalingInstances", "LaunchConfigurations", "ScalingActivities", "Tags")
    machines = (
        "DescribeImages",
        "DescribeInstanceTypes",
        "DescribeLaunchTemplateVersions",
        "GetInstanceTypesFromInstanceRequirements",
    )
    return [
        allow("ReadScaling", [f"autoscaling:Describe{each}" for each in scaling] + [f"ec2:{each}" for each in machines], ["*"]),
        allow("ReadNodeGroups", ["eks:DescribeNodegroup"], [scope.arn("eks", f"nodegroup/{scope.cluster_name}/*")]),
        allow(
            "ResizeOwnGroups",
            ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"],
            [scope.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/*")],
            # EKS tags the groups of its node groups so.
            {"StringEquals": {f"aws:ResourceTag/k8s.io/cluster-autoscaler/{scope.cluster_name}": "owned"}},
        ),
    ]


def balancer_grants(scope: Scope) -> list[Document]:
    """Make, change and delete balancers, and the security groups in front of them, that carry the cluster's tag."""
    # https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/v3.5.0/docs/install/iam_policy.json, without what is
    # turned off here (Cognito, Shield, WAF, network balancers) and with the cluster's name where it asks for any.
    return [*_questions(scope), *_security_groups(scope), *_balancers(scope)]


def rollouts_grants() -> list[Document]:
    """Ask the balancer whether new pods are in before old ones go."""
    return [allow("ReadBalancing", [f"elasticloadbalancing:Describe{each}" for each in BALANCER_QUESTIONS], ["*"])]


def log_grants(log_group_arn: str) -> list[Document]:
    """Write to one log group, which it can neither make nor delete."""
    actions = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    return [allow("WriteContainerLogs", actions, [f"{log_group_arn}:*"])]


def allow(sid: str, actions: Sequence[str], resources: Sequence[str], condition: Document | None = None) -> Document:
    """A statement of a role's policy."""
    statement: Document = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return statement | ({"Condition": condition} if condition else {})


def _questions(scope: Scope) -> list[Document]:
    network = (
        *("AccountAttributes", "Addresses", "AvailabilityZones", "Instances", "InternetGateways", "NetworkInterfaces"),
        *("RouteTables", "SecurityGroups", "Subnets", "Tags", "VpcPeeringConnections", "Vpcs"),
    )
    balancers = (
        *BALANCER_QUESTIONS,
        *("CapacityReservation", "ListenerAttributes", "ListenerCertificates", "LoadBalancerAttributes"),
        *("SSLPolicies", "TargetGroupAttributes", "TrustStores"),
    )
    questions = [
        *(f"ec2:Describe{each}" for each in network),
        *(f"elasticloadbalancing:Describe{each}" for each in balancers),
        *("ec2:GetSecurityGroupsForVpc", "acm:ListCertificates"),
    ]
    return [
        allow("ReadBalancing", questions, ["*"]),
        allow("ReadCertificates", ["acm:DescribeCertificate"], [scope.arn("acm", "certificate/*")]),
        allow(
            "MakeServiceRole",
            ["iam:CreateServiceLinkedRole"],
            [f"arn:aws:iam::{scope.account_id}:role/aws-service-role/elasticloadbalancing.amazonaws.com/*"],
            {"StringEquals": {"iam:AWSServiceName": "elasticloadbalancing.amazonaws.com"}},
        ),
    ]


def _security_groups(scope: Scope) -> list[Document]:
    groups, vpc = [scope.arn("ec2", "security-group/*")], [scope.arn("ec2", f"vpc/{scope.vpc_id}")]
    asked, owned = _asked(scope), _owned(scope)
    change = ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"]
    nodes = [scope.arn("ec2", f"security-group/{scope.nodes_group_id}")]
    return [
        allow("MakeGroupsHere", ["ec2:CreateSecurityGroup"], vpc),
        allow("MakeGroups", ["ec2:CreateSecurityGroup"], groups, {"StringEquals": asked}),
        allow("TagNewGroups", ["ec2:CreateTags"], groups, {"StringEquals": asked | {"ec2:CreateAction": "CreateSecurityGroup"}}),
        allow("TagOwnGroups", ["ec2:CreateTags", "ec2:DeleteTags"], groups, {"StringEquals": owned, "Null": _untouched()}),
        allow("ChangeOwnGroups", [*change, "ec2:DeleteSecurityGroup"], groups, {"StringEquals": owned}),
        # The balancer's way to the pods.
        allow("OpenNodes", change, nodes),
    ]


def _balancers(scope: Scope) -> list[Document]:
    balancers, targets = (scope.arn("elasticloadbalancing", f"{kind}/{NAMED}*") for kind in ("loadbalancer/app", "targetgroup"))
    listeners, rules = (scope.arn("elasticloadbalancing", f"{kind}/app/{NAMED}*") for kind in ("listener", "listener-rule"))
    asked, owned = _asked(scope), _owned(scope)
    created = {"elasticloadbalancing:CreateAction": ["CreateLoadBalancer", "CreateTargetGroup"]}
    tags = ["AddTags", "RemoveTags"]
    change = [
        *("DeleteLoadBalancer", "ModifyLoadBalancerAttributes", "SetIpAddressType", "SetSecurityGroups", "SetSubnets"),
        *("DeleteTargetGroup", "ModifyTargetGroup", "ModifyTargetGroupAttributes", "RegisterTargets", "DeregisterTargets"),
    ]
    traffic = [
        *("CreateListener", "DeleteListener", "ModifyListener", "ModifyListenerAttributes"),
        *("AddListenerCertificates", "RemoveListenerCertificates"),
        *("CreateRule", "DeleteRule", "ModifyRule", "SetRulePriorities"),
    ]
    return [
        _elb("MakeBalancers", ["CreateLoadBalancer", "CreateTargetGroup"], [balancers, targets], {"StringEquals": asked}),
        _elb("TagNewBalancers", ["AddTags"], [balancers, targets], {"StringEquals": asked | created}),
        _elb("TagOwnBalancers", tags, [balancers, targets], {"StringEquals": owned, "Null": _untouched()}),
        _elb("ChangeOwnBalancers", change, [balancers, targets], {"StringEquals": owned}),
        # Listeners and rules are told by the balancer's name in theirs.
        _elb("DirectTraffic", traffic, [balancers, listeners, rules]),
        _elb("TagTraffic", tags, [listeners, rules]),
    ]


def _elb(sid: str, actions: Sequence[str], resources: Sequence[str], condition: Document | None = None) -> Document:
    return allow(sid, [f"elasticloadbalancing:{each}" for each in actions], resources, condition)


def _asked(scope: Scope) -> Document:
    """What is made gets the cluster's tag."""
    return {f"aws:RequestTag/{OWNED}": scope.cluster_name}


def _owned(scope: Scope) -> Document:
    """What is changed has the cluster's tag."""
    return {f"aws:ResourceTag/{OWNED}": scope.cluster_name}


def _untouched() -> Document:
    """The tag itself is none of those that are given or taken."""
    return {f"aws:RequestTag/{OWNED}": "true"}
