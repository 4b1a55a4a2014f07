"""What a picture of a plan shows: resources grouped into the parts that people speak of, and the flows between these."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from stacks.names import INFERENCE, MONITORING_NAMESPACE, NAMESPACE, TRACKING, TRAINING
from stacks.record import CHART, Plan, Resource

Inputs = dict[str, Any]
MONITORING_CHART = "kube-prometheus-stack"


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """One part: where it stands, what it is, and what there is to say of it."""

    id: str
    place: str
    kind: str
    title: str
    lines: tuple[str, ...] = ()


class Flow(msgspec.Struct, frozen=True):
    """What one part asks of another; `aside` is what nobody waits for."""

    source: str
    target: str
    label: str = ""
    aside: bool = False


FLOWS = (
    Flow("clients", "balancer", "predict"),
    Flow("balancer", "inference"),
    Flow("github", "runner", "jobs"),
    Flow("github", "images", "publish"),
    Flow("github", "artifacts", "publish"),
    Flow("runner", "nodes", "deploy"),
    Flow("inference", "artifacts", "bundles"),
    Flow("inference", "lake", "events", aside=True),
    Flow("mlflow", "database", "runs"),
    Flow("mlflow", "artifacts", "artifacts"),
    Flow("training", "mlflow", "runs, versions"),
    Flow("training", "lake", "tables"),
    Flow("inference", "volume", "bundles, events"),
    Flow("mlflow", "volume", "runs, artifacts"),
    Flow("prometheus", "inference", "metrics", aside=True),
    Flow("prometheus", "alerts", "alerts", aside=True),
    Flow("addons", "log_groups", "logs", aside=True),
    Flow("nodes", "nat", "out", aside=True),
)


class Found:
    """Resources of a plan by kind."""

    def __init__(self, plan: Plan) -> None:
        self._by_type: dict[str, list[Resource]] = {}
        for each in plan.resources:
            self._by_type.setdefault(each.type, []).append(each)

    def all(self, kind: str) -> list[Resource]:
        """Those whose type ends so: `ec2/vpc:Vpc`."""
        return [each for type_, those in self._by_type.items() if type_.endswith(kind) for each in those]

    def inputs(self, kind: str) -> list[Inputs]:
        """What they were given."""
        return [each.inputs for each in self.all(kind)]

    def object(self, name: str, *kinds: str) -> Inputs | None:
        """The first Kubernetes object of a name that is of one of the kinds."""
        made = (inputs for kind in kinds for inputs in self.inputs(f":{kind}"))
        return next((each for each in made if each.get("metadata", {}).get("name") == name), None)


def places(found: Found) -> dict[str, tuple[str, str]]:
    """Each place with the one around it and what it is called."""
    vpc = [each["cidrBlock"] for each in found.inputs("ec2/vpc:Vpc")]
    zones = sorted({each["availabilityZone"] for each in found.inputs("ec2/subnet:Subnet")})
    versions = [f"EKS, Kubernetes {each.get('version')}" for each in found.inputs("eks/cluster:Cluster")]
    return {
        "vpc": ("", f"VPC {', '.join(vpc)} in {', '.join(zones)}"),
        "public": ("vpc", "public subnets"),
        "private": ("vpc", "private subnets"),
        "cluster": ("private" if vpc else "", versions[0] if versions else "a cluster that is there"),
        "churn": ("cluster", f"namespace {NAMESPACE}"),
        "monitoring": ("cluster", f"namespace {MONITORING_NAMESPACE}"),
        "data": ("vpc", "data subnets, without a way out"),
        "aws": ("", "AWS services"),
    }


def boxes(found: Found) -> list[Box]:
    """Every part that there is."""
    return [each for part in (_network, _machines, _workloads, _monitoring, _data, _delivery) for each in part(found)]


def _network(found: Found) -> Iterator[Box]:
    if found.object(INFERENCE.name, "Ingress"):
        yield Box(id="clients", place="vpc", kind="people", title="client services")
        lines = ("internal, to pods", "canary by weights" if found.all(":Rollout") else "one service")
        yield Box(id="balancer", place="private", kind="network", title="Application Load Balancer", lines=lines)
    if gateways := found.all("ec2/natGateway:NatGateway"):
        lines = ("one a zone" if len(gateways) > 1 else "one for all zones",)
        yield Box(id="nat", place="public", kind="network", title=_times("NAT gateway", len(gateways)), lines=lines)
    endpoints = [each["serviceName"].split(".", 3)[3] for each in found.inputs("ec2/vpcEndpoint:VpcEndpoint")]
    if endpoints:
        yield Box(id="endpoints", place="private", kind="network", title="VPC endpoints", lines=_wrapped(sorted(endpoints)))


def _machines(found: Found) -> Iterator[Box]:
    groups = [_group(each) for each in found.all("eks/nodeGroup:NodeGroup")]
    if groups:
        yield Box(id="nodes", place="cluster", kind="machines", title="node groups", lines=tuple(sorted(groups)))
    names = [each["addonName"] for each in found.inputs("eks/addon:Addon")]
    names += [each["chart"] for each in found.inputs(CHART) if each["chart"] != MONITORING_CHART]
    if names:
        yield Box(id="addons", place="cluster", kind="machines", title="add-ons", lines=_wrapped(sorted(names)))


def _group(group: Resource) -> str:
    scaling, types = group.inputs["scalingConfig"], group.inputs.get("instanceTypes", [])
    spot = ", spot" if group.inputs.get("capacityType") == "SPOT" else ""
    name = group.name.removeprefix("cluster-")
    return f"{name}: {scaling['minSize']} to {scaling['maxSize']} {types[0] if types else 'machines'}{spot}"


def _workloads(found: Found) -> Iterator[Box]:
    if serving := found.object(INFERENCE.name, "Rollout", "Deployment"):
        lines = (f"{serving['kind']}, {_scaled(found, serving)}",)
        yield Box(id="inference", place="churn", kind="workload", title=INFERENCE.name, lines=lines)
    if tracking := found.object(TRACKING.name, "Deployment"):
        lines = (_times("replica", tracking["spec"]["replicas"]),)
        yield Box(id="mlflow", place="churn", kind="workload", title="MLflow", lines=lines)
    if found.object(TRAINING.name, "ServiceAccount"):
        yield Box(id="training", place="churn", kind="workload", title=TRAINING.name, lines=("jobs",))
    for claim in found.inputs(":PersistentVolumeClaim"):
        size = claim["spec"]["resources"]["requests"]["storage"]
        yield Box(id="volume", place="churn", kind="data", title=f"volume {claim['metadata']['name']}", lines=(size,))


def _scaled(found: Found, serving: Inputs) -> str:
    for each in (*found.inputs(":ScaledObject"), *found.inputs(":HorizontalPodAutoscaler")):
        spec = each["spec"]
        least, most = (spec.get(f"{end}ReplicaCount", spec.get(f"{end}Replicas")) for end in ("min", "max"))
        return f"{least} to {most} replicas"
    return _times("replica", serving["spec"].get("replicas", 1))


def _monitoring(found: Found) -> Iterator[Box]:
    if any(each["chart"] == MONITORING_CHART for each in found.inputs(CHART)):
        rules = sum(len(group["rules"]) for each in found.inputs(":PrometheusRule") for group in each["spec"]["groups"])
        lines = ("Grafana, Alertmanager", _times("rule", rules))
        yield Box(id="prometheus", place="monitoring", kind="monitoring", title="Prometheus", lines=lines)
    if found.all("sns/topic:Topic"):
        told = len(found.all("sns/topicSubscription:TopicSubscription"))
        budget = [f"budget {each['limitAmount']} USD a month" for each in found.inputs("budgets/budget:Budget")]
        lines = (f"SNS, {_times('subscriber', told)}", *budget)
        yield Box(id="alerts", place="aws", kind="monitoring", title="alerts", lines=lines)
    if groups := found.all("cloudwatch/logGroup:LogGroup"):
        kept = sorted({each.inputs["retentionInDays"] for each in groups})
        lines = (f"kept {' or '.join(map(str, kept))} days",)
        yield Box(
            id="log_groups", place="aws", kind="monitoring", title=f"CloudWatch, {_times('log group', len(groups))}", lines=lines
        )


def _data(found: Found) -> Iterator[Box]:
    for database in found.inputs("rds/instance:Instance"):
        zones = "standby in another zone" if database["multiAz"] else "one zone"
        lines = (f"{database['instanceClass']}, {zones}", f"{database['allocatedStorage']} GiB, password in Secrets Manager")
        yield Box(id="database", place="data", kind="data", title=f"PostgreSQL {database['engineVersion']}", lines=lines)
    said = {"lake": ("tables, events",), "artifacts": ("bundles, artifacts of runs",), "logs": ("flows, access",)}
    for bucket in found.all("s3/bucket:Bucket"):
        name = bucket.name.rpartition("-")[2]
        lines = (*said.get(name, ()), *(["protected"] if bucket.protect else []))
        yield Box(id=name, place="aws", kind="data", title=f"S3 {name}", lines=lines)
    if found.all("ecr/repository:Repository"):
        yield Box(id="images", place="aws", kind="data", title="ECR images", lines=("scanned on push",))
    if keys := found.all("kms/key:Key"):
        purposes = sorted(each.name.rpartition("-")[2] for each in keys)
        yield Box(id="keys", place="aws", kind="data", title=f"KMS, {_times('key', len(keys))}", lines=_wrapped(purposes))


def _delivery(found: Found) -> Iterator[Box]:
    prefix = "delivery-"
    roles = sorted(each.name.removeprefix(prefix) for each in found.all("iam/role:Role") if each.name.startswith(prefix))
    if roles:
        lines = ("roles by OIDC:", *_wrapped(roles, 24))
        yield Box(id="github", place="", kind="delivery", title="GitHub Actions", lines=lines)
    if found.all("codebuild/project:Project"):
        yield Box(id="runner", place="private", kind="delivery", title="runner", lines=("CodeBuild, for GitHub",))


def _times(what: str, count: int) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _wrapped(words: Sequence[str], width: int = 42) -> tuple[str, ...]:
    """The words with commas, as many to a line as it has room for."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += f"{word}, "
    return tuple(line.strip() for line in "".join(f"{line}\n" for line in lines).rstrip(", \n").splitlines())
