"""What hostile clients and files have in common: a ready process, raw bytes to it, its peak of memory, and a watch on a file."""

import ctypes
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench import load
from tests.app.support import ASKED, Place, ServerProcess, serving, variant
from tests.app.test_access import OUTCOME

MIB = 2**20
# What a process may keep on top of what it had, however much is sent to it.
MAX_GROWTH_BYTES = 16 * MIB
BODIES: dict[str, dict[str, Any]] = {
    "/v1/predict": ASKED,
    "/v1/predict/batch": {"customers": [ASKED, {**ASKED, "customer_id": "c-1"}]},
    "/v1/outcomes": {"outcomes": [OUTCOME]},
}
PROBLEM = {"type", "title", "status", "detail", "errors"}


class Answer(NamedTuple):
    status: int
    head: bytes
    body: bytes


def make_place(root: Path) -> Place:
    """A folder with all that a process needs."""
    place = Place(root)
    place.write_release(variant(place.add_bundle()))
    return place


@contextmanager
def ready(place: Place, **settings: Any) -> Iterator[ServerProcess]:
    """A process that answers; it has to live to the end, and then to answer still."""
    with serving(place.settings(**settings), place.root / "log") as server:
        server.said("ready")
        yield server
        assert load.once(port(server), b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").startswith(b"HTTP/1.1 200")
        assert server.stop() == 0


def port(server: ServerProcess) -> int:
    return server.said("listening")["port"]


def ask(at: int, content: bytes) -> Answer:
    """The answer to these bytes."""
    return parsed(load.once(at, content))


def post(at: int, path: str, body: bytes, *lines: str) -> Answer:
    """The answer to this body, sent as JSON with more header lines."""
    content = load.request(path, body)
    for line in lines:
        content = content.replace(b"\r\n", b"\r\n%s\r\n" % line.encode("latin-1"), 1)
    return ask(at, content)


def parsed(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    return Answer(int(head[9:12]), head, body)


def is_refused(answer: Answer) -> bool:
    """Whether it is a 4xx; fails if it is a problem of another shape than the documented one, or no answer of this service."""
    if answer.status in (200, 202):
        return False
    assert 400 <= answer.status < 500, answer
    assert b"\ncontent-type: application/problem+json" in answer.head, answer
    problem = json.loads(answer.body)
    assert problem.keys() == PROBLEM
    assert problem["status"] == answer.status
    assert all(error.keys() == {"pointer", "detail"} for error in problem["errors"])
    assert bool(problem["errors"]) == (answer.status == 422), answer
    return True


class Memory:
    """The growth of a process from now on to its peak."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        (self._process / "clear_refs").write_text("5")  # the peak is what it has now
        self._before = self._peak_bytes()

    @property
    def growth_bytes(self) -> int:
        return self._peak_bytes() - self._before

    def _peak_bytes(self) -> int:
        [found] = re.findall(r"^VmHWM:\s+(\d+) kB$", (self._process / "status").read_text(), re.MULTILINE)
        return int(found) * 1024


class Watch:
    """Tells whether anybody opened a file, as the kernel (inotify) says."""

    _IN_OPEN = 0x20

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._queue = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._queue, os.fsencode(path), self._IN_OPEN) >= 0, os.strerror(ctypes.get_errno())

    def opened(self) -> bool:
        """Whether since it was asked last."""
        try:
            return bool(os.read(self._queue, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._queue)


@contextmanager
def watched(path: Path) -> Iterator[Watch]:
    """A watch on the file that was seen to work."""
    watch = Watch(path)
    try:
        path.read_bytes()
        assert watch.opened()
        yield watch
    finally:
        watch.close()
