"""A model that is asked, after the answer, what it would have told the customer: nobody waits for it or hears of its failures."""

import asyncio
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.decide import Decision, decide
from app.events import EventLog, ShadowEvent
from app.metrics import Metrics
from app.release import Variant
from app.web import log_failure

# Answers go out meanwhile, and those that come together are scored in a few calls.
PAUSE_SECONDS = 0.1
# Few enough that a request waits for a tenth of a millisecond at most.
ROWS_IN_A_TURN = 64
# As low as a priority gets: whoever is answered by somebody else has the processor first.
NICENESS = 19
# More than a core answers in that pause.
MAX_WAITING = 5_000

logger = logging.getLogger("churn")
Score = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Answered(NamedTuple):
    """What was answered, and the model's input (features,) that it was answered from."""

    prediction_id: str
    row: NDArray[np.float32]
    decision: Decision


class Shadow:
    """One shadow variant; its probabilities go to the log, by `prediction_id`, and into figures. Used from one event loop."""

    def __init__(self, variant: Variant, score: Score | None, events: EventLog, metrics: Metrics) -> None:
        """Without `score`, as its bundle could not be loaded, it only counts what it misses."""
        self._variant = variant
        self._score = score
        self._events = events
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shadow", initializer=_give_way)
        self._waiting: deque[Answered] = deque()
        self._working: asyncio.Task[None] | None = None
        self._failed = False

    def see(self, answered: Answered) -> None:
        """Take note of an answer; never waits, and counts what there is no room for."""
        if self._score is None:
            self._metrics.shadow_lost["not loaded"] += 1
        elif len(self._waiting) >= MAX_WAITING:
            self._metrics.shadow_lost["behind"] += 1
        else:
            self._waiting.append(answered)
            if self._working is None or self._working.done():
                self._working = asyncio.get_running_loop().create_task(self._catch_up(self._score))

    async def stop(self) -> None:
        """Leave what waits alone, count it, and finish what is being scored: the process ends."""
        self._metrics.shadow_lost["stopped"] += len(self._waiting)
        self._waiting.clear()
        if self._working:
            await self._working
        self._thread.shutdown()

    async def _catch_up(self, score: Score) -> None:
        await asyncio.sleep(PAUSE_SECONDS)
        while self._waiting:
            seen = [self._waiting.popleft() for _ in range(min(ROWS_IN_A_TURN, len(self._waiting)))]
            try:
                # One array of them takes microseconds; scoring it lets go of the interpreter.
                rows = np.array([each.row for each in seen])
                found = await asyncio.get_running_loop().run_in_executor(self._thread, score, rows)
                self._note(seen, found.tolist())
            except Exception as exc:  # noqa: BLE001 # whatever it is, clients are not to feel it
                self._metrics.shadow_lost["failed"] += len(seen)
                if not self._failed:
                    self._failed = True
                    log_failure(exc, "shadow_failed")

    def _note(self, seen: list[Answered], probabilities: list[float]) -> None:
        at, variant = datetime.now(UTC), self._variant
        for each, probability in zip(seen, probabilities, strict=True):
            decision = decide(variant.threshold, probability)
            self._metrics.shadowed[variant.version, decision, each.decision] += 1
            self._events.append(
                ShadowEvent(
                    prediction_id=each.prediction_id,
                    at=at,
                    bundle_digest=variant.bundle_digest,
                    version=variant.version,
                    churn_probability=probability,
                    decision=decision,
                )
            )


def _give_way() -> None:
    # Linux has a priority for each thread, others one for the process.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
