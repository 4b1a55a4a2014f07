import asyncio
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.bundle import BundleError, Golden, open_bundle, sha256
from app.contract import FEATURES, Customer, matrix
from app.model import Model, Scored, Together
from tests.app.support import ASKED, bundle_files, graph, probability

CUSTOMERS = st.builds(
    lambda months, charges, partner: Customer(
        **{**ASKED, "tenure_months": months, "monthly_charges_usd": charges, "partner": partner}
    ),
    st.integers(0, 600),
    st.floats(0, 200),
    st.sampled_from([None, True, False]),
)


def model(**what: Any) -> Model:
    files = bundle_files(**what)
    return Model(open_bundle(files, sha256(files["manifest.json"]), "here"))


def golden(probabilities: list[float], tolerance: float = 1e-5) -> bytes:
    customers = [Customer(**ASKED)] * len(probabilities)
    return msgspec.json.encode(Golden(customers=customers, churn_probabilities=probabilities, tolerance=tolerance))


@given(st.lists(CUSTOMERS, min_size=1, max_size=20))
@settings(max_examples=30)
def test_rows_are_scored_as_the_graph_says(customers: list[Customer]):
    found = MODEL.score(matrix(customers))
    assert found.shape == (len(customers),)
    np.testing.assert_allclose(found, [probability(customer) for customer in customers], atol=1e-5)


MODEL = model()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            [probability(Customer(**ASKED)), 0.25, 0.25],
            r"golden\.json row 1: expected churn probability 0\.25.* found 0\.51.*2 of 3 rows",
        ),
        ([], r"golden\.json has 0 customers and 0 probabilities"),
    ],
    ids=["another figure", "no row"],
)
def test_a_model_that_misses_its_golden_predictions_is_refused(found: list[float], message: str):
    with pytest.raises(BundleError, match=message):
        model(golden=golden(found))


def test_golden_rows_and_probabilities_come_in_pairs():
    uneven = golden([0.5, 0.5]).replace(b"[0.5,0.5]", b"[0.5]")
    with pytest.raises(BundleError, match="has 2 customers and 1 probabilities"):
        model(golden=uneven)


def test_a_probability_that_is_none_is_refused():
    nothing = msgspec.json.decode(golden([0.5]), type=dict[str, Any])
    broken = graph().replace(np.array([-0.5], np.float32).tobytes(), np.array([math.nan], np.float32).tobytes())
    with pytest.raises(BundleError, match="found nan"):
        model(model=broken, golden=msgspec.json.encode(nothing))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no graph", r"model\.onnx cannot be loaded"),
        (graph(features=len(FEATURES) - 1), r"model\.onnx has inputs and outputs .*18.*, expected .*19"),
        (graph().replace(b"churn_probability", b"churn_probabilitY"), "expected .*churn_probability"),
    ],
    ids=["not a graph", "other columns", "another output"],
)
def test_a_graph_that_is_not_ours_is_refused(content: bytes, message: str):
    with pytest.raises(BundleError, match=message):
        model(model=content)


def test_a_graph_that_fails_to_run_is_refused():
    with pytest.raises(BundleError, match=r"cannot score golden\.json"):
        model(model=graph(unsqueezable=True))


@given(st.lists(CUSTOMERS, min_size=1, max_size=30))
@settings(max_examples=30)
def test_who_asks_in_one_turn_is_scored_in_one_call_and_gets_the_own_answer(customers: list[Customer]):
    calls: list[int] = []
    together = Together(MODEL.score, lambda rows, _: calls.append(len(rows)))

    async def ask() -> list[Scored]:
        first = await asyncio.gather(*map(together.ask, customers))
        _, again = await together.ask(customers[0])
        assert again == pytest.approx(first[0][1], abs=1e-6)
        return first

    rows, found = zip(*asyncio.run(ask()), strict=True)
    assert calls == [len(customers), 1]
    assert np.array_equal(rows, matrix(customers), equal_nan=True)
    assert found == pytest.approx([probability(customer) for customer in customers], abs=1e-5)


def test_one_who_goes_away_does_not_keep_the_others_from_their_answer():
    together = Together(MODEL.score, lambda *_: None)

    async def ask() -> float:
        gone, stays = together.ask(Customer(**ASKED)), together.ask(Customer(**ASKED))
        gone.cancel()
        return (await stays)[1]

    assert asyncio.run(ask()) == pytest.approx(probability(Customer(**ASKED)), abs=1e-5)


def test_everybody_hears_of_a_failure():
    def fail(_: Any) -> Any:
        raise RuntimeError("out of memory")

    async def ask() -> list[Any]:
        together = Together(fail, lambda *_: None)
        gone, *stay = [together.ask(Customer(**ASKED)) for _ in range(3)]
        gone.cancel()
        return await asyncio.gather(*stay, return_exceptions=True)

    assert [str(each) for each in asyncio.run(ask())] == ["out of memory"] * 2


@pytest.mark.parametrize("module", ["app.model", "training.bundle"])
def test_the_library_that_runs_models_keeps_nothing_to_tell_its_maker(module: str, tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    done = subprocess.run([sys.executable, "-c", f"import {module}"], env={**environment, "HOME": str(tmp_path)}, check=False)
    assert done.returncode == 0
    assert not list(tmp_path.rglob("*onnxruntime*"))
