"""How much of what has a price a declared resource is, and what is billed beside it."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec

from stacks.prices import HOURS_PER_MONTH, PRICES
from stacks.record import CHART, Resource


class Item(msgspec.Struct, frozen=True):
    """How much of what has a price; one number for what does not grow by itself."""

    what: str
    least: float
    most: float | None = None


Items = Iterator[Item]
Inputs = dict[str, Any]
Resources = dict[str, Resource]


def counted(resource: Resource, by_key: Resources) -> Items:
    """What is billed by declaring it."""
    count = _COUNTED.get(resource.type)
    return count(resource.inputs, by_key) if count else iter(())


def by_use(resource: Resource) -> str | None:
    """What is billed by what happens, of which a declaration says nothing; a kind that nobody looked at says so."""
    if resource.type in _BY_USE:
        return f"{_BY_USE[resource.type]}, by use"
    known = not resource.type.startswith("aws:") or resource.type in _COUNTED or resource.type.startswith(_FREE)
    return None if known else f"{resource.type}: unknown to stacks/counting.py"


def _hourly(what: str) -> Callable[[Inputs, Resources], Items]:
    return lambda _inputs, _by_key: iter([Item(what, HOURS_PER_MONTH)])


def _monthly(what: str) -> Callable[[Inputs, Resources], Items]:
    return lambda _inputs, _by_key: iter([Item(what, 1)])


def _endpoint(inputs: Inputs, _: Resources) -> Items:
    # One through a gateway is free; the others are billed in every zone.
    if inputs["vpcEndpointType"] == "Interface":
        yield Item("interface endpoint", HOURS_PER_MONTH * len(inputs["subnetIds"]))


def _nodes(inputs: Inputs, by_key: Resources) -> Items:
    least, most = inputs["scalingConfig"]["minSize"], inputs["scalingConfig"]["maxSize"]
    template = _referred(inputs.get("launchTemplate", {}).get("id", ""), "aws:ec2/launchTemplate:LaunchTemplate", by_key)
    types: list[str] = inputs.get("instanceTypes") or [template.get("instanceType", "machine of no type")]
    what = max(types, key=lambda each: PRICES[each].usd if each in PRICES else float("inf"))
    yield Item(what, least * HOURS_PER_MONTH, most * HOURS_PER_MONTH)
    for disk in template.get("blockDeviceMappings", []):
        yield _disk(disk["ebs"], least, most)


def _disk(ebs: Inputs, least: int, most: int) -> Item:
    return Item(f"disk {ebs['volumeType']}", least * ebs["volumeSize"], most * ebs["volumeSize"])


def _database(inputs: Inputs, _: Resources) -> Items:
    instances = 2 if inputs["multiAz"] else 1
    yield Item(inputs["instanceClass"], instances * HOURS_PER_MONTH)
    yield Item(f"database disk {inputs['storageType']}", instances * inputs["allocatedStorage"])
    if inputs.get("manageMasterUserPassword"):
        yield Item("secret", 1)


def _ingress(inputs: Inputs, _: Resources) -> Items:
    if inputs["spec"].get("ingressClassName") == "alb":
        yield Item("balancer", HOURS_PER_MONTH)


def _claim(inputs: Inputs, _: Resources) -> Items:
    yield Item("disk gp3", gib(inputs["spec"]["resources"]["requests"]["storage"]))


def _chart(inputs: Inputs, _: Resources) -> Items:
    """The volumes that a chart's values ask for, as many as there are replicas beside them."""
    for replicas, template in _claim_templates(inputs.get("values", {})):
        yield Item("disk gp3", replicas * gib(template["spec"]["resources"]["requests"]["storage"]))


def _claim_templates(values: Any, replicas: int = 1) -> Iterator[tuple[int, Inputs]]:
    if not isinstance(values, dict):
        return
    values = cast("Inputs", values)
    replicas = values.get("replicas", replicas)
    for key, each in values.items():
        if key == "volumeClaimTemplate":
            yield replicas, each
        else:
            yield from _claim_templates(each, replicas)


def gib(quantity: str) -> float:
    """A Kubernetes quantity of storage in GiB. Raises ValueError."""
    units = {"Mi": 1 / 1024, "Gi": 1, "Ti": 1024}
    if (unit := quantity[-2:]) not in units:
        raise ValueError(f"a volume of {quantity} has a unit that is not read here; give one in Gi, such as 20Gi")
    return float(quantity[:-2]) * units[unit]


def _referred(reference: str, kind: str, by_key: Resources) -> Inputs:
    """The inputs of what a reference such as ${launchTemplate/name.id} stands for."""
    found = by_key.get(f"{kind} {reference.partition('/')[2].rpartition('.')[0]}")
    return found.inputs if found else {}


_COUNTED: dict[str, Callable[[Inputs, Resources], Items]] = {
    "aws:ec2/natGateway:NatGateway": _hourly("NAT gateway"),
    "aws:ec2/eip:Eip": _hourly("public address"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": _endpoint,
    "aws:eks/cluster:Cluster": _hourly("control plane"),
    "aws:eks/nodeGroup:NodeGroup": _nodes,
    "aws:rds/instance:Instance": _database,
    "aws:kms/key:Key": _monthly("key"),
    "aws:secretsmanager/secret:Secret": _monthly("secret"),
    "kubernetes:networking.k8s.io/v1:Ingress": _ingress,
    "kubernetes:core/v1:PersistentVolumeClaim": _claim,
    CHART: _chart,
}
_BY_USE = {
    "aws:s3/bucket:Bucket": "S3: what is stored and asked for",
    "aws:ecr/repository:Repository": "ECR: images stored, and scanned on push",
    "aws:ec2/flowLog:FlowLog": "VPC: flow logs delivered to S3",
    "aws:cloudwatch/logGroup:LogGroup": "CloudWatch: logs taken in and kept",
    "aws:sns/topic:Topic": "SNS: messages sent",
    "aws:codebuild/project:Project": "CodeBuild: minutes of the runner",
    "aws:ec2/vpc:Vpc": "VPC: data through NAT gateways and endpoints, between zones and to the internet",
    "kubernetes:networking.k8s.io/v1:Ingress": "ELB: capacity units of balancers",
    "aws:rds/instance:Instance": "RDS: backups beyond the size of the disk",
    "aws:kms/key:Key": "KMS: requests",
}
# What AWS has no charge for, by service and kind.
_FREE = (
    "aws:autoscaling/tag",
    "aws:budgets/",
    "aws:codebuild/",
    "aws:codeconnections/",
    "aws:codestarconnections/",
    "aws:ec2/defaultSecurityGroup",
    "aws:ec2/internetGateway",
    "aws:ec2/launchTemplate",
    "aws:ec2/route",
    "aws:ec2/securityGroup",
    "aws:ec2/subnet",
    "aws:ec2/tag",
    "aws:ec2/vpc:",
    "aws:ecr/lifecyclePolicy",
    "aws:eks/",
    "aws:iam/",
    "aws:kms/",
    "aws:rds/parameterGroup",
    "aws:rds/subnetGroup",
    "aws:s3/",
    "aws:sns/",
    "aws:vpc/securityGroup",
)
