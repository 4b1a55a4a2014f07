"""Training as a whole: the same input, the same bundle; what fails leaves nothing that counts."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from app.bundle import fetch_bundle
from app.release import Evidence
from tests.app.support import wait_for
from training.candidates import CANDIDATES, SINGLE
from training.data import Table, load_table
from training.evaluate import evaluate
from training.home import Home
from training.locations import TableError
from training.sample import sample
from training.search import Training, Trial
from training.settings import Settings
from training.train import best_params, train

CHURN = "from training.cli import main; main()"


def test_in_another_process_and_place_and_after_a_kill_the_same_table_and_seed_make_the_same_bundle(
    trained_home: Home, tmp_path: Path
):
    elsewhere, table = Home(tmp_path / "elsewhere"), tmp_path / "same.csv"
    shutil.copy(trained_home.var / "sample.csv", table)
    command = [sys.executable, "-c", CHURN, "--home", str(elsewhere.root), "train", str(table), "--trials", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_for((elsewhere.var / "bundles").exists, "the bundle", seconds=120)
        process.kill()
    assert not elsewhere.candidate.exists()
    for path in (elsewhere.var / "bundles").glob("[!.]*"):
        fetch_bundle(elsewhere.bundles_url, path.name)
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert elsewhere.candidate.read_text() == trained_home.candidate.read_text()
    digest = elsewhere.candidate.read_text().strip()
    for path in elsewhere.bundle(digest).iterdir():
        content = path.read_bytes()
        assert content == (trained_home.bundle(digest) / path.name).read_bytes()
        # What could tell the two apart: places, people, times.
        for told in (str(tmp_path), str(trained_home.root), os.uname().nodename, time.strftime("%Y-%m-%d")):
            assert told.encode() not in content, (path.name, told)
    # It is said where everything is, and the progress bar is for people who watch.
    assert f"bundle {digest}" in ended.stdout
    assert ended.stderr == ""


def test_another_seed_and_a_model_asked_for_by_name_make_another_bundle(trained_home: Home, tmp_path: Path):
    live = fetch_bundle(trained_home.bundles_url, trained_home.candidate.read_text().strip())
    table = load_table(str(trained_home.var / "sample.csv"))
    home = Home(tmp_path)
    done = train(table, home, Settings(seed=1, trials=1, only="soft-vote", measure="profit"), champion=live)
    assert done.training.chosen == "soft-vote"
    assert home.candidate.read_text().strip() == done.training.bundle_digest != live.digest
    bundle = fetch_bundle(home.bundles_url, done.training.bundle_digest)
    assert (bundle.manifest.algorithm, bundle.manifest.seed) == ("soft-vote", 1)
    assert "as here" in bundle.card
    evidence = msgspec.json.decode(home.evidence(bundle.digest).read_bytes(), type=Evidence)
    assert evidence == done.evaluation.evidence
    assert evidence.compared_with == live.digest
    assert done.report.read_text().count("here one was asked for by name") == 1


def test_what_is_kept_of_a_training_compares_every_candidate(trained_home: Home):
    digest = trained_home.candidate.read_text().strip()
    bundle = fetch_bundle(trained_home.bundles_url, digest)
    kept = msgspec.json.decode(trained_home.training(digest).read_bytes(), type=Training)
    assert [one.name for one in kept.competitors] == [one.name for one in CANDIDATES]
    assert (kept.bundle_digest, kept.chosen) == (digest, bundle.manifest.algorithm)
    best = max(kept.competitors, key=lambda one: one.auc)
    for one in kept.competitors:
        assert one.behind_best == pytest.approx(best.auc - one.auc)
        assert abs(one.bias) < 0.02
        assert abs(one.required_fields_bias) < 0.03
        assert 0 < one.parity_max_abs <= 1e-6
        assert one.fit_seconds > 0
        assert one.microseconds_per_row > 0
    [chosen] = [one for one in kept.competitors if one.name == kept.chosen]
    assert chosen.bundle_bytes == len(bundle.model)


def test_the_test_rows_take_no_part_in_the_fit(trained_home: Home):
    digest = trained_home.candidate.read_text().strip()
    bundle = fetch_bundle(trained_home.bundles_url, digest)
    assert bundle.manifest.rows == 1200
    again = evaluate(load_table(str(trained_home.var / "sample.csv")), bundle, Settings().case)
    kept = msgspec.json.decode(trained_home.evidence(digest).read_bytes(), type=Evidence)
    assert again.evidence.metrics == kept.metrics
    assert again.evidence.rows == 300


def test_the_best_trial_of_each_model_counts_and_the_ensemble_takes_theirs():
    trials = [
        Trial(candidate=name, params={"p": number}, auc=auc, seconds=0)
        for name in (one.name for one in SINGLE)
        for number, auc in ((1, 0.7), (2, 0.9), (3, 0.8))
    ]
    params = best_params(trials)
    assert params["random-forest"] == {"p": 2}
    assert params["soft-vote"] == {
        f"{name}.p": 2 for name in ("logistic-regression", "random-forest", "histogram-gradient-boosting")
    }


@pytest.mark.parametrize("outcome", [True, False], ids=["churned", "stayed"])
def test_too_few_rows_of_an_outcome_are_refused_before_anything_is_tracked(outcome: bool, tmp_path: Path):
    frame, _ = sample(300, 0)
    rows = np.concatenate((np.flatnonzero(frame["churned"] == outcome)[:24], np.flatnonzero(frame["churned"] != outcome)))
    table = Table(frame.iloc[rows].reset_index(drop=True))
    with pytest.raises(TableError, match=f"24 rows with churned {str(outcome).lower()}; give at least 25"):
        train(table, Home(tmp_path), Settings(trials=1))
    assert not [*tmp_path.iterdir()]


def test_as_few_rows_as_are_allowed_make_a_bundle_and_optional_columns_may_be_absent(tmp_path: Path):
    frame, _ = sample(300, 0)
    churners, stayers = (np.flatnonzero(frame["churned"] == outcome)[:25] for outcome in (True, False))
    few = frame.iloc[np.concatenate((churners, stayers))].reset_index(drop=True)
    required = ["customer_id", "tenure_months", "monthly_charges_usd", "contract", "payment_method", "churned"]
    few[required].to_csv(tmp_path / "few.csv", index=False)
    done = train(load_table(str(tmp_path / "few.csv")), Home(tmp_path), Settings(trials=1))
    assert done.evaluation.evidence.rows == 10
    assert not {name for name in done.evaluation.evidence.subgroups if name.startswith("gender")}
