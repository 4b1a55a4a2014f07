"""What contradicts itself in a stack's configuration: rules about several values, each naming one to give."""

import math
import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from enum import Enum
from hashlib import sha256
from ipaddress import IPv4Network

import msgspec

from app.access import TokenHashes
from stacks.machines import MACHINES
from stacks.pins import KUBERNETES
from stacks.sizing import queue

# A /16 is the most that AWS gives; below a /20 a zone has less than a /24 for its pods, each of which takes an address.
# https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html
LARGEST_PREFIX, SMALLEST_PREFIX = 16, 20
# Whoever may try to reach the control plane from outside is one machine or one office.
WIDEST_ACCESS_PREFIX = 24
# Of the time that an answer may take, what a replica with nothing to do may need: with less to spare, hardly any queue keeps it.
QUICKEST_SHARE = 0.9
# The work of more replicas than this is a mistake of unit.
MOST_REPLICAS = 100
# Beside the release in what a pod's annotations may hold.
MOST_HASHES = 100


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


def _one_kind(admins: tuple[str, ...], deployers: tuple[str, ...], viewers: tuple[str, ...]) -> Iterator[str]:
    # EKS has one access entry for a role.
    roles = [*dict.fromkeys(admins), *dict.fromkeys(deployers), *dict.fromkeys(viewers)]
    for role in sorted({role for role in roles if roles.count(role) > 1}):
        yield f"cluster:adminRoles, deployerRoles and viewerRoles name {role} more than once; give it in one of them"


def _pinned_version(version: str) -> Iterator[str]:
    if version != KUBERNETES:
        yield f"cluster:version is {version}, but stacks/pins.py has add-ons and nodes for {KUBERNETES}; give {KUBERNETES}"


def _x86(system: Enum, training: tuple[Enum, ...]) -> Iterator[str]:
    # Node image and container images are for x86-64. What EC2 builds on Graviton has a g behind its generation: m7g, c6gn, t4g.
    for machine in (str(each.value) for each in (system, *training)):
        if re.match(r"a1\.|[a-z]+\d+g", machine):
            yield f"cluster:systemInstanceType and trainingInstanceTypes name {machine}, which is Arm; give one such as m6i.large"


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


def _host_needs_balancer(host: str, ingress: str) -> Iterator[str]:
    if host and ingress == "none":
        yield f"inference:host is {host} with inference:ingress none, so nobody answers to it; give inference:ingress internal"


def _what_a_bare_cluster_has(platform: str, ingress: str, scale_on: str) -> Iterator[str]:
    if platform == "kubeconfig" and ingress != "none":
        yield f"inference:ingress is {ingress} with churn:platform kubeconfig, where there is no balancer; give none"
    if platform == "kubeconfig" and scale_on != "resources":
        yield f"inference:scaleOn is {scale_on} with churn:platform kubeconfig, where there is no KEDA; give resources"


def _way_to_github(platform: str, repository: str) -> Iterator[str]:
    if platform == "kubeconfig":
        yield f"monitoring:retrainRepository is {repository} with churn:platform kubeconfig, where nothing may leave; take it out"


def _answer_time(p99_milliseconds: int, capacity_per_core: int, cpu_millicores: int) -> Iterator[str]:
    waiting = queue(capacity_per_core, cpu_millicores, p99_milliseconds)
    if waiting.quickest_p99_seconds > QUICKEST_SHARE * waiting.limit_seconds:
        quickest = 1000 * waiting.quickest_p99_seconds
        yield (
            f"inference:p99Milliseconds is {p99_milliseconds}, but a replica with nothing else to do takes {quickest:.1f} for "
            f"one in a hundred requests ({waiting.rate:g} requests/s: inference:cpuMillicores {cpu_millicores} of a core that "
            f"does {capacity_per_core}); give {math.ceil(quickest / QUICKEST_SHARE)} or more"
        )


def _peak(peak: int, capacity_per_core: int, cpu_millicores: int) -> Iterator[str]:
    most = MOST_REPLICAS * capacity_per_core * cpu_millicores // 1000
    if peak > most:
        yield (
            f"inference:peakRequestsPerSecond is {peak}, more than {MOST_REPLICAS} replicas of inference:cpuMillicores "
            f"{cpu_millicores} do; give {most} at most"
        )


def _inference_machine(instance_type: Enum, cpu_millicores: int, memory_mib: int) -> Iterator[str]:
    machine = str(instance_type.value)
    if machine not in MACHINES:
        near = get_close_matches(machine, MACHINES, n=1, cutoff=0)
        yield f"cluster:inferenceInstanceType is {machine}, which stacks/machines.py does not know; give {near[0]}"
    elif not MACHINES[machine].holds(cpu_millicores, memory_mib):
        fitting = next((name for name, each in MACHINES.items() if each.holds(cpu_millicores, memory_mib)), None)
        remedy = f"give a larger one, such as {fitting}" if fitting else "give less memory"
        yield (
            f"cluster:inferenceInstanceType is {machine}, too small for inference:cpuMillicores {cpu_millicores} and "
            f"inference:memoryMib {memory_mib}; {remedy}"
        )


def _tokens(hashes: TokenHashes | None) -> Iterator[str]:
    by_role: dict[str, list[str]] = msgspec.to_builtins(hashes) if hashes else {}
    for role, named in by_role.items():
        for each in sorted({each for each in named if named.count(each) > 1}):
            yield f"inference:tokenHashes names {each} more than once for {role}; give it once"
        if (nothing := sha256().hexdigest()) in named:
            yield f"inference:tokenHashes names {nothing} for {role}, the hash of nothing; give one of `python -m app.access`"
    if (count := sum(map(len, by_role.values()))) > MOST_HASHES:
        yield f"inference:tokenHashes has {count} hashes; give {MOST_HASHES} at most, without those of tokens that nobody uses"


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
    _one_kind: ("cluster:adminRoles", "cluster:deployerRoles", "cluster:viewerRoles"),
    _pinned_version: ("cluster:version",),
    _x86: ("cluster:systemInstanceType", "cluster:trainingInstanceTypes"),
    _canary: ("inference:canaryWeightsPercent",),
    _alb_needed: ("inference:canaryWeightsPercent", "inference:ingress"),
    _tracking_replicas: ("tracking:replicas", "churn:platform"),
    _host_needs_balancer: ("inference:host", "inference:ingress"),
    _what_a_bare_cluster_has: ("churn:platform", "inference:ingress", "inference:scaleOn"),
    _way_to_github: ("churn:platform", "monitoring:retrainRepository"),
    _tokens: ("inference:tokenHashes",),
    _answer_time: ("inference:p99Milliseconds", "inference:capacityPerCoreRequestsPerSecond", "inference:cpuMillicores"),
    _peak: ("inference:peakRequestsPerSecond", "inference:capacityPerCoreRequestsPerSecond", "inference:cpuMillicores"),
    _inference_machine: ("cluster:inferenceInstanceType", "inference:cpuMillicores", "inference:memoryMib"),
}
