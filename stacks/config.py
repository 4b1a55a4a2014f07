"""What one stack is asked to be: a frozen typed section for each component, read once, before any resource."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pulumi
import pulumi_aws as aws
from msgspec import Meta
from pulumi.runtime import config as engine_config

from app.access import TokenHashes
from stacks.checks import CHECKS
from stacks.pins import KUBERNETES
from stacks.reading import ConfigError, Reader, keys_of

ROOT = Path(__file__).resolve().parents[1]

# https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
TagText = Annotated[str, Meta(pattern=r"^[\w.:/=+@-][\w .:/=+@-]{0,255}$(?!\n)", examples=["retention-team"])]
# Resource names are written with the `aws` partition; China and GovCloud have their own.
Region = Annotated[str, Meta(pattern=r"^(?!cn-|us-gov-)[a-z]{2}(-[a-z]+)+-[1-9]$(?!\n)", examples=["eu-west-1"])]
# Eight letters are the eight slots of stacks/subnets.py; no region has more.
Zone = Annotated[str, Meta(pattern=r"^[a-z]{2}(-[a-z]+)+-[1-9][a-h]$(?!\n)")]
# Services that something in the VPC calls.
Endpoint = Literal[
    "autoscaling",
    "codebuild",
    "ec2",
    "ecr.api",
    "ecr.dkr",
    "eks",
    "eks-auth",
    "elasticloadbalancing",
    "kms",
    "logs",
    "secretsmanager",
    "sns",
    "sts",
]
# Of the account, not ARNs: an account's number does not belong in a repository.
RoleNames = Annotated[tuple[Annotated[str, Meta(pattern=r"^[\w+=,.@-]{1,64}$(?!\n)")], ...], Meta(examples=[["churn-operator"]])]


class ProjectConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Whose the stack is, and what it runs on: an AWS account with a cluster of its own, or a cluster that is there."""

    owner: TagText
    cost_centre: TagText
    platform: Annotated[Literal["aws", "kubeconfig"], Meta(examples=["aws"])]
    # Another file than releases/<stack>.json.
    release: Annotated[str, Meta(examples=["releases/prod.json"])] = ""


class AccountConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Where in AWS the stack runs and what it may cost."""

    region: Region
    budget_usd_per_month: Annotated[int, Meta(ge=1, examples=[400])]
    alert_emails: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$(?!\n)")], ...], Meta(examples=[["team@example.com"]])
    ]


class NetworkConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Address ranges, zones and the ways out of the VPC."""

    vpc_cidr: Annotated[IPv4Network, Meta(examples=["10.20.0.0/16"])]
    reserved_cidrs: Annotated[tuple[IPv4Network, ...], Meta(examples=[["10.30.0.0/16"]])]
    zones: Annotated[tuple[Zone, ...], Meta(examples=[["eu-west-1a", "eu-west-1b", "eu-west-1c"]])]
    nat: Annotated[Literal["one", "per-zone"], Meta(examples=["one"])]
    interface_endpoints: Annotated[tuple[Endpoint, ...], Meta(examples=[["ecr.api", "ecr.dkr", "sts"]])]
    flow_log_interval_seconds: Annotated[Literal[60, 600], Meta(examples=[600])]

    @property
    def nat_zones(self) -> tuple[str, ...]:
        """The zones that have a NAT gateway; with one, the others' traffic out crosses zones and stops when that one is lost."""
        return self.zones if self.nat == "per-zone" else self.zones[:1]


class StorageConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How long data, images and logs are kept, and whether a `destroy` may take them along."""

    protected: Annotated[bool, Meta(examples=[True])]
    key_deletion_window_days: Annotated[int, Meta(ge=7, le=30, examples=[30])]
    # S3 moves nothing to infrequent access before its 30th day.
    lake_infrequent_access_after_days: Annotated[int, Meta(ge=30, examples=[90])]
    old_versions_expire_after_days: Annotated[int, Meta(ge=1, examples=[90])]
    logs_expire_after_days: Annotated[int, Meta(ge=1, examples=[365])]
    untagged_images_expire_after_days: Annotated[int, Meta(ge=1, examples=[14])]


class DatabaseConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Size, redundancy and safety of PostgreSQL."""

    major_version: Annotated[int, Meta(ge=14, le=18, examples=[17])]
    instance_class: Annotated[aws.rds.InstanceType, Meta(examples=["db.t4g.medium"])]
    # gp3 begins at 20 GiB and ends at 64 TiB.
    storage_gib: Annotated[int, Meta(ge=20, le=65_536, examples=[20])]
    storage_max_gib: Annotated[int, Meta(ge=20, le=65_536, examples=[100])]
    multi_zone: Annotated[bool, Meta(examples=[True])]
    deletion_protection: Annotated[bool, Meta(examples=[True])]
    backup_retention_days: Annotated[int, Meta(ge=1, le=35, examples=[7])]


class ClusterConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Version, access and machines of the EKS cluster; how many inference nodes there are follows from the objective."""

    version: Annotated[str, Meta(examples=[KUBERNETES])]
    public_access_cidrs: Annotated[tuple[IPv4Network, ...], Meta(examples=[["203.0.113.7/32"]])]
    admin_roles: RoleNames
    deployer_roles: RoleNames
    viewer_roles: RoleNames
    system_instance_type: Annotated[aws.ec2.InstanceType, Meta(examples=["m6i.large"])]
    system_nodes_min: Annotated[int, Meta(ge=1, examples=[2])]
    system_nodes_max: Annotated[int, Meta(ge=1, examples=[4])]
    inference_instance_type: Annotated[aws.ec2.InstanceType, Meta(examples=["c6i.large"])]
    training_instance_types: Annotated[
        tuple[aws.ec2.InstanceType, ...], Meta(min_length=1, examples=[["m6i.xlarge", "m5.xlarge"]])
    ]
    training_nodes_max: Annotated[int, Meta(ge=0, examples=[2])]
    disk_gib: Annotated[int, Meta(ge=20, le=16_384, examples=[50])]
    # The retentions that CloudWatch has.
    logs_retention_days: Annotated[Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], Meta(examples=[90])]


class DeliveryConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Whose workflows may preview and deploy, and the image that the release does not name."""

    # As GitHub names it in what it signs, which for a repository made after July 2026 is with its numbers:
    # https://docs.github.com/en/actions/reference/openid-connect-reference#immutable-subject-claims
    repository: Annotated[str, Meta(pattern=r"^[\w.-]+(@\d+)?/[\w.-]+(@\d+)?$(?!\n)", examples=["retention-team/churn"])]
    # An account has one identity provider for GitHub; whichever stack came first made it.
    identity_provider: Annotated[Literal["made-here", "there-already"], Meta(examples=["made-here"])]
    # A digest is known once the image has been pushed to the stack's own repository.
    mlflow_image_digest: Annotated[str, Meta(pattern=r"^(unpublished|sha256:[0-9a-f]{64})$(?!\n)", examples=["unpublished"])]
    # AWS may fetch from GitHub, and run its workflows, only after somebody has said so in the console.
    github_connection: Annotated[Literal["unconfirmed", "confirmed"], Meta(examples=["unconfirmed"])]

    @property
    def repository_url(self) -> str:
        """Where it is cloned from."""
        return f"https://github.com/{re.sub(r'@[0-9]+', '', self.repository)}.git"


class TrackingConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Size of the MLflow server."""

    replicas: Annotated[int, Meta(ge=1, le=10, examples=[2])]
    cpu_millicores: Annotated[int, Meta(ge=100, examples=[500])]
    # Two workers and the process that starts them take 820 MiB.
    memory_mib: Annotated[int, Meta(ge=1024, examples=[1536])]


class InferenceConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The service objective, what one core does, and how a change reaches the customers; replicas follow from it."""

    peak_requests_per_second: Annotated[int, Meta(ge=1, examples=[500])]
    # Five nines are more than the region below it promises.
    availability_percent: Annotated[float, Meta(ge=90, le=99.99, examples=[99.9])]
    # The last bound of the service's histogram, 2.5 s, has to be above it for an alert to tell.
    p99_milliseconds: Annotated[int, Meta(ge=1, le=2000, examples=[50])]
    capacity_per_core_requests_per_second: Annotated[int, Meta(ge=1, examples=[1000])]
    # A process of one event loop has no use for more than one core.
    cpu_millicores: Annotated[int, Meta(ge=100, le=1000, examples=[500])]
    memory_mib: Annotated[int, Meta(ge=128, examples=[256])]
    # None: all at once, by a Deployment.
    canary_weights_percent: Annotated[tuple[Annotated[int, Meta(ge=1, le=100)], ...], Meta(examples=[[10, 25, 50, 100]])]
    scale_on: Annotated[Literal["requests", "resources"], Meta(examples=["requests"])]
    ingress: Annotated[Literal["internal", "none"], Meta(examples=["internal"])]
    # Whom it knows by their tokens, of which the hashes alone are here; None: it asks nobody for one.
    token_hashes: Annotated[TokenHashes | None, Meta(examples=[{"predict": ["0a" * 32]}])] = None
    # The name that clients call; the balancer then speaks TLS, with the certificate that the account's ACM has for it.
    host: Annotated[str, Meta(pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$(?!\n)", examples=["churn.example.com"])] = (
        ""
    )


class MonitoringConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How long metrics are kept, and by how many."""

    retention_days: Annotated[int, Meta(ge=1, examples=[15])]
    storage_gib: Annotated[int, Meta(ge=1, examples=[20])]
    replicas: Annotated[Literal[1, 2], Meta(examples=[2])]
    memory_mib: Annotated[int, Meta(ge=256, examples=[1024])]
    # Whose workflow for a new model the alerts about the model start; without it, whoever reads them does.
    retrain_repository: Annotated[str, Meta(pattern=r"^[\w.-]+/[\w.-]+$(?!\n)", examples=["retention-team/churn"])] = ""


class LocalConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A cluster that is there: its context, the images that were loaded into it and the volume that keeps everything."""

    context: Annotated[str, Meta(pattern=r"^[\w.:/@-]+$(?!\n)", examples=["kind-churn"])]
    app_image: Annotated[str, Meta(pattern=r"^[\w.:/@-]+$(?!\n)", examples=["localhost/churn-app:latest"])]
    mlflow_image: Annotated[str, Meta(pattern=r"^[\w.:/@-]+$(?!\n)", examples=["localhost/churn-mlflow:latest"])]
    storage_class: Annotated[str, Meta(pattern=r"^[a-z0-9.-]+$(?!\n)", examples=["standard"])]
    storage_gib: Annotated[int, Meta(ge=1, examples=[5])]


class AwsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What only a stack with an AWS account of its own has."""

    account: AccountConfig
    network: NetworkConfig
    storage: StorageConfig
    database: DatabaseConfig
    cluster: ClusterConfig
    delivery: DeliveryConfig


class StackConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that tells one stack from another; `base` is what it stands on."""

    stack: str
    churn: ProjectConfig
    tracking: TrackingConfig
    inference: InferenceConfig
    monitoring: MonitoringConfig
    base: AwsConfig | LocalConfig

    @property
    def aws(self) -> AwsConfig | None:
        """The account, where there is one."""
        return self.base if isinstance(self.base, AwsConfig) else None

    @property
    def zones(self) -> int:
        """How many zones pods can be spread over."""
        return len(self.base.network.zones) if isinstance(self.base, AwsConfig) else 1


EVERYWHERE: dict[str, type[msgspec.Struct]] = {
    "churn": ProjectConfig,
    "tracking": TrackingConfig,
    "inference": InferenceConfig,
    "monitoring": MonitoringConfig,
}
ON_AWS: dict[str, type[msgspec.Struct]] = {
    "account": AccountConfig,
    "network": NetworkConfig,
    "storage": StorageConfig,
    "database": DatabaseConfig,
    "cluster": ClusterConfig,
    "delivery": DeliveryConfig,
}
ON_KUBECONFIG: dict[str, type[msgspec.Struct]] = {"local": LocalConfig}

KEYS = [key for name, declared in (EVERYWHERE | ON_AWS | ON_KUBECONFIG).items() for key in keys_of(name, declared)]


def load() -> StackConfig:
    """The configuration that the engine hands to this run. Raises ConfigError with every mistake."""
    return read(pulumi.get_stack(), {**engine_config.get_config_env(), **engine_config.CONFIG.get()})


def read(stack: str, values: Mapping[str, str]) -> StackConfig:
    """The typed form of `values`, `network:vpcCidr` and so on. Raises ConfigError with every mistake."""
    if not values:
        raise ConfigError(stack, [f"there is no Pulumi.{stack}.yaml with values; the stacks there are: {', '.join(stacks())}"])
    reader = Reader(values)
    on_aws = values.get("churn:platform") != "kubeconfig"
    sections = EVERYWHERE | (ON_AWS if on_aws else ON_KUBECONFIG)
    reader.read([key for key in KEYS if key.section in sections])
    for rule, names in CHECKS.items():
        reader.check(rule, *names)
    if reader.problems:
        raise ConfigError(stack, reader.problems)
    read_sections: dict[str, Any] = {name: reader.section(name, declared) for name, declared in sections.items()}
    return StackConfig(
        stack=stack,
        **{name: read_sections[name] for name in EVERYWHERE},
        base=AwsConfig(**{name: read_sections[name] for name in ON_AWS}) if on_aws else read_sections["local"],
    )


def stacks() -> list[str]:
    """The stacks that have a file of values, by name."""
    return sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml"))
