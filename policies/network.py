"""Networks: what may be reached from where, and that it is recorded."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Annotated

from msgspec import Meta

from policies.declared import Node, Resource, Stack, UnreadableError, shown
from policies.rule import EachRule, Settings, StackRule, Whole

INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
# Rules inside a group, and the older resource for single ones: one form of rule is enough to watch.
OLD_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
DEFAULT_GROUP = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
VPC, SUBNET, FLOW_LOG = "aws:ec2/vpc:Vpc", "aws:ec2/subnet:Subnet", "aws:ec2/flowLog:FlowLog"
ROUTE, ASSOCIATION = "aws:ec2/route:Route", "aws:ec2/routeTableAssociation:RouteTableAssociation"
TABLE, GATEWAY = "aws:ec2/routeTable:RouteTable", "aws:ec2/internetGateway:InternetGateway"
# What holds machines, pods or data.
INNER = {
    "aws:rds/subnetGroup:SubnetGroup": ("subnetIds",),
    "aws:eks/nodeGroup:NodeGroup": ("subnetIds",),
    "aws:eks/cluster:Cluster": ("vpcConfig", "subnetIds"),
}
# SSH, remote desktop and what else people administer machines by.
MANAGEMENT = (22, 23, 135, 445, 3389, 5985, 5986)


def _width(node: Node) -> int | None:
    """The prefix length of a range; None where there is none."""
    if not node.given:
        return None
    try:
        return ip_network(node.text).prefixlen
    except ValueError as exc:
        raise UnreadableError(f"{node.place} is {shown(node.value)}; give a range, such as 10.20.0.0/16") from exc


def _ports(rule: Resource) -> tuple[int, int]:
    """The first and the last one; all of them where the protocol is `-1` or none is named."""
    if rule["ipProtocol"].known == "-1" or not rule["fromPort"].given or not rule["toPort"].given:
        return 0, 65_535
    return int(rule["fromPort"].number), int(rule["toPort"].number)


def _ingress(rule: Resource, _: Settings) -> Iterator[str]:
    for key, whole in {"cidrIpv4": 0, "cidrIpv6": 0}.items():
        if _width(rule[key]) == whole:
            yield f"{key} is {shown(rule[key].value)}, which is everybody; give referencedSecurityGroupId"
        elif rule[key].given:
            yield f"{key} is {shown(rule[key].value)}, a range in which anything may stand; give referencedSecurityGroupId"
    if not any(rule[key].given for key in ("cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId")):
        yield "it names nobody who may connect; give referencedSecurityGroupId"
    first, last = _ports(rule)
    among_themselves = rule["referencedSecurityGroupId"].value == rule["securityGroupId"].value
    if open_ := [port for port in MANAGEMENT if first <= port <= last and not among_themselves]:
        yield f"ports {first} to {last} include {open_[0]}, by which machines are administered; give the one port that is called"


class WaysOut(Settings, frozen=True, kw_only=True):
    """The ports on which anything on the internet may be called."""

    ports: tuple[Annotated[int, Meta(ge=1, le=65_535, examples=[443])], ...] = ()


def _egress(rule: Resource, settings: WaysOut) -> Iterator[str]:
    first, last = _ports(rule)
    wide = [key for key in ("cidrIpv4", "cidrIpv6") if rule[key].given and (_width(rule[key]) or 0) < 8]  # noqa: PLR2004 - the widest private range
    if wide and not (first == last and first in settings.ports and rule["ipProtocol"].known == "tcp"):
        allowed = ", ".join(map(str, settings.ports)) or "none"
        yield f"{wide[0]} {shown(rule[wide[0]].value)} is open on ports {first} to {last}; give one of {allowed}, or a group"


def _inline(group: Resource, _: Settings) -> Iterator[str]:
    if group.type == OLD_RULE:
        yield "it is a rule of the older form, which other rules do not read; declare a SecurityGroupIngressRule or EgressRule"
        return
    for direction in ("ingress", "egress"):
        if group[direction].given:
            yield f"{direction} is {shown(group[direction].value)}; declare each rule as a resource of its own"


def _default(stack: Stack, _: Settings) -> Whole:
    for vpc in stack.of(VPC):
        if stack.one_for(vpc, DEFAULT_GROUP, "vpcId") is None:
            yield vpc, "its default group lets everything through; declare a DefaultSecurityGroup without rules for it"


def _flow_logs(stack: Stack, _: Settings) -> Whole:
    for vpc in stack.of(VPC):
        log = stack.one_for(vpc, FLOW_LOG, "vpcId")
        if log is None:
            yield vpc, "nothing records its traffic; declare a FlowLog with trafficType ALL for it"
        elif (found := log["trafficType"]).known != "ALL":
            yield log, f"trafficType is {shown(found.value)}; give ALL"


def _public_addresses(subnet: Resource, _: Settings) -> Iterator[str]:
    for key in ("mapPublicIpOnLaunch", "assignIpv6AddressOnCreation"):
        if subnet[key].known not in (None, False):
            yield f"{key} is {shown(subnet[key].value)}; give false, so that nothing gets a public address unasked"


def _private(stack: Stack, _: Settings) -> Whole:
    public = {
        table.key
        for route in stack.of(ROUTE)
        if route["gatewayId"].given and any(gateway.is_meant_by(route["gatewayId"]) for gateway in stack.of(GATEWAY))
        for table in stack.of(TABLE)
        if table.is_meant_by(route["routeTableId"])
    }
    tables = {each.key: each for each in stack.of(TABLE)}
    for kind, (*within, last) in INNER.items():
        for holder in stack.of(kind):
            place = holder.inputs
            for key in within:
                place = place[key]
            for node in place[last]:
                routed = [each for each in stack.of(ASSOCIATION) if each["subnetId"].value == node.value]
                if not routed:
                    yield (
                        holder,
                        f"{node.place} has no route table of its own; give a subnet with one that leads to no internet gateway",
                    )
                elif any(tables[key].is_meant_by(each["routeTableId"]) for key in public for each in routed):
                    yield holder, f"{node.place} is a public subnet; give a private one"


RULES = (
    EachRule(
        id="network-ingress",
        why="Whoever may connect is named by group: a range lets in whatever will stand in it one day.",
        severity="critical",
        frameworks=("CIS AWS 3.0.0 5.2", "Well-Architected SEC05-BP02"),
        example='cidrIpv4 is "0.0.0.0/0", which is everybody; give referencedSecurityGroupId',
        types=(INGRESS,),
        check=_ingress,
    ),
    EachRule(
        id="network-egress",
        why="A way out for everything is the way on which data leaves.",
        severity="high",
        frameworks=("Well-Architected SEC05-BP02",),
        example='cidrIpv4 "0.0.0.0/0" is open on ports 0 to 65535; give one of 443, or a group',
        settings=WaysOut,
        types=(EGRESS,),
        check=_egress,
    ),
    EachRule(
        id="network-rules-apart",
        why="Rules inside a group are read by no other rule here, and a change of one replaces them all.",
        severity="medium",
        frameworks=("Well-Architected SEC05-BP02",),
        needs="presence",
        example='ingress is [{"protocol": "tcp"}]; declare each rule as a resource of its own',
        types=(GROUP, DEFAULT_GROUP, OLD_RULE),
        check=_inline,
    ),
    StackRule(
        id="network-default-group",
        why="AWS puts its default group on whatever names none.",
        severity="high",
        frameworks=("CIS AWS 5.0.0 5.5",),
        needs="presence",
        example="its default group lets everything through; declare a DefaultSecurityGroup without rules for it",
        check=_default,
    ),
    StackRule(
        id="network-flow-logs",
        why="Who spoke to whom can be told afterwards.",
        severity="medium",
        frameworks=("CIS AWS 5.0.0 3.7", "Well-Architected SEC04-BP01"),
        example="nothing records its traffic; declare a FlowLog with trafficType ALL for it",
        check=_flow_logs,
    ),
    EachRule(
        id="network-no-public-addresses",
        why="A machine with a public address can be found by everybody, whatever else protects it.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 5.4.3", "Well-Architected SEC05-BP01"),
        example="mapPublicIpOnLaunch is true; give false, so that nothing gets a public address unasked",
        types=(SUBNET,),
        check=_public_addresses,
    ),
    StackRule(
        id="network-private-subnets",
        why="Machines, pods and data stand where no route from the internet leads.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 5.4.3", "Well-Architected SEC05-BP01"),
        needs="presence",
        example="subnetIds[0] is a public subnet; give a private one",
        check=_private,
    ),
)
