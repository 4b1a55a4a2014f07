"""The regression tests on real bundles: sound ones pass, and each planted fault is found by the check that is for it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from scipy import stats

from app import contract
from app.bundle import MANIFEST, MODEL_INPUT, MODEL_OUTPUT, Bundle, open_bundle, sha256
from app.contract import Customer
from app.release import Behaviour
from policies.behaviour import DIRECTION, FUNCTIONALITY, INVARIANCE
from policies.release import violations
from tests.releases import make_evidence, make_release, make_variant, plain
from tests.training.models import QUICK, quick_contents, small_table
from training.behaviour import behaviour
from training.bundle import Scorer, contents
from training.candidates import CANDIDATES, fit
from training.data import Table, load_table
from training.features import INDEX, Matrix
from training.prepare import clean, split
from training.sample import sample

UNSEEN = Table(sample(400, 4)[0])
ADDED = "planted"


def opened(files: dict[str, bytes]) -> Bundle:
    return open_bundle(files, sha256(files[MANIFEST]), "bundle")


def refused(found: Behaviour, rows: int = len(UNSEEN.churned)) -> set[str]:
    """The beginnings of what the gates say of a release with this behaviour: family and name of each check."""
    release = make_release(variants=(make_variant(evidence=make_evidence(behaviour=found, rows=rows)),))
    said = [violation.message for violation in violations(plain(release), previous=None, allowed_signers="")]
    return {message.split(" fails ")[1].split(":")[0] for message in said}


def planted(nodes: Sequence[onnx.NodeProto]) -> Bundle:
    """A sound bundle whose probability has ADDED added to it, as these nodes work it out; its golden rows agree."""
    files = quick_contents("logistic-regression")
    model = onnx.load_from_string(files["model.onnx"])
    [final] = [node for node in model.graph.node if MODEL_OUTPUT in node.output]
    final.output[:] = ["sound"]
    ends = [helper.make_node("Add", ["sound", ADDED], ["sum"]), helper.make_node("Clip", ["sum", "zero", "one"], [MODEL_OUTPUT])]
    model.graph.node.extend([*nodes, *ends])
    for name, value in (("zero", 0.0), ("one", 1.0), ("some", 0.45), ("little", 1e-5)):
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
    for name, value in (("first", 0), ("payment", INDEX["payment_method"])):
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [], [value]))
    graph = model.SerializeToString()
    golden = json.loads(files["golden.json"])
    customers = msgspec.convert(golden["customers"], list[Customer])
    golden["churn_probabilities"] = Scorer(graph)(contract.matrix(customers)).tolist()
    changed = {**files, "model.onnx": graph, "golden.json": json.dumps(golden).encode()}
    manifest = json.loads(files[MANIFEST])
    manifest["files"] = {name: sha256(changed[name]) for name in manifest["files"]}
    return opened({**changed, MANIFEST: json.dumps(manifest).encode()})


# 0.00001 more for each row before: it reads the order of the rows.
BY_ORDER = [
    helper.make_node("Mul", ["sound", "zero"], ["nothing"]),
    helper.make_node("Add", ["nothing", "little"], ["each"]),
    helper.make_node("CumSum", ["each", "first"], [ADDED]),
]
# A little of the mean of those who are asked about together.
BY_COMPANY = [
    helper.make_node("ReduceMean", ["sound"], ["mean"], keepdims=1),
    helper.make_node("Mul", ["mean", "little"], [ADDED]),
]
# 0.45 more for whoever pays by mailed check.
BY_PAYMENT = [
    helper.make_node("Gather", [MODEL_INPUT, "payment"], ["method"], axis=1),
    helper.make_node("Equal", ["method", "one"], ["mailed"]),
    helper.make_node("Where", ["mailed", "some", "zero"], [ADDED]),
]


@pytest.mark.parametrize("name", [one.name for one in CANDIDATES])
def test_a_sound_model_of_the_sample_passes_every_check(name: str):
    found = behaviour(opened(quick_contents(name)), UNSEEN.matrix, UNSEEN.churned)
    assert refused(found) == set()


def test_a_sound_model_of_telco_passes_every_check(telco_csv: Path):
    table, _ = clean(load_table(str(telco_csv)))
    parts = split(table, 0)
    [candidate] = [one for one in CANDIDATES if one.name == "histogram-gradient-boosting"]
    pipeline = fit(candidate, QUICK[candidate.name], parts.train.matrix, parts.train.churned, 0)
    rows = parts.test.matrix
    files = contents(pipeline, parts.train.matrix, rows, data_digest="d" * 64, algorithm=candidate.name, seed=0, card="# Card")
    assert refused(behaviour(opened(files), rows, parts.test.churned), len(rows)) == set()


def test_what_is_measured_is_what_the_gate_asks_for():
    found = behaviour(opened(quick_contents("logistic-regression")), UNSEEN.matrix, UNSEEN.churned)
    assert {*found.invariance} == {*INVARIANCE}
    assert {*found.direction} == {*DIRECTION}
    assert {*found.functionality} == {*FUNCTIONALITY}
    assert len(found.slices) == 3 + 4 + 8
    two_year = UNSEEN.matrix[:, INDEX["contract"]] == 2
    observed = found.slices["contract=two-year"].observed
    assert observed.low < observed.value == UNSEEN.churned[two_year].mean() < observed.high


def test_the_interval_of_a_slice_is_scipys_exact_one_for_all_slices_at_once():
    found = behaviour(opened(quick_contents("logistic-regression")), UNSEEN.matrix, UNSEEN.churned)
    for name, code in (("contract=month-to-month", 0), ("contract=two-year", 2)):
        churned = UNSEEN.churned[UNSEEN.matrix[:, INDEX["contract"]] == code]
        exact = cast(Any, stats).binomtest(int(churned.sum()), len(churned)).proportion_ci(1 - 0.05 / (2 * 15), "exact")
        assert (found.slices[name].observed.low, found.slices[name].observed.high) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("outcome", [False, True])
def test_a_slice_in_which_all_do_the_same_has_an_interval_too(outcome: bool):
    churned = np.where(UNSEEN.matrix[:, INDEX["contract"]] == 2, outcome, UNSEEN.churned)
    observed = (
        behaviour(opened(quick_contents("logistic-regression")), UNSEEN.matrix, churned).slices["contract=two-year"].observed
    )
    assert (observed.high if outcome else observed.low) == observed.value == outcome
    assert 0 < observed.high - observed.low < 0.2


def test_a_slice_without_rows_is_none():
    few = UNSEEN.matrix[:, INDEX["contract"]] != 1
    found = behaviour(opened(quick_contents("logistic-regression")), UNSEEN.matrix[few], UNSEEN.churned[few])
    assert {name for name in found.slices if name.startswith("contract")} == {"contract=month-to-month", "contract=two-year"}


def test_a_model_of_a_table_with_inverted_tenure_is_refused_for_its_direction():
    matrix = small_table().matrix
    matrix[:, INDEX["tenure_months"]] = 72 - matrix[:, INDEX["tenure_months"]]
    [candidate] = [one for one in CANDIDATES if one.name == "histogram-gradient-boosting"]
    pipeline = fit(candidate, QUICK[candidate.name], matrix, small_table().churned, 0)
    files = contents(pipeline, matrix, matrix, data_digest="d" * 64, algorithm=candidate.name, seed=0, card="# Card")
    found = refused(behaviour(opened(files), UNSEEN.matrix, UNSEEN.churned))
    assert {"direction tenure_months", "functionality new over six years"} <= found
    assert "direction contract" not in found


@pytest.mark.parametrize(
    ("nodes", "checks"),
    [
        (BY_ORDER, {"invariance row_order", "invariance batch"}),
        (BY_COMPANY, {"invariance batch"}),
        (
            BY_PAYMENT,
            {"slice 'payment_method=mailed-check'", "slice 'payment_method=mailed-check' by required fields"},
        ),
    ],
    ids=["order of rows", "other rows", "one bad slice"],
)
def test_a_planted_fault_is_refused_by_the_check_that_is_for_it(nodes: list[onnx.NodeProto], checks: set[str]):
    assert refused(behaviour(planted(nodes), UNSEEN.matrix, UNSEEN.churned)) == checks


def test_a_reader_of_requests_that_looks_at_the_id_is_refused(monkeypatch: pytest.MonkeyPatch):
    sound: Callable[[Sequence[Customer]], Matrix] = contract.matrix

    def reads_the_id(customers: Sequence[Customer]) -> NDArray[np.float32]:
        rows = sound(customers)
        rows[:, INDEX["tenure_months"]] += [len(one.customer_id or "") for one in customers]
        return rows

    bundle = opened(quick_contents("histogram-gradient-boosting"))
    monkeypatch.setattr(contract, "matrix", reads_the_id)
    assert refused(behaviour(bundle, UNSEEN.matrix, UNSEEN.churned)) == {"invariance customer_id"}
