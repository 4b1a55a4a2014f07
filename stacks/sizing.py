"""How many replicas and nodes a service objective needs, and in words why."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stacks.machines import MACHINES
from stacks.queueing import Queue

if TYPE_CHECKING:
    from stacks.config import InferenceConfig, StackConfig

# What AWS answers for of a single instance, the pod on it going with it: https://aws.amazon.com/compute/sla/
MACHINE_AVAILABILITY = 0.995
# By how much the load may grow before an autoscaler has looked, a node has started and a pod is ready: some minutes.
GROWTH_BEFORE_SCALING = 2
# Rates are averages over a minute or two; within them a replica must have room for what comes at once.
MOST_BUSY = 0.7
# Memory hardly follows the load, so a replica this full holds something that it should not; another one takes some of the load.
MEMORY_TARGET_PERCENT = 80


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """What follows from `config` on `zones` zones; targets are for each replica. Without `machine` the nodes are not ours: 0."""

    config: "InferenceConfig"
    zones: int
    machine: str | None
    needed_at_peak: int
    replicas_at_peak: int
    replicas_min: int
    replicas_max: int
    requests_per_second_target: int
    cpu_target_percent: int
    memory_target_percent: int
    pdb_max_unavailable: int
    nodes_min: int
    nodes_max: int


def queue_of(config: "InferenceConfig") -> Queue:
    """Replicas as servers of a queue."""
    return queue(config.capacity_per_core_requests_per_second, config.cpu_millicores, config.p99_milliseconds)


def queue(capacity_per_core: int, cpu_millicores: int, p99_milliseconds: int) -> Queue:
    """The same, of the values that matter."""
    return Queue(rate=capacity_per_core * cpu_millicores / 1000, limit_seconds=p99_milliseconds / 1000)


def sizing_of(config: "StackConfig") -> Sizing:
    """The sizing of a stack, on the zones and machines that it has."""
    return size(config.inference, config.zones, config.aws.cluster.inference_instance_type.value if config.aws else None)


def size(config: "InferenceConfig", zones: int, machine: str | None) -> Sizing:
    """The sizing of a configuration that checks.py has passed."""
    waiting, availability = queue_of(config), config.availability_percent / 100
    peak = config.peak_requests_per_second
    needed, needed_before_scaling = waiting.needed(peak), waiting.needed(peak / GROWTH_BEFORE_SCALING)
    at_peak, least = (replicas_for(each, availability, zones) for each in (needed, needed_before_scaling))
    # At every number of replicas between, a target that they keep the objective with before there is one more.
    target = min(waiting.served(up_with(n, availability, zones)) / n for n in range(least, at_peak + 1))
    target = max(1, math.floor(min(target, MOST_BUSY * waiting.rate)))
    most = max(at_peak, math.ceil(peak / target))
    nodes_min, nodes_max = _nodes(config, zones, machine, least, most)
    return Sizing(
        config=config,
        zones=zones,
        machine=machine,
        needed_at_peak=needed,
        replicas_at_peak=at_peak,
        replicas_min=least,
        replicas_max=most,
        requests_per_second_target=target,
        cpu_target_percent=max(1, math.floor(100 * target / waiting.rate)),
        memory_target_percent=MEMORY_TARGET_PERCENT,
        # With a single replica a drain is an outage; one that never ends would be worse.
        pdb_max_unavailable=max(1, least - needed_before_scaling),
        nodes_min=nodes_min,
        nodes_max=nodes_max,
    )


def replicas_for(needed: int, availability: float, zones: int) -> int:
    """The fewest replicas of which `needed` can be counted on."""
    return next(replicas for replicas in itertools.count(needed) if counted_on(replicas, needed, availability, zones))


def up_with(replicas: int, availability: float, zones: int) -> int:
    """How many of `replicas` can be counted on."""
    return next(needed for needed in range(replicas, 0, -1) if counted_on(replicas, needed, availability, zones))


def counted_on(replicas: int, needed: int, availability: float, zones: int) -> bool:
    """Whether `needed` of `replicas` are up for the share `availability` of the time, and when a zone is lost."""
    return left(replicas, availability, zones) >= needed and up_share(replicas, needed) >= availability


def up_share(replicas: int, needed: int) -> float:
    """The share of time in which at least `needed` of `replicas` are up, each failing by itself: a binomial."""
    down = 1 - MACHINE_AVAILABILITY
    return sum(
        math.comb(replicas, failed) * down**failed * MACHINE_AVAILABILITY ** (replicas - failed)
        for failed in range(replicas - needed + 1)
    )


def left(replicas: int, availability: float, zones: int) -> int:
    """How many are left of `replicas` when the fullest zone is lost, if one machine's availability is not enough as it is."""
    minds_zones = zones > 1 and availability > MACHINE_AVAILABILITY
    return replicas - math.ceil(replicas / zones) if minds_zones else replicas


def _nodes(config: "InferenceConfig", zones: int, machine: str | None, least: int, most: int) -> tuple[int, int]:
    if machine is None:
        return 0, 0
    each = MACHINES[machine].holds(config.cpu_millicores, config.memory_mib)
    # A canary that has come to the whole of the traffic runs beside all of the old ones; else they are replaced one by one.
    pods = 2 * most if config.canary_weights_percent else most + 1
    # Pods are spread evenly over zones, so nodes are counted by zone; when one is lost, the others take its pods.
    places = {zones, max(1, zones - 1)}
    nodes_max = max(count * math.ceil(math.ceil(pods / count) / each) for count in places)
    return max(min(least, zones), math.ceil(least / each)), nodes_max


def explain(sizing: Sizing) -> Iterator[str]:
    """The arithmetic, line by line."""
    config, waiting, availability = sizing.config, queue_of(sizing.config), sizing.config.availability_percent / 100
    peak, needed, at_peak = config.peak_requests_per_second, sizing.needed_at_peak, sizing.replicas_at_peak
    yield (
        f"objective: {peak:,} requests/s at peak, {config.availability_percent:g} % available, "
        f"99 in 100 answered within {config.p99_milliseconds} ms, {sizing.zones} zone{'s' * (sizing.zones > 1)}"
    )
    yield (
        f"replica: {config.cpu_millicores}m of a core that does {config.capacity_per_core_requests_per_second:,} requests/s: "
        f"{waiting.rate:,.0f} requests/s"
    )
    yield (
        f"waiting: {needed} replica{'s' * (needed > 1)} answer{'s' * (needed == 1)} the peak with a p99 of "
        f"{1000 * waiting.p99_seconds(needed, peak):.1f} ms (Erlang C, M/M/c), fewer do not"
    )
    yield (
        f"availability: {needed} of {at_peak} are up {100 * up_share(at_peak, needed):.4f} % of the time "
        f"(binomial, each {100 * MACHINE_AVAILABILITY:g} %)"
    )
    if left(at_peak, availability, sizing.zones) < at_peak:
        yield f"zones: without the fullest one, {left(at_peak, availability, sizing.zones)} of {at_peak} are left"
    yield (
        f"replicas: {sizing.replicas_min} to {sizing.replicas_max}; the fewest do {peak / GROWTH_BEFORE_SCALING:,.0f} requests/s "
        f"as well, since the load may grow {GROWTH_BEFORE_SCALING} times before others are ready"
    )
    yield (
        f"autoscaling: {sizing.requests_per_second_target:,} requests/s, {sizing.cpu_target_percent} % of the processor, "
        f"{sizing.memory_target_percent} % of the memory a replica"
    )
    yield f"disruptions: {sizing.pdb_max_unavailable} replica{'s' * (sizing.pdb_max_unavailable > 1)} at a time"
    if sizing.machine:
        each = MACHINES[sizing.machine].holds(config.cpu_millicores, config.memory_mib)
        more = "twice the replicas while a canary runs" if config.canary_weights_percent else "one replica more in an update"
        yield (
            f"nodes: {sizing.nodes_min} to {sizing.nodes_max} {sizing.machine}, each with room for {each} "
            f"replica{'s' * (each > 1)}, and for {more}"
        )
