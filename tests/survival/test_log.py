"""The prediction log of a process that is killed, or whose disk is full: each event is in it once, or counted as lost."""

import json
import random
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench import load
from tests.app.support import ASKED, Bucket, Place, ServerProcess, counted, serving, variant, wait_for
from tests.survival.conftest import Report
from tests.survival.crowd import SHARE, Seen, crowd

KILLS = round(20 * SHARE)
# Longer than it takes to write the first line, so that a kill finds the log at any point of its work.
LATEST_KILL_SECONDS = 2.5
# What a kill may cost, as the documentation says.
WINDOW_SECONDS = 1.0
CLIENTS = 4
ROOM_BYTES = 2**18
ONE = load.request("/v1/predict", json.dumps(ASKED).encode())
BATCH = load.request("/v1/predict/batch", json.dumps({"customers": [ASKED] * 5}).encode())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.write_release(variant(made.add_bundle()))
    return made


def killed_after(server: ServerProcess, seconds: float) -> dict[str, float]:
    """The ids that clients were told before the process was killed, each with its age at that time."""
    port = server.said("listening")["port"]
    told: list[tuple[float, bytes]] = []
    over = threading.Event()
    clients = [
        threading.Thread(
            target=crowd,
            args=(port, content, CLIENTS, float("inf")),
            kwargs={"over": over, "heard": lambda _, body: told.append((time.monotonic(), body))},
        )
        for content in (ONE, BATCH)
    ]
    for each in clients:
        each.start()
    over.wait(seconds)
    killed_at = time.monotonic()
    server.stop(signal.SIGKILL)
    over.set()
    for each in clients:
        each.join()
    return {each["prediction_id"]: killed_at - at for at, body in told for each in _predictions(json.loads(body))}


def _predictions(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return answer.get("predictions", [answer])


@pytest.mark.parametrize("shipped", [False, True], ids=["on this disk", "in an object store"])
def test_what_was_acknowledged_before_a_kill_is_in_the_log_once(place: Place, shipped: bool, report: Report):
    moment = random.Random(8)  # noqa: S311 # chance, no secret
    bucket, log = Bucket(), place.root / "log"
    settings = place.settings(**{"events": "s3://log/survival"} if shipped else {})
    acknowledged: dict[str, float] = {}
    with bucket.open() as aws:
        environment = {"TMPDIR": str(place.root), "COVERAGE_PROCESS_CONFIG": "", **aws}
        for _ in range(KILLS):
            with serving(settings, log, **environment) as server:
                server.said("ready")
                acknowledged.update(killed_after(server, moment.uniform(0, LATEST_KILL_SECONDS)))
        # The last one ships what the others left, and ends in order.
        with serving(settings, log, **environment) as server:
            server.said("ready")
            wait_for(lambda: not shipped or counted(server, "waiting_bytes") == 0, "the end of what was left", 60)
            assert server.stop() == 0
    left = [line for path in place.root.rglob("*.jsonl") for line in path.read_bytes().splitlines(keepends=True)]
    assert not (shipped and left)
    # A reader leaves out the half line that a kill may have cut.
    lines = bucket.lines() if shipped else [line for line in left if line.endswith(b"\n")]
    found: dict[str, set[int]] = {}
    for line in lines:
        found.setdefault(json.loads(line)["prediction_id"], set()).add(hash(line))
    due = [each for each, age in acknowledged.items() if age > WINDOW_SECONDS]
    missing = [age for each, age in acknowledged.items() if each not in found]
    report("SIGKILLs", KILLS)
    report("acknowledged, older than the window", len(due))
    report("of them missing", sum(each not in found for each in due), limit="0")
    report("twice and different", sum(len(each) > 1 for each in found.values()), limit="0")
    report("oldest that was lost, s", max(missing, default=0.0), limit=f"{WINDOW_SECONDS}")
    assert due
    assert all(each in found for each in due)
    assert all(len(each) == 1 for each in found.values())


@contextmanager
def a_disk(folder: Path, _: ServerProcess) -> Iterator[Callable[[], None]]:
    """A full disk at `folder`; what is yielded gives it room."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_BYTES}", "tmpfs", folder]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a disk of its own needs root that may mount: {mounted.stderr.strip()}")
    try:
        yield lambda: _run("mount", "-o", "remount,size=256m", folder)
    finally:
        _run("umount", "--lazy", folder)


@contextmanager
def a_limit(_: Path, server: ServerProcess) -> Iterator[Callable[[], None]]:
    """Files that may not grow, which needs no root; what is yielded lets them."""
    before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (ROOM_BYTES, before[1]))
    yield lambda: _set(server, before)


def _set(server: ServerProcess, limits: tuple[int, int]) -> None:
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


@contextmanager
def asked_meanwhile(server: ServerProcess) -> Iterator[list[Seen]]:
    """Clients that ask all the time; in the end, what they saw."""
    seen: list[Seen] = []
    over = threading.Event()
    port = server.said("listening")["port"]
    asking = threading.Thread(target=lambda: seen.append(crowd(port, ONE, CLIENTS, float("inf"), over=over)))
    asking.start()
    try:
        yield seen
    finally:
        over.set()
        asking.join()


@pytest.mark.parametrize("full", [a_disk, a_limit])
def test_a_full_disk_costs_counted_events_and_no_answer(
    place: Place, full: Callable[..., AbstractContextManager[Callable[[], None]]], report: Report
):
    folder = place.root / "events"
    folder.mkdir()
    with serving(place.settings(), place.root / "log", COVERAGE_PROCESS_CONFIG="") as server, full(folder, server) as give_room:
        server.said("ready")
        with asked_meanwhile(server) as seen:
            wait_for(lambda: counted(server, "dropped_total") > 1000, "the end of the room", 30)
            give_room()
            before = counted(server, "written_total")
            wait_for(lambda: counted(server, "written_total") > before + 1000, "the log's going on", 30)
        wait_for(lambda: counted(server, "queued") == 0, "the rest")
        written, dropped = counted(server, "written_total"), counted(server, "dropped_total")
        assert server.stop() == 0
        lines = [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    [told] = seen
    answers = sum(map(len, told.took_seconds.values()))
    report("events dropped and counted", dropped)
    report("answers other than 200", answers - told.count(200) + told.lost, limit="0")
    report("events neither in the log nor counted", max(0, told.count(200) - written - dropped), limit="0")
    assert ({*told.took_seconds}, told.lost) == ({200}, 0)
    assert told.count(200) <= written + dropped <= told.count(200) + CLIENTS
    assert len({json.loads(line)["prediction_id"] for line in lines}) == len(lines) == written
