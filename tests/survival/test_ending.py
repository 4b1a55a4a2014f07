"""Processes that end while clients ask without pause: in order, nobody notices; killed, nobody whose client asks again."""

import json
import random
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bench import load
from tests.app.support import ASKED, Place, ServerProcess, serving, variant, wait_for
from tests.survival.conftest import Report
from tests.survival.crowd import SHARE, Seen, crowd
from tests.survival.proxy import POLL_SECONDS, Backend, Proxy, balanced

SIGTERMS = round(50 * SHARE)
SIGKILLS = round(20 * SHARE)
CLIENTS = 8
# A client's pauses before it asks again; the last is longer than it takes to be noticed that a process is gone.
PAUSES_SECONDS = (0.0, 2 * POLL_SECONDS, 10 * POLL_SECONDS)
ONE = load.request("/v1/predict", json.dumps(ASKED).encode())


class Pair:
    """Two processes behind a proxy."""

    def __init__(self, place: Place, proxy: Proxy, stack: ExitStack) -> None:
        self._place, self._proxy, self._stack = place, proxy, stack
        self._started = 0
        self.serving: list[tuple[ServerProcess, Backend]] = []
        for _ in range(2):
            self.start()

    def start(self) -> None:
        """Start another one and wait until the proxy sends there."""
        self._started += 1
        # A quarter of it is what the proxy has to notice, fifteen polls; how fast it starts is not for coverage to say.
        settings = self._place.settings(grace_seconds=6.0)
        log = self._place.root / f"log-{self._started}"
        server = self._stack.enter_context(serving(settings, log, COVERAGE_PROCESS_CONFIG=""))
        server.said("ready")
        backend = Backend(server.said("listening")["port"])
        self._proxy.backends += (backend,)
        wait_for(lambda: backend.ready, "the proxy's notice")
        self.serving.append((server, backend))

    def end(self, number: int, how: signal.Signals) -> int:
        """How one of them ended; it had answered somebody."""
        server, backend = self.serving.pop(number)
        wait_for(lambda: backend.answered, "an answer")
        code = server.stop(how)
        wait_for(lambda: not backend.ready, "the proxy's notice")
        self._proxy.backends = tuple(each for each in self._proxy.backends if each is not backend)
        return code


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with balanced() as started:
        yield started


@pytest.fixture
def pair(tmp_path: Path, proxy: Proxy) -> Iterator[Pair]:
    place = Place(tmp_path)
    place.write_release(variant(place.add_bundle()))
    with ExitStack() as stack:
        yield Pair(place, proxy, stack)
    shutil.rmtree(tmp_path / "events")  # some hundred megabytes at full length


def test_processes_ended_by_sigterm_and_replaced_one_at_a_time_cost_no_request(
    pair: Pair, proxy: Proxy, tmp_path: Path, report: Report
):
    seen: list[Seen] = []
    over = threading.Event()
    asking = threading.Thread(target=lambda: seen.append(crowd(proxy.port, ONE, CLIENTS, float("inf"), patient=False, over=over)))
    asking.start()
    try:
        codes = []
        for _ in range(SIGTERMS):
            codes.append(pair.end(0, signal.SIGTERM))
            pair.start()
        # The last one as well, before nobody asks any more.
        wait_for(lambda: all(backend.answered for _, backend in pair.serving), "an answer of both")
    finally:
        over.set()
        asking.join()
    codes += [pair.end(0, signal.SIGTERM) for _ in range(2)]
    [all_of_it] = seen
    answers = sum(map(len, all_of_it.took_seconds.values()))
    failed = answers - all_of_it.count(200) + all_of_it.lost
    logged = sum(path.read_bytes().count(b"\n") for path in (tmp_path / "events").iterdir())
    report("SIGTERM cycles", SIGTERMS)
    report("requests", answers)
    report("requests failed", failed, limit="0")
    report("answered and not in the prediction log", max(0, all_of_it.count(200) - logged), limit="0")
    assert codes == [0] * (SIGTERMS + 2)
    assert failed == 0
    # Clients that went in the end may have left an answer behind.
    assert all_of_it.count(200) <= logged <= all_of_it.count(200) + CLIENTS


@contextmanager
def insisting(port: int) -> Iterator[Counter[int | None]]:
    """By how often they had to ask again, or None, what became of the requests of clients that try three times."""
    told: list[int | None] = []
    over = threading.Event()

    def ask() -> int | None:
        for again, pause in enumerate(PAUSES_SECONDS):
            over.wait(pause)
            if load.once(port, ONE).startswith(b"HTTP/1.1 200"):
                return again
        return None

    def insist() -> None:
        while not over.is_set():
            told.append(ask())

    threads = [threading.Thread(target=insist) for _ in range(CLIENTS)]
    counted: Counter[int | None] = Counter()
    for thread in threads:
        thread.start()
    try:
        yield counted
    finally:
        over.set()
        for thread in threads:
            thread.join()
        counted.update(told)


def test_killing_one_of_two_processes_costs_no_client_that_asks_twice_again(pair: Pair, proxy: Proxy, report: Report):
    moment = random.Random(6)  # noqa: S311 # chance, no secret
    with insisting(proxy.port) as told:
        for _ in range(SIGKILLS):
            assert pair.end(moment.randrange(2), signal.SIGKILL) == -signal.SIGKILL
            pair.start()
    report("SIGKILLs", SIGKILLS)
    report("requests", told.total())
    report("asked again once, twice", f"{told[1]}, {told[2]}")
    report("failed after two retries", told[None], limit="0")
    assert told[None] == 0
    assert told[1] > 0
