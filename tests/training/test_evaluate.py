"""The figures of an evaluation, against scikit-learn's own and hand calculations."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from app.bundle import Bundle, fetch_bundle
from app.decide import break_even
from app.release import BusinessCase
from tests.training.models import quick_contents
from training.bundle import write_bundle
from training.data import Table, load_table
from training.evaluate import (
    DECILES,
    auc,
    bootstrap,
    calibration_error,
    deciles,
    evaluate,
    figures,
    profit_usd,
    profit_usd_per_customer,
    subgroup_aucs,
)
from training.features import INDEX
from training.home import Home
from training.locations import TableError
from training.prepare import split

CASE = BusinessCase(offer_cost_usd=60, offer_acceptance=0.5, margin_usd_per_month=20, horizon_months=12)


@pytest.fixture(scope="module")
def bundle(trained_home: Home) -> Bundle:
    return fetch_bundle(trained_home.bundles_url, trained_home.candidate.read_text().strip())


@pytest.fixture(scope="module")
def table(trained_home: Home) -> Table:
    return load_table(str(trained_home.var / "sample.csv"))


@pytest.fixture(scope="module")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(quick_contents("histogram-gradient-boosting"), Home(tmp_path_factory.mktemp("other")))


outcomes = st.lists(st.tuples(st.booleans(), st.floats(0, 1).map(lambda p: round(p, 2))), min_size=2, max_size=80).filter(
    lambda rows: 0 < sum(churned for churned, _ in rows) < len(rows)
)


@given(outcomes)
def test_the_figures_are_scikit_learns(rows: list[tuple[bool, float]]):
    churned, probabilities = (np.array(column) for column in zip(*rows, strict=True))
    found = figures(CASE, churned, probabilities)
    offered = probabilities >= break_even(CASE)
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(churned, probabilities), abs=1e-12)
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(churned, probabilities))
    assert found["precision"] == pytest.approx(metrics.precision_score(churned, offered, zero_division=0))
    assert found["recall"] == pytest.approx(metrics.recall_score(churned, offered, zero_division=0))
    assert found["f1"] == pytest.approx(metrics.f1_score(churned, offered, zero_division=0))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(churned, probabilities))
    assert found["bias"] == pytest.approx(probabilities.mean() - churned.mean())


def test_profit_is_what_offers_save_less_what_they_cost():
    # A saved customer is worth 12 x 20 = 240 USD, half of the offers are accepted: break-even at 60 / 120.
    assert break_even(CASE) == 0.5
    churned = np.array([True, True, False, False])
    probabilities = np.array([0.9, 0.4, 0.5, 0.1])
    offered = probabilities >= 0.5
    assert profit_usd(CASE, churned, offered).tolist() == [60, 0, -60, 0]
    assert profit_usd_per_customer(CASE, churned, probabilities) == 0
    assert profit_usd_per_customer(CASE, churned, np.array([0.9, 0.9, 0.1, 0.1])) == 30


def test_deciles_lift_gain_and_calibration_error_of_a_table_made_by_hand():
    probabilities = np.repeat(np.arange(10, 0, -1) / 10, 2)
    churned = np.zeros(20, dtype=np.bool_)
    churned[[0, 1, 2, 4]] = True
    rows = deciles(churned, probabilities)
    assert [one.decile for one in rows] == [*range(1, 11)]
    assert [one.rows for one in rows] == [2] * 10
    assert [one.churned for one in rows] == [2, 1, 1, *[0] * 7]
    assert [one.lift for one in rows[:4]] == [5, 2.5, 2.5, 0]
    assert [one.gain for one in rows] == [0.5, 0.75, *[1.0] * 8]
    assert [one.mean_probability for one in rows] == pytest.approx([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    # |1 - 1|, |0.5 - 0.9|, |0.5 - 0.8|, then the probabilities themselves.
    assert calibration_error(rows) == pytest.approx((0 + 0.4 + 0.3 + 0.7 + 0.6 + 0.5 + 0.4 + 0.3 + 0.2 + 0.1) / 10)


def test_uneven_deciles_weigh_by_their_rows():
    rows = deciles(np.array([True] * 5 + [False] * 8), np.linspace(1, 0, 13))
    assert [one.rows for one in rows] == [2, 2, 2, *[1] * 7]
    gaps = [one.rows * abs(one.churned / one.rows - one.mean_probability) for one in rows]
    assert calibration_error(rows) == pytest.approx(sum(gaps) / 13)


def drawn(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probabilities = rng.random(rows)
    return rng.random(rows) < probabilities, probabilities


def test_intervals_hold_the_point_shrink_with_rows_and_follow_the_seed():
    def interval(rows: int, seed: int):
        churned, probabilities = drawn(rows)
        return bootstrap(lambda at: figures(CASE, churned[at], probabilities[at]), churned, seed)

    few, many = interval(200, 1), interval(4_000, 1)
    for name, wide in few.items():
        assert wide.low <= wide.value <= wide.high
        assert many[name].low <= many[name].value <= many[name].high
        assert 2 < (wide.high - wide.low) / (many[name].high - many[name].low) < 12, name
    assert interval(200, 1) == few
    assert interval(200, 2)["auc"] != few["auc"]
    assert interval(200, 2)["auc"].value == few["auc"].value


def test_an_interval_of_the_auc_is_as_wide_as_theory_says():
    churned, probabilities = drawn(1000)
    found = bootstrap(lambda at: {"auc": auc(churned[at], probabilities[at])}, churned, 0)["auc"]
    # Hanley and McNeil (1982).
    area, n, m = found.value, churned.sum(), (~churned).sum()
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    error = math.sqrt((area * (1 - area) + (n - 1) * (q1 - area**2) + (m - 1) * (q2 - area**2)) / (n * m))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.2)


def test_an_evaluation_is_of_the_test_rows_in_both_views(table: Table, bundle: Bundle):
    found = evaluate(table, bundle, CASE)
    rows = split(table, bundle.manifest.seed).test
    assert found.evidence.rows == len(rows.churned) == 300
    assert found.evidence.data_digest == table.data_digest
    assert (found.bundle_digest, found.business_case) == (bundle.digest, CASE)
    assert found.evidence.threshold == break_even(CASE) == 0.5
    full, required = found.evidence.metrics["auc"], found.evidence.metrics["required_fields_auc"]
    assert 0.75 < required.value < 0.95
    assert full == found.all_fields.metrics["auc"]
    assert required == found.required_fields.metrics["auc"] != full
    assert {f"required_fields_{name}" for name in found.all_fields.metrics} <= {*found.evidence.metrics}
    for view in (found.all_fields, found.required_fields):
        assert abs(view.metrics["bias"].value) < 0.05
        assert (view.false_positive_rates[0], view.true_positive_rates[-1]) == (0, 1)
        # Offers to everybody, and from a probability that nobody has.
        assert view.profit_usd_per_customer[0] == pytest.approx(120 * rows.churned.mean() - 60)
        assert view.profit_usd_per_customer[-1] == 0
    assert found.evidence.compared_with is found.evidence.relative_cost is None
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_subgroups_are_judged_where_they_are_large_enough(table: Table):
    churned, probabilities = drawn(len(table.churned))
    matrix = table.matrix
    matrix[:, INDEX["contract"]] = 0
    matrix[:29, INDEX["contract"]] = 1
    matrix[29:60, INDEX["contract"]] = 2
    churned[29:60] = True
    found = subgroup_aucs(matrix, churned, probabilities, 0)
    # 29 customers are too few, and where all leave there is nothing to rank.
    contracts = {name for name in found if name.startswith("contract")}
    assert contracts == {"contract=month-to-month"}
    assert {name.split("=")[0] for name in found} == {"gender", "senior_citizen", "contract"}
    women = matrix[:, INDEX["gender"]] == 0
    assert found["gender=female"].value == pytest.approx(metrics.roc_auc_score(churned[women], probabilities[women]))


def test_a_bundle_compared_with_itself_is_no_different(table: Table, bundle: Bundle):
    found = evaluate(table, bundle, CASE, champion=bundle).evidence
    assert found.compared_with == bundle.digest
    for difference in (found.auc_difference, found.profit_difference_usd_per_month):
        assert difference is not None
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert found.decisions_changed_count == 0
    assert found.relative_cost is not None
    assert 0.2 < found.relative_cost < 5


def test_another_champion_is_judged_on_the_same_rows(table: Table, bundle: Bundle, other_bundle: Bundle):
    ours, theirs = (evaluate(table, one, CASE).evidence.metrics for one in (bundle, other_bundle))
    found = evaluate(table, bundle, CASE, champion=other_bundle).evidence
    assert found.auc_difference is not None
    assert found.profit_difference_usd_per_month is not None
    assert found.auc_difference.value == pytest.approx(ours["auc"].value - theirs["auc"].value)
    per_customer = ours["profit_usd_per_customer"].value - theirs["profit_usd_per_customer"].value
    monthly = per_customer * found.rows / CASE.horizon_months
    assert found.profit_difference_usd_per_month.value == pytest.approx(monthly)
    assert found.decisions_changed_count


def test_too_few_rows_to_test_on_are_refused(table: Table, bundle: Bundle):
    churners, stayers = (np.flatnonzero(table.churned == outcome)[:20] for outcome in (True, False))
    few = Table(table.frame.iloc[np.concatenate((churners, stayers))].reset_index(drop=True))
    with pytest.raises(TableError, match=f"8 rows to test on.*at least {5 * DECILES} rows"):
        evaluate(few, bundle, CASE)
