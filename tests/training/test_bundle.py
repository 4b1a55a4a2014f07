"""From a fitted pipeline to a bundle that is whole, proven and the same for the same input."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from sklearn.pipeline import Pipeline

from app.bundle import FILES, MANIFEST, BundleError, fetch_bundle, sha256
from app.contract import CONTRACT_DIGEST, FEATURES, matrix
from app.model import Model
from tests.training.models import fitted, matrices, quick_contents, small_table
from training.bundle import PARITY_TOLERANCE, ParityError, Scorer, contents, customers_of, export, write_bundle
from training.features import Matrix, features_digest
from training.home import Home

CHEAP = "logistic-regression"


class Skewed(Pipeline):
    """A pipeline that answers a little differently from what is exported of it."""

    def predict_proba(self, rows: Matrix) -> np.ndarray:  # type: ignore[override]
        return np.clip(super().predict_proba(rows) + 2e-6, 0, 1)


def test_a_graph_that_answers_differently_is_refused():
    matrix_ = small_table().matrix
    skewed = Skewed(vars(fitted(CHEAP))["steps"])
    with pytest.raises(ParityError, match=r"logistic-regression differs from the fitted one by [12]\.\de-06; at most 1e-06"):
        contents(skewed, matrix_, matrix_, data_digest="d" * 64, algorithm=CHEAP, seed=0, card="")


def test_the_graph_has_the_services_input_and_output_and_nothing_more():
    model = onnx.load_from_string(export(fitted("soft-vote")))
    graph = model.graph
    assert [node.name for node in graph.input] == ["customers"]
    assert [node.name for node in graph.output] == ["churn_probability"]
    # In an order that does not hang on a set's: the digest must not change from process to process.
    domains = [one.domain for one in model.opset_import]
    assert domains == sorted(domains)
    used = {name for node in graph.node for name in node.input}
    assert {constant.name for constant in graph.initializer} <= used


@given(matrices())
@settings(max_examples=30)
def test_customers_and_matrix_are_two_forms_of_the_same(rows: Matrix):
    np.testing.assert_array_equal(matrix(customers_of(rows)), rows)


def test_the_service_takes_the_bundle_and_says_what_the_pipeline_says(tmp_path: Path):
    bundle = write_bundle(quick_contents("soft-vote"), Home(tmp_path))
    model = Model(bundle)
    ours = model.score(small_table().matrix)
    theirs = fitted("soft-vote").predict_proba(small_table().matrix)[:, 1]
    np.testing.assert_allclose(ours, theirs, atol=PARITY_TOLERANCE)
    np.testing.assert_allclose(Scorer(bundle.model)(small_table().matrix), ours, atol=1e-7)


def test_golden_customers_come_in_both_views_and_spread_over_the_probabilities(tmp_path: Path):
    golden = write_bundle(quick_contents(CHEAP), Home(tmp_path)).golden
    known = (~np.isnan(matrix(golden.customers))).sum(axis=1)
    required = sum(field.required for field in FEATURES)
    assert (known[1::2] == required).all()
    assert (known[::2] > required).all()
    assert len(golden.customers) == len(golden.churn_probabilities) == 32
    assert max(golden.churn_probabilities) - min(golden.churn_probabilities) > 0.5
    assert golden.tolerance == PARITY_TOLERANCE


def test_the_manifest_says_what_the_bundle_was_made_from(tmp_path: Path):
    manifest = write_bundle(quick_contents(CHEAP), Home(tmp_path)).manifest
    assert (manifest.contract_digest, manifest.features_digest) == (CONTRACT_DIGEST, features_digest())
    assert (manifest.data_digest, manifest.algorithm) == (small_table().data_digest, CHEAP)
    assert (manifest.seed, manifest.rows) == (0, 600)
    assert 0 < manifest.parity_max_abs <= PARITY_TOLERANCE
    assert {"python", "onnxruntime", "scikit-learn"} <= {*manifest.versions}


def test_the_reference_holds_the_shares_of_the_rows_in_each_bin(tmp_path: Path):
    reference = write_bundle(quick_contents(CHEAP), Home(tmp_path)).reference
    assert {*reference.fields} == {field.name for field in FEATURES}
    for shares in (*reference.fields.values(), reference.churn_probability):
        assert len(shares.bins) == len(shares.shares)
        assert sum(shares.shares) == pytest.approx(1)
    frame = small_table().frame
    assert reference.fields["contract"].shares[0] == pytest.approx((frame["contract"] == "month-to-month").mean())
    assert reference.fields["gender"].shares[-1] == pytest.approx(frame["gender"].isna().mean())
    likely = fitted(CHEAP).predict_proba(small_table().matrix)[:, 1] >= 0.9
    assert reference.churn_probability.shares[-1] == pytest.approx(likely.mean())


def test_the_same_bundle_twice_is_one_and_nothing_else_is_left(tmp_path: Path):
    home = Home(tmp_path)
    first, second = (write_bundle(quick_contents(CHEAP), home) for _ in range(2))
    assert first == second
    assert [path.name for path in (home.var / "bundles").iterdir()] == [first.digest]
    assert {path.name for path in home.bundle(first.digest).iterdir()} == {MANIFEST, *FILES}
    assert sha256((home.bundle(first.digest) / MANIFEST).read_bytes()) == first.digest


def test_a_bundle_that_was_damaged_in_the_store_is_replaced_when_it_is_made_again(tmp_path: Path):
    home, files = Home(tmp_path), quick_contents(CHEAP)
    bundle = write_bundle(files, home)
    (home.bundle(bundle.digest) / "card.md").write_text("another")
    with pytest.raises(BundleError, match=r"card\.md was changed"):
        fetch_bundle(home.bundles_url, bundle.digest)
    assert write_bundle(files, home) == bundle
    assert [path.name for path in (home.var / "bundles").iterdir()] == [bundle.digest]


WRITES_FOR_EVER = """
import itertools, json, sys
from pathlib import Path
from training.bundle import MANIFEST, write_bundle
from training.home import Home

home, source = Home(Path(sys.argv[1])), Path(sys.argv[2])
files = {path.name: path.read_bytes() for path in source.iterdir()}
manifest = json.loads(files[MANIFEST])
print("ready", flush=True)
for seed in itertools.count(int(sys.argv[3])):
    write_bundle({**files, MANIFEST: json.dumps({**manifest, "seed": seed}).encode()}, home)
"""


def test_whenever_the_writer_is_killed_what_is_named_by_a_digest_is_whole(tmp_path: Path):
    home = Home(tmp_path)
    source = home.bundle(write_bundle(quick_contents(CHEAP), home).digest)
    for attempt, seconds in enumerate((0.03, 0.15)):
        first_seed = str(1 + 1_000_000 * attempt)
        command = [sys.executable, "-c", WRITES_FOR_EVER, str(tmp_path), str(source), first_seed]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(seconds)
            writer.kill()
        assert writer.returncode == -signal.SIGKILL
        for path in (home.var / "bundles").iterdir():
            if not path.name.startswith("."):
                fetch_bundle(home.bundles_url, path.name)
    assert len([*(home.var / "bundles").iterdir()]) > 3


def test_nothing_of_this_machine_is_in_it(tmp_path: Path):
    home = Home(tmp_path)
    folder = home.bundle(write_bundle(quick_contents(CHEAP), home).digest)
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
    json.loads((folder / MANIFEST).read_text())
