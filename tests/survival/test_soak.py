"""Half an hour of everything at once: the process holds on to no descriptor and no memory of it.

A tenth of it would be three minutes; `make test` runs some seconds, under the same limits: descriptors as many as they were, give
or take five, and memory that grows by at most 1 MB for each 100,000 requests. At full length that is all that it grew by. In some
seconds one step of the allocator would be more, so there the middle one of the rounds counts, as a leak is in each of them; and a
round of fewer than 25,000 requests is held to a quarter of the megabyte, as a few pages more are none.
"""

import itertools
import json
import statistics
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import load
from tests.app.support import ASKED, NOW, Bucket, Place, ServerProcess, counted, serving, variant, wait_for
from tests.survival.conftest import Report
from tests.survival.crowd import SOAK, crowd

ROUNDS = 60 if SOAK else 5
ROUND_SECONDS = 30.0 if SOAK else 1.5
# After so many segments nothing happens for the first time: buffers of a segment's size came and went.
WARM_UP_SEGMENTS = 12
MAX_DESCRIPTORS = 5
MAX_GROWTH_MB = 1.0
REQUESTS = 100_000
FEWEST_REQUESTS = 25_000
OUTCOME = {"prediction_id": "a-1", "churned": True, "offer_made": False, "observed_at": NOW.isoformat()}
ONE = load.request("/v1/predict", json.dumps(ASKED).encode())
BATCH = load.request("/v1/predict/batch", json.dumps({"customers": [ASKED] * 100}).encode())
OUTCOMES = load.request("/v1/outcomes", json.dumps({"outcomes": [OUTCOME] * 20}).encode())
BAD = load.request("/v1/predict", json.dumps({**ASKED, "contract": "for ever", "tenure_months": -1}).encode())
NO_JSON = load.request("/v1/predict/batch", b'{"customers": [')
NOWHERE = load.request("/v1/nowhere", b"{}")
NO_HTTP = b"HELLO\r\n\r\n"
# By content: the answer, and how many kept connections ask for it again and again.
KEPT = {ONE: (200, 4), BATCH: (200, 1), OUTCOMES: (202, 1), BAD: (422, 1), NO_JSON: (400, 1), NOWHERE: (404, 1)}
EVENTS = {ONE: 1, BATCH: 100, OUTCOMES: 20}
NEW = {ONE: 200, BAD: 422, NO_HTTP: 400}


class Counting(Bucket):
    """Counts the lines of each object instead of keeping gigabytes."""

    def keep(self, path: str, content: bytes) -> None:
        super().keep(path, b"%d" % content.count(b"\n"))

    def count(self) -> int:
        return sum(map(int, self.lines()))


@pytest.fixture
def bucket() -> Counting:
    return Counting()


@pytest.fixture
def server(tmp_path: Path, bucket: Counting) -> Iterator[ServerProcess]:
    place = Place(tmp_path)
    place.write_release(variant(place.add_bundle()))
    settings = place.settings(events="s3://log/soak", grace_seconds=20.0)
    # What is measured is the process, not what counts its lines.
    with (
        bucket.open() as aws,
        serving(settings, tmp_path / "log", TMPDIR=str(tmp_path), COVERAGE_PROCESS_CONFIG="", **aws) as started,
    ):
        started.said("ready")
        yield started


def everything(server: ServerProcess, seconds: float) -> Counter[bytes]:
    """How often each content was asked, always with the answer that it should get."""
    port, over = server.said("listening")["port"], threading.Event()
    again, once = Counter[bytes](), Counter[bytes]()

    def kept(content: bytes) -> None:
        status, people = KEPT[content]
        seen = crowd(port, content, people, seconds)
        assert ({*seen.took_seconds}, seen.lost) == ({status}, 0)
        again[content] = seen.count(status)

    def new() -> None:
        for content, status in itertools.takewhile(lambda _: not over.is_set(), itertools.cycle(NEW.items())):
            assert load.once(port, content).startswith(b"HTTP/1.1 %d" % status)
            once[content] += 1

    def scraped() -> None:
        while not over.wait(0.2):
            assert "churn_ready 1.0" in server.scrape()

    with ThreadPoolExecutor(len(KEPT) + 2) as threads:
        others = [threads.submit(new), threads.submit(scraped)]
        try:
            for each in [threads.submit(kept, content) for content in KEPT]:
                each.result()
        finally:
            over.set()
        for each in others:
            each.result()
    return again + once


def descriptors(server: ServerProcess) -> int:
    return len([*Path(f"/proc/{server.process.pid}/fd").iterdir()])


def resident_bytes(server: ServerProcess) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


def rest(server: ServerProcess) -> tuple[int, int]:
    """The least descriptors and resident bytes of a second in which nobody asks: a segment may be on its way just now."""
    looks = [(descriptors(server), resident_bytes(server)) for _ in range(10) if not threading.Event().wait(0.1)]
    return min(files for files, _ in looks), min(resident for _, resident in looks)


def warm_up(server: ServerProcess, bucket: Counting) -> None:
    over = threading.Event()
    port = server.said("listening")["port"]
    asking = threading.Thread(target=crowd, args=(port, BATCH, 2, float("inf")), kwargs={"over": over})
    asking.start()
    try:
        wait_for(lambda: len(bucket.objects) >= WARM_UP_SEGMENTS, "the segments", 120)
    finally:
        over.set()
        asking.join()
    everything(server, ROUND_SECONDS)


def test_descriptors_and_memory_stay_as_they_were(server: ServerProcess, bucket: Counting, report: Report):
    warm_up(server, bucket)
    rests, rounds = [rest(server)], list[Counter[bytes]]()
    for _ in range(ROUNDS):
        rounds.append(everything(server, ROUND_SECONDS))
        rests.append(rest(server))
    asked = sum(rounds, Counter[bytes]())
    files, resident = zip(*rests, strict=True)
    dropped = counted(server, "dropped_total")
    assert server.stop() == 0
    moved = max(abs(each - files[0]) for each in files)
    growth_mb = REQUESTS / asked.total() * (resident[-1] - resident[0]) / 1e6
    if not SOAK:
        grown = zip(itertools.pairwise(resident), rounds, strict=True)
        growth_mb = statistics.median(
            REQUESTS / max(each.total(), FEWEST_REQUESTS) * (after - before) / 1e6 for (before, after), each in grown
        )
    lost = max(0, sum(EVENTS.get(content, 0) * count for content, count in asked.items()) - bucket.count() - dropped)
    report("minutes", ROUNDS * ROUND_SECONDS / 60)
    report("requests", asked.total())
    report("segments shipped", len(bucket.objects))
    report("descriptors", f"{files[0]}, moved by {moved}", limit=f"{MAX_DESCRIPTORS}")
    report("resident at first, MB", resident[0] / 1e6)
    report(f"growth for each {REQUESTS:,} requests, MB", growth_mb, limit=f"{MAX_GROWTH_MB}")
    report("acknowledged events neither shipped nor counted as dropped", lost, limit="0")
    assert moved <= MAX_DESCRIPTORS
    assert growth_mb <= MAX_GROWTH_MB
    assert lost == 0
