"""The prediction log: what was answered to whom, in JSON Lines, without ever holding up a request.

A request appends to a bounded queue. One thread writes the queue to a segment file, at least once a second. For a `file://` log
the segments are the log; for another store a second thread ships each finished segment and removes it here. A segment's name
is unique and its object's name the same, so that shipping it twice changes nothing.
"""

import errno
import fcntl
import logging
import secrets
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
from obstore.exceptions import BaseError
from obstore.store import from_url

from app.contract import Customer
from app.decide import Decision
from app.release import Role

# A tenth of the second that the log promises: short queues, and no long stretch of encoding beside the event loop.
FLUSH_SECONDS = 0.1
SEGMENT_BYTES = 8 * 2**20
SEGMENT_SECONDS = 60.0
MAX_QUEUED = 20_000
# Segments may wait for a store that is down up to here: the disk is the pod's, and a pod that fills it is evicted.
MAX_WAITING_BYTES = 256 * 2**20
# Events encoded in one go; the interpreter is held for well under a millisecond.
CHUNK = 256
RETRY_SECONDS = 2.0
STORE_TIMEOUT = timedelta(seconds=10)

logger = logging.getLogger("churn.events")
_encode_lines = msgspec.json.Encoder().encode_lines


class PredictionEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="kind", tag="prediction"):
    """One prediction as it was answered."""

    prediction_id: str
    at: datetime
    release: str
    variant: Role
    bundle_digest: str
    version: str
    customer: Customer
    churn_probability: float
    decision: Decision


class OutcomeEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="kind", tag="outcome"):
    """What became of a customer, as a client reported it."""

    prediction_id: str
    at: datetime
    churned: bool
    offer_made: bool
    observed_at: datetime


class ShadowEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="kind", tag="shadow"):
    """What a shadow would have answered in place of the prediction of that id."""

    prediction_id: str
    at: datetime
    bundle_digest: str
    version: str
    churn_probability: float
    decision: Decision


Event = PredictionEvent | OutcomeEvent | ShadowEvent


class EventLog:
    """The log at a store URL; it opens no file before the first event."""

    def __init__(self, url: str) -> None:
        self.written = 0
        self._refused = 0
        self._lost = 0
        self._queue: deque[Event] = deque()
        self._leave, self._last_pass = threading.Event(), threading.Event()
        self._folder = _folder(url)
        self._segment: _Segment | None = None
        self._remote = not url.startswith("file://")
        self._threads = [threading.Thread(target=self._write, name="write-events", daemon=True)]
        if self._remote:
            # No client options: given any, it ignores those of the environment (AWS_ALLOW_HTTP and the like).
            store = from_url(url, retry_config={"max_retries": 2, "retry_timeout": STORE_TIMEOUT})
            # In one request, so that an object is there whole or not, and no parts of one are left behind.
            put = partial(store.put, use_multipart=False)
            self._threads.append(threading.Thread(target=self._ship, args=(put,), name="ship-events", daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def dropped(self) -> int:
        """Events that found the queue or the disk full."""
        return self._refused + self._lost

    @property
    def waiting_bytes(self) -> int:
        """What is on this disk and still to be shipped; 0 for a log that stays here."""
        return sum(_size(path) for path in self._segments()) if self._remote else 0

    def append(self, event: Event) -> None:
        """Take the event, or count it as dropped: called by the event loop only, and never waits."""
        if len(self._queue) < MAX_QUEUED:
            self._queue.append(event)
        else:
            self._refused += 1

    def close(self, timeout_seconds: float) -> None:
        """Write what is queued and ship what can be shipped in that time; the rest is found by the next process here."""
        until = time.monotonic() + timeout_seconds
        # The writer first: what it closes is then shipped.
        for leave, thread in zip((self._leave, self._last_pass), self._threads, strict=False):
            leave.set()
            thread.join(max(0.0, until - time.monotonic()))

    def _write(self) -> None:
        leaving = False
        while not leaving:
            leaving = self._leave.wait(FLUSH_SECONDS)
            while self._queue:
                self._write_chunk([self._queue.popleft() for _ in range(min(CHUNK, len(self._queue)))])
            if self._segment and (leaving or self._segment.finished):
                self._segment.close()
                self._segment = None

    def _write_chunk(self, events: list[Event]) -> None:
        try:
            if self._segment is None:
                if self.waiting_bytes > MAX_WAITING_BYTES:
                    raise OSError(errno.EDQUOT, "too much waits for the store")
                self._segment = _Segment(self._folder)
            self._segment.write(_encode_lines(events))
            self.written += len(events)
        except OSError as exc:
            if not self._lost:
                logger.error("events_lost", extra={"reason": str(exc)})
            self._lost += len(events)

    def _ship(self, put: Callable[[str, bytes], object]) -> None:
        leaving, failing = False, False
        while not leaving:
            leaving = self._last_pass.wait(RETRY_SECONDS)
            try:
                for path in self._segments():
                    _ship_segment(path, put)
                failing = False
            except (BaseError, OSError) as exc:
                if not failing:
                    logger.warning("events_not_shipped", extra={"reason": str(exc)})
                failing = True

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl"))


def _ship_segment(path: Path, put: Callable[[str, bytes], object]) -> None:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # still being written, here or by another process on this machine
        # One without content may have been made just now, and be locked by its writer next.
        if content := file.read():
            # What was killed while it wrote may have left half a line, of the second that it may lose.
            if lines := content[: content.rfind(b"\n") + 1]:
                put(path.name, lines)
            path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # shipped meanwhile


class _Segment:
    """A file of whole lines, locked while it is written, so that nobody ships it half."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(8)}.jsonl"
        self._file = path.open("xb", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._bytes = 0
        self._until = time.monotonic() + SEGMENT_SECONDS

    @property
    def finished(self) -> bool:
        return self._bytes >= SEGMENT_BYTES or time.monotonic() >= self._until

    def write(self, lines: bytes) -> None:
        """Append the lines or none of them. Raises OSError."""
        view = memoryview(lines)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError:
            # A full disk takes a part: half a line would spoil the file for its readers.
            self._file.truncate(self._bytes)
            self._file.seek(self._bytes)
            raise
        self._bytes += len(lines)

    def close(self) -> None:
        self._file.close()


def _folder(url: str) -> Path:
    if url.startswith("file://"):
        return Path(unquote(urlsplit(url).path))
    # One folder for one store, so that a process finds what the one before it could not ship.
    return Path(tempfile.gettempdir()) / "churn-events" / sha256(url.encode()).hexdigest()[:16]
