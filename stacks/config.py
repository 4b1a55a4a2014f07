"""What one stack is asked to be: a frozen typed section for each component, read once, before any resource."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pulumi
import pulumi_aws as aws
from msgspec import Meta
from pulumi.runtime import config as engine_config

from stacks.reading import ConfigError, Key, Reader, keys_of

# A /16 is the most that AWS gives; below a /20 a zone has less than a /24 for its pods, each of which takes an address.
# https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html
LARGEST_PREFIX, SMALLEST_PREFIX = 16, 20
ROOT = Path(__file__).resolve().parents[1]

# https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
TagText = Annotated[str, Meta(pattern=r"^[\w.:/=+@-][\w .:/=+@-]{0,255}$(?!\n)", examples=["retention-team"])]
# Resource names are written with the `aws` partition; China and GovCloud have their own.
Region = Annotated[str, Meta(pattern=r"^(?!cn-|us-gov-)[a-z]{2}(-[a-z]+)+-[1-9]$(?!\n)", examples=["eu-west-1"])]
# Eight letters are the eight slots of stacks/subnets.py; no region has more.
Zone = Annotated[str, Meta(pattern=r"^[a-z]{2}(-[a-z]+)+-[1-9][a-h]$(?!\n)")]


class ProjectConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Whose the stack is, where it runs and what it may cost."""

    owner: TagText
    cost_centre: TagText
    region: Region
    budget_usd_per_month: Annotated[int, Meta(ge=1, examples=[400])]


class NetworkConfig(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Address ranges, zones and the ways out of the VPC."""

    vpc_cidr: Annotated[IPv4Network, Meta(examples=["10.20.0.0/16"])]
    reserved_cidrs: Annotated[tuple[IPv4Network, ...], Meta(examples=[["10.30.0.0/16"]])]
    zones: Annotated[tuple[Zone, ...], Meta(examples=[["eu-west-1a", "eu-west-1b", "eu-west-1c"]])]
    nat: Annotated[Literal["one", "per-zone"], Meta(examples=["one"])]
    interface_endpoints: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9.-]+$(?!\n)")], ...], Meta(examples=[["ecr.api", "ecr.dkr", "sts"]])
    ]
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

    major_version: Annotated[int, Meta(ge=14, examples=[17])]
    instance_class: Annotated[aws.rds.InstanceType, Meta(examples=["db.t4g.medium"])]
    # gp3 begins at 20 GiB and ends at 64 TiB.
    storage_gib: Annotated[int, Meta(ge=20, le=65_536, examples=[20])]
    storage_max_gib: Annotated[int, Meta(ge=20, le=65_536, examples=[100])]
    multi_zone: Annotated[bool, Meta(examples=[True])]
    deletion_protection: Annotated[bool, Meta(examples=[True])]
    backup_retention_days: Annotated[int, Meta(ge=1, le=35, examples=[7])]


class StackConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that tells one stack from another."""

    stack: str
    churn: ProjectConfig
    network: NetworkConfig
    storage: StorageConfig
    database: DatabaseConfig


KEYS: list[Key] = [
    *keys_of("churn", ProjectConfig),
    *keys_of("network", NetworkConfig),
    *keys_of("storage", StorageConfig),
    *keys_of("database", DatabaseConfig),
]


def load() -> StackConfig:
    """The configuration that the engine hands to this run. Raises ConfigError with every mistake."""
    return read(pulumi.get_stack(), {**engine_config.get_config_env(), **engine_config.CONFIG.get()})


def read(stack: str, values: Mapping[str, str]) -> StackConfig:
    """The typed form of `values`, `network:vpcCidr` and so on. Raises ConfigError with every mistake."""
    if not values:
        raise ConfigError(stack, [f"there is no Pulumi.{stack}.yaml with values; the stacks there are: {', '.join(stacks())}"])
    reader = Reader(values)
    reader.read(KEYS)
    reader.check(_ranges, "network:vpcCidr")
    reader.check(_overlaps, "network:vpcCidr", "network:reservedCidrs")
    reader.check(_places, "network:zones", "churn:region")
    reader.check(_zone_count, "network:zones", "database:multiZone")
    reader.check(_growth, "database:storageGib", "database:storageMaxGib")
    if reader.problems:
        raise ConfigError(stack, reader.problems)
    return StackConfig(
        stack=stack,
        churn=reader.section("churn", ProjectConfig),
        network=reader.section("network", NetworkConfig),
        storage=reader.section("storage", StorageConfig),
        database=reader.section("database", DatabaseConfig),
    )


def stacks() -> list[str]:
    """The stacks that have a file of values, by name."""
    return sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml"))


def _ranges(vpc: IPv4Network) -> Iterator[str]:
    if not LARGEST_PREFIX <= vpc.prefixlen <= SMALLEST_PREFIX:
        yield f"network:vpcCidr is {vpc}, which has {vpc.num_addresses:,} addresses; give a /16 to /20, such as 10.20.0.0/16"
    if not vpc.is_private:
        yield f"network:vpcCidr is {vpc}, which is public; give a private range, such as 10.20.0.0/16"


def _overlaps(vpc: IPv4Network, reserved: tuple[IPv4Network, ...]) -> Iterator[str]:
    for other in reserved:
        if vpc.overlaps(other):
            yield f"network:vpcCidr is {vpc}, which overlaps {other} of network:reservedCidrs; give {_free(vpc, reserved)}"


def _free(vpc: IPv4Network, reserved: tuple[IPv4Network, ...]) -> str:
    ranges = IPv4Network("10.0.0.0/8").subnets(new_prefix=max(LARGEST_PREFIX, vpc.prefixlen))
    free = next((each for each in ranges if not any(each.overlaps(other) for other in reserved)), None)
    return f"one outside of it, such as {free}" if free else "fewer reserved ranges"


def _places(zones: tuple[str, ...], region: str) -> Iterator[str]:
    for zone in zones:
        if zone[:-1] != region:
            yield f"network:zones names {zone}, which is not in churn:region {region}; give {region}{zone[-1]}"
    for zone in sorted({zone for zone in zones if zones.count(zone) > 1}):
        yield f"network:zones names {zone} more than once; give it once"


def _zone_count(zones: tuple[str, ...], multi_zone: bool) -> Iterator[str]:
    # A subnet group of RDS wants two zones; of a standby's three, one can be lost and a new standby still be made.
    least, reason = (3, "database:multiZone true") if multi_zone else (2, "the database's subnet group")
    if len(zones) < least:
        yield f"network:zones has {len(zones)}, too few for {reason}; give {least} or more"


def _growth(storage: int, largest: int) -> Iterator[str]:
    # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_PIOPS.Autoscaling.html
    least = -(-storage * 11 // 10)
    if largest < least:
        yield f"database:storageMaxGib is {largest} with database:storageGib {storage}; give {least} or more (10 % to grow)"
