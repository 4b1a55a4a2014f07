"""The model of one bundle, proven on its golden customers, answering whatever asks at the same moment in one call."""

import asyncio
import os
from collections.abc import Callable

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from app.bundle import MODEL_INPUT, MODEL_OUTPUT, Bundle, BundleError
from app.contract import FEATURES, Customer, matrix

Rows = NDArray[np.float32]
Scored = tuple[Rows, float]


class Model:
    """Scores matrices. Raises BundleError at once for a graph that cannot be loaded or misses a golden prediction."""

    def __init__(self, bundle: Bundle) -> None:
        self._session = _checked(bundle)
        _check_golden(bundle, self.score)

    def score(self, rows: Rows) -> Rows:
        """Churn probabilities (n,) of rows (n, features)."""
        return self._session.run((MODEL_OUTPUT,), {MODEL_INPUT: rows})[0]


class Together:
    """Scores customers that arrive in the same turn of the event loop in one call of `score`.

    `seen` is given each call's rows and probabilities.
    """

    def __init__(self, score: Callable[[Rows], Rows], seen: Callable[[Rows, Rows], None]) -> None:
        self._score = score
        self._seen = seen
        self._waiting: list[tuple[Customer, asyncio.Future[Scored]]] = []

    def ask(self, customer: Customer) -> asyncio.Future[Scored]:
        """The customer's row (features,) and churn probability, once this turn is over."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            # Runs after the handlers that are ready now, so nobody waits for a timer and a lone request for nobody.
            loop.call_soon(self._answer)
        future: asyncio.Future[Scored] = loop.create_future()
        self._waiting.append((customer, future))
        return future

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            rows = matrix([customer for customer, _ in waiting])
            probabilities = self._score(rows)
            self._seen(rows, probabilities)
        except Exception as exc:  # noqa: BLE001 # those who wait must hear of it, or they wait for ever
            for _, future in waiting:
                if not future.done():
                    future.set_exception(exc)
            return
        for (_, future), row, probability in zip(waiting, rows, probabilities.tolist(), strict=True):
            if not future.done():  # cancelled: the client went away
                future.set_result((row, probability))


def session(model: bytes) -> ort.InferenceSession:
    """A graph ready to run, as this process runs graphs."""
    options = ort.SessionOptions()
    # The event loop is the only caller, next to a thread for batches and one of a shadow: more would only wait for each other.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # An arena keeps the largest batch's memory for good.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    # A graph may name files for its weights, sought from the working folder: a bundle is whole without, so nothing is found.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _checked(bundle: Bundle) -> ort.InferenceSession:
    try:
        loaded = session(bundle.model)
    except Exception as exc:  # ONNX Runtime's errors have no common base of their own
        raise BundleError(f"bundle {bundle.digest}: model.onnx cannot be loaded: {exc}") from exc
    found = [(node.name, node.type, node.shape[1:]) for node in (*loaded.get_inputs(), *loaded.get_outputs())]
    expected: list[tuple[str, str, list[int | str | None]]]
    expected = [(MODEL_INPUT, "tensor(float)", [len(FEATURES)]), (MODEL_OUTPUT, "tensor(float)", [])]
    if found != expected:
        raise BundleError(f"bundle {bundle.digest}: model.onnx has inputs and outputs {found}, expected {expected}")
    return loaded


def _check_golden(bundle: Bundle, score: Callable[[Rows], Rows]) -> None:
    golden, place = bundle.golden, f"bundle {bundle.digest}: golden.json"
    if not golden.customers or len(golden.customers) != len(golden.churn_probabilities):
        sizes = f"{len(golden.customers)} customers and {len(golden.churn_probabilities)} probabilities"
        raise BundleError(f"{place} has {sizes}; expected as many of each, and at least one")
    try:
        found = score(matrix(golden.customers))
    except Exception as exc:  # as above: a graph that loads may still fail to run
        raise BundleError(f"bundle {bundle.digest}: model.onnx cannot score golden.json: {exc}") from exc
    expected = np.array(golden.churn_probabilities)
    # A comparison with NaN is false, so a probability that is none counts as wrong.
    wrong = np.flatnonzero(~(np.abs(found - expected) <= golden.tolerance))
    if wrong.size:
        row = int(wrong[0])
        raise BundleError(
            f"{place} row {row}: expected churn probability {expected[row]:.9f} within {golden.tolerance:g}, "
            f"found {found[row]:.9f} ({wrong.size} of {expected.size} rows differ); the bundle is not fit for this machine"
        )
