import hashlib
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import brier_score_loss, roc_auc_score

from app.contract import FEATURES
from training.cli import main
from training.data import Table, load_table
from training.locations import TableError
from training.sample import best_reachable, sample, write_sample
from training.validate import Limits


def test_a_sample_keeps_the_contract_and_looks_like_a_customer_table(tmp_path: Path) -> None:
    write_sample(tmp_path / "t.csv", rows=20_000, seed=0)
    frame = load_table(str(tmp_path / "t.csv"), Limits()).frame
    assert frame.churned.mean() == pytest.approx(0.26, abs=0.02)
    assert frame.customer_id.is_unique
    assert frame.monthly_charges_usd.gt(500).mean() == pytest.approx(0.001, abs=0.001)
    assert frame.total_charges_usd[frame.tenure_months == 0].isna().all()
    for field in FEATURES:
        assert frame[field.name].isna().mean() < 0.04
        assert frame[field.name].notna().all() == field.required
    billed = frame.tenure_months.astype(float) * frame.monthly_charges_usd
    assert np.corrcoef(billed[frame.total_charges_usd.notna()], frame.total_charges_usd.dropna())[0, 1] > 0.99
    no_internet = frame[frame.internet_service == "no"]
    assert {*no_internet.streaming_tv.dropna()} == {"no-internet-service"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_same_seed_makes_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    digests = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_sample(tmp_path / f"{name}{suffix}", rows=500, seed=seed)
        digests.append(hashlib.sha256((tmp_path / f"{name}{suffix}").read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_the_labels_are_drawn_with_the_probability_that_is_told() -> None:
    frame, churn_probability = sample(50_000, seed=1)
    for low in np.arange(0, 0.9, 0.1):
        there = (churn_probability >= low) & (churn_probability < low + 0.1)
        assert frame.churned[there].mean() == pytest.approx(churn_probability[there].mean(), abs=0.03)


def test_best_reachable_is_the_score_of_the_truth() -> None:
    frame, churn_probability = sample(3_000, seed=2)
    churned = frame.churned.to_numpy(dtype=np.bool_)
    best = best_reachable(churned, churn_probability.round(2))
    assert best.auc == pytest.approx(roc_auc_score(churned, churn_probability.round(2)), abs=1e-12)
    assert best.brier == pytest.approx(brier_score_loss(churned, churn_probability.round(2)), abs=1e-12)


def test_gradient_boosting_reaches_the_best_within_half_a_point() -> None:
    train, test = Table(sample(20_000, seed=3)[0]), sample(20_000, seed=4)
    # Few leaves and small steps: the truth is nearly additive, and what is left to learn is noise.
    model = cast(Any, HistGradientBoostingClassifier)(
        learning_rate=0.03,
        max_iter=300,
        max_leaf_nodes=6,
        min_samples_leaf=60,
        early_stopping=False,
        random_state=0,
    )
    model.fit(train.matrix, train.churned)
    unseen = Table(test[0])
    best = best_reachable(unseen.churned, test[1]).auc
    assert best == pytest.approx(0.855, abs=0.015)
    assert best - float(roc_auc_score(unseen.churned, model.predict_proba(unseen.matrix)[:, 1])) <= 0.005


def test_the_command_writes_the_table_and_prints_what_is_reachable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["churn", "--home", str(tmp_path), "sample", "--rows", "1000", "--seed", "9"])
    with pytest.raises(SystemExit) as exited:
        main()
    frame, churn_probability = sample(1_000, seed=9)
    best = best_reachable(frame.churned.to_numpy(), churn_probability)
    out = capsys.readouterr().out
    assert not exited.value.code
    assert f"AUC {best.auc:.4f}, Brier score {best.brier:.4f}" in out
    assert load_table(str(tmp_path / "var" / "sample.csv")).data_digest == Table(frame).data_digest


def test_a_sample_is_written_as_csv_or_parquet_only(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"ends in \.xlsx; give a name that ends in \.csv or \.parquet"):
        write_sample(tmp_path / "t.xlsx", rows=10, seed=0)
