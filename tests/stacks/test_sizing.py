import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stacks.config import InferenceConfig, read, stacks
from stacks.machines import MACHINES
from stacks.plan import values_of
from stacks.reading import ConfigError
from stacks.sizing import GROWTH_BEFORE_SCALING, Sizing, counted_on, explain, queue_of, size, sizing_of

CONFIG = InferenceConfig(
    peak_requests_per_second=2000,
    availability_percent=99.95,
    p99_milliseconds=50,
    capacity_per_core_requests_per_second=1000,
    cpu_millicores=750,
    memory_mib=256,
    canary_weights_percent=(10, 100),
    scale_on="requests",
    ingress="internal",
)
CONFIGS = st.builds(
    lambda peak, availability, p99, cpu: msgspec.structs.replace(
        CONFIG, peak_requests_per_second=peak, availability_percent=availability, p99_milliseconds=p99, cpu_millicores=cpu
    ),
    st.integers(1, 10_000),
    st.floats(90, 99.99),
    st.integers(20, 500),
    st.integers(300, 1000),
)
ZONES = st.sampled_from([1, 2, 3, 4])
MACHINE = "c6i.xlarge"


def committed(stack: str) -> Sizing:
    return sizing_of(read(stack, values_of(stack)))


def problems(**changes: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read("prod", values_of("prod") | {name.replace("__", ":"): value for name, value in changes.items()})
    return " | ".join(caught.value.problems)


@pytest.mark.parametrize(("stack", "replicas"), [("local", 1), ("dev", 1), ("staging", 2), ("prod", 3)])
def test_the_committed_objectives_give_the_replicas_that_the_stacks_are_known_for(stack: str, replicas: int):
    assert committed(stack).replicas_min == replicas


def held(sizing: Sizing, load: float) -> int:
    """How many replicas the autoscaler keeps at a load."""
    wanted = -(-load // sizing.requests_per_second_target)
    return int(min(max(wanted, sizing.replicas_min), sizing.replicas_max))


@pytest.mark.parametrize("stack", ["staging", "prod"])
@pytest.mark.parametrize("percent", range(1, 101))
def test_without_the_zone_that_has_most_of_the_pods_the_rest_serves_any_load_to_the_peak(stack: str, percent: int):
    sizing = committed(stack)
    load = sizing.config.peak_requests_per_second * percent / 100
    replicas = held(sizing, load)
    assert replicas - -(-replicas // sizing.zones) >= queue_of(sizing.config).needed(load)


@given(CONFIGS, ZONES, st.floats(0.01, 1))
def test_whatever_the_load_the_autoscaler_holds_enough_for_the_objective(config: InferenceConfig, zones: int, share: float):
    sizing = size(config, zones, None)
    load = share * config.peak_requests_per_second
    assert counted_on(held(sizing, load), queue_of(config).needed(load), config.availability_percent / 100, zones)


@given(CONFIGS, ZONES)
def test_no_replica_is_ever_planned_to_be_full(config: InferenceConfig, zones: int):
    sizing = size(config, zones, None)
    assert sizing.cpu_target_percent <= 70
    assert sizing.requests_per_second_target <= 0.7 * queue_of(config).rate


@given(CONFIGS, ZONES)
def test_the_fewest_replicas_bear_the_growth_that_comes_before_others_are_ready(config: InferenceConfig, zones: int):
    needed = queue_of(config).needed(config.peak_requests_per_second / GROWTH_BEFORE_SCALING)
    sizing = size(config, zones, None)
    assert counted_on(sizing.replicas_min, needed, config.availability_percent / 100, zones)
    # At least what a drain leaves bears it as well, if there is more than one replica to drain.
    assert sizing.replicas_min - sizing.pdb_max_unavailable >= needed or sizing.replicas_min == needed


@given(CONFIGS, ZONES, st.integers(0, 5000), st.floats(0, 5), st.integers(0, 100))
def test_asking_for_more_never_gives_less(config: InferenceConfig, zones: int, requests: int, percent: float, sooner: int):
    p99 = max(20, config.p99_milliseconds - sooner)
    stricter = msgspec.structs.replace(
        config,
        peak_requests_per_second=config.peak_requests_per_second + requests,
        availability_percent=min(99.99, config.availability_percent + percent),
        p99_milliseconds=p99,
    )
    less, more = size(config, zones, MACHINE), size(stricter, zones, MACHINE)
    assert more.replicas_min >= less.replicas_min
    assert more.replicas_at_peak >= less.replicas_at_peak
    assert more.nodes_min >= less.nodes_min


@given(CONFIGS, ZONES, st.sampled_from(sorted(MACHINES)))
def test_the_nodes_have_room_for_a_canary_beside_every_pod_in_every_zone(config: InferenceConfig, zones: int, machine: str):
    each = MACHINES[machine].holds(config.cpu_millicores, config.memory_mib)
    assume(each)
    sizing = size(config, zones, machine)
    in_fullest_zone = -(-2 * sizing.replicas_max // zones)
    assert sizing.nodes_max // zones * each >= in_fullest_zone or sizing.nodes_max * each >= zones * in_fullest_zone
    assert 1 <= sizing.nodes_min <= sizing.nodes_max
    assert sizing.nodes_min * each >= sizing.replicas_min


def test_zones_do_not_matter_where_one_machine_is_good_enough():
    modest = msgspec.structs.replace(CONFIG, availability_percent=99.0, peak_requests_per_second=100)
    assert size(modest, 3, None).replicas_min == 1


def test_its_own_arithmetic_is_explained():
    said = "\n".join(explain(committed("prod")))
    for each in ("2,000 requests/s at peak", "750 requests/s", "Erlang C", "3 of 5 are up", "3 to 6", "c6i.large"):
        assert each in said
    assert "zones" not in "\n".join(explain(committed("dev"))).partition("availability:")[2]
    assert "nodes" not in "\n".join(explain(committed("local")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inference__p99Milliseconds": "5"}, ["p99Milliseconds is 5", "takes 6.1 for", "give 7 or more"]),
        ({"inference__peakRequestsPerSecond": "1000000"}, ["peakRequestsPerSecond is 1000000", "give 75000 at most"]),
        ({"inference__cpuMillicores": "2000"}, ["inference:cpuMillicores is 2000", "<= 1000"]),
        ({"cluster__inferenceInstanceType": "c6g.large"}, ["is c6g.large", "give c6"]),
        ({"inference__memoryMib": "4096"}, ["c6i.large, too small", "give a larger one, such as c5.xlarge"]),
        ({"inference__memoryMib": "999999"}, ["too small", "give less memory"]),
        ({"inference__host": "churn.example.com", "inference__ingress": "none"}, ["host is churn.example.com", "give inf"]),
        ({"inference__host": "https://churn"}, ["inference:host is https://churn", "such as churn.example.com"]),
    ],
    ids=lambda each: next(iter(each.values())) if isinstance(each, dict) else "",
)
def test_an_objective_that_cannot_be_met_is_named_with_what_to_give(changes: dict[str, str], said: list[str]):
    found = problems(**changes)
    assert all(each in found for each in said), found


@pytest.mark.parametrize(("key", "value"), [("inference:ingress", "internal"), ("inference:scaleOn", "requests")])
def test_a_bare_cluster_has_neither_balancer_nor_keda(key: str, value: str):
    with pytest.raises(ConfigError, match=f"{key} is {value} with churn:platform kubeconfig"):
        read("local", values_of("local") | {key: value})


def test_every_stack_was_sized_here():
    assert stacks() == ["dev", "local", "prod", "staging"]


def test_a_p99_that_is_said_to_be_the_least_can_be_configured():
    assert read("prod", values_of("prod") | {"inference:p99Milliseconds": "7"}).inference.p99_milliseconds == 7
