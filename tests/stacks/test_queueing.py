import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.queueing import SLOW_SHARE, Queue

QUEUES = st.builds(
    lambda rate, slack: Queue(rate=rate, limit_seconds=slack * 4.606 / rate), st.floats(1, 5_000), st.floats(1.1, 50)
)


def simulated_share(queue: Queue, servers: int, load: float, requests: int = 40_000) -> float:
    """The share of slow answers when requests are served one by one, first come, first served."""
    chance, now, slow = random.Random(7), 0.0, 0  # noqa: S311 - a simulation
    free_at = [0.0] * servers
    for _ in range(requests):
        now += chance.expovariate(load)
        server = min(range(servers), key=free_at.__getitem__)
        free_at[server] = max(now, free_at[server]) + chance.expovariate(queue.rate)
        slow += free_at[server] - now > queue.limit_seconds
    return slow / requests


@pytest.mark.parametrize(("servers", "load"), [(1, 80.0), (2, 150.0), (3, 200.0), (5, 350.0)])
def test_the_formula_says_what_a_simulated_queue_does(servers: int, load: float):
    queue = Queue(rate=100.0, limit_seconds=0.04)
    assert queue.slower_share(servers, load, queue.limit_seconds) == pytest.approx(simulated_share(queue, servers, load), rel=0.1)


def test_one_server_is_the_textbook_case():
    # M/M/1: the time until the answer is exponential with the rate that is left over.
    queue = Queue(rate=100.0, limit_seconds=0.1)
    assert queue.p99_seconds(1, 40.0) == pytest.approx(4.60517 / 60)
    assert queue.served(1) == pytest.approx(100 - 46.0517)


@given(QUEUES, st.floats(0.1, 80))
def test_what_is_needed_keeps_the_limit_and_one_fewer_does_not(queue: Queue, busy: float):
    load = busy * queue.rate
    needed = queue.needed(load)
    assert queue.slower_share(needed, load, queue.limit_seconds) <= SLOW_SHARE
    assert needed == 1 or queue.slower_share(needed - 1, load, queue.limit_seconds) > SLOW_SHARE


@given(QUEUES, st.integers(1, 60))
def test_what_servers_are_said_to_serve_needs_just_as_many(queue: Queue, servers: int):
    served = queue.served(servers)
    assert queue.needed(served * 0.999) <= servers
    assert queue.needed(served * 1.001) > servers


@given(QUEUES, st.floats(0.1, 40))
def test_the_p99_is_within_the_limit_and_never_below_the_service_time(queue: Queue, busy: float):
    load = busy * queue.rate
    found = queue.p99_seconds(queue.needed(load), load)
    assert queue.quickest_p99_seconds * 0.999 <= found <= queue.limit_seconds * 1.001


def test_servers_that_do_not_keep_up_are_always_too_slow():
    assert Queue(rate=10.0, limit_seconds=1.0).slower_share(3, 30.0, 100.0) == 1
