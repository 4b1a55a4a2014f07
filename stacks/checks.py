"""What contradicts itself in a stack's configuration: rules about several values, each naming one to give."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Network

# A /16 is the most that AWS gives; below a /20 a zone has less than a /24 for its pods, each of which takes an address.
# https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html
LARGEST_PREFIX, SMALLEST_PREFIX = 16, 20
# Whoever may try to reach the control plane from outside is one machine or one office.
WIDEST_ACCESS_PREFIX = 24


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
            yield f"network:zones names {zone}, which is not in account:region {region}; give {region}{zone[-1]}"
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


def _node_bounds(least: int, most: int) -> Iterator[str]:
    if most < least:
        yield f"cluster:systemNodesMax is {most}, below cluster:systemNodesMin {least}; give {least} or more"


def _public_access(ranges: tuple[IPv4Network, ...]) -> Iterator[str]:
    for each in ranges:
        if each.prefixlen < WIDEST_ACCESS_PREFIX:
            yield f"cluster:publicAccessCidrs names {each}; give a /24 at most, such as 203.0.113.7/32, or none"


def _admins(roles: tuple[str, ...]) -> Iterator[str]:
    if not roles:
        yield "cluster:adminRoles is empty, so nobody could ever enter the cluster; give a role such as churn-operator"


def _canary(weights: tuple[int, ...]) -> Iterator[str]:
    if weights and (list(weights) != sorted(set(weights)) or weights[-1] != 100):  # noqa: PLR2004 - the whole of the traffic
        yield f"inference:canaryWeightsPercent is {list(weights)}; give rising shares that end at 100, such as [10, 25, 50, 100]"


def _tracking_replicas(replicas: int, platform: str) -> Iterator[str]:
    # SQLite on a volume has one writer.
    if platform == "kubeconfig" and replicas != 1:
        yield f"tracking:replicas is {replicas} with churn:platform kubeconfig, where MLflow keeps a file; give 1"


def _alb_needed(weights: tuple[int, ...], ingress: str) -> Iterator[str]:
    if weights and ingress == "none":
        yield "inference:ingress is none with inference:canaryWeightsPercent, which the balancer applies; give internal"


# Each rule with the keys whose values it takes; it runs when all of them could be read.
CHECKS: dict[Callable[..., Iterator[str]], tuple[str, ...]] = {
    _ranges: ("network:vpcCidr",),
    _overlaps: ("network:vpcCidr", "network:reservedCidrs"),
    _places: ("network:zones", "account:region"),
    _zone_count: ("network:zones", "database:multiZone"),
    _growth: ("database:storageGib", "database:storageMaxGib"),
    _node_bounds: ("cluster:systemNodesMin", "cluster:systemNodesMax"),
    _public_access: ("cluster:publicAccessCidrs",),
    _admins: ("cluster:adminRoles",),
    _canary: ("inference:canaryWeightsPercent",),
    _alb_needed: ("inference:canaryWeightsPercent", "inference:ingress"),
    _tracking_replicas: ("tracking:replicas", "churn:platform"),
}
