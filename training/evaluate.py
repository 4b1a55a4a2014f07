"""How good a bundle is, in statistics and in money, on rows that it was not fitted on."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_curve

from app.bundle import Bundle
from app.contract import CONTRACT_DIGEST, FEATURES
from app.decide import break_even, value_of_a_saved_customer_usd
from app.release import BusinessCase, Estimate, Evidence
from training.behaviour import behaviour
from training.bundle import Scorer
from training.data import Table
from training.features import INDEX, Labels, Matrix
from training.locations import TableError
from training.prepare import required_only, split

RESAMPLES = 500
DECILES = 10
SUBGROUPS = ("gender", "senior_citizen", "contract")
# Below this many rows, or without both outcomes, an AUC says nothing.
SUBGROUP_MIN_ROWS = 30

Probabilities = NDArray[np.float64]


class Decile(msgspec.Struct, frozen=True, kw_only=True):
    """A tenth of the rows, the likeliest first. `gain` is the share of all churn found down to here."""

    decile: int
    rows: int
    churned: int
    mean_probability: float
    lift: float
    gain: float


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The figures and curves of one view of the rows: all fields, or the required ones only."""

    metrics: dict[str, Estimate]
    calibration_error: float
    deciles: list[Decile]
    false_positive_rates: list[float]
    true_positive_rates: list[float]
    profit_thresholds: list[float]
    profit_usd_per_customer: list[float]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What the report shows of a bundle; `evidence` is what a release carries of it."""

    bundle_digest: str
    algorithm: str
    business_case: BusinessCase
    evidence: Evidence
    all_fields: View
    required_fields: View


def profit_usd(case: BusinessCase, churned: Labels, offered: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What deciding so brought for each row: an offer costs, and saves a churner who accepts it."""
    saved = churned * (case.offer_acceptance * value_of_a_saved_customer_usd(case))
    return np.where(offered, saved - case.offer_cost_usd, 0.0)


def profit_usd_per_customer(case: BusinessCase, churned: Labels, probabilities: Probabilities) -> float:
    """The mean of `profit_usd` when offers go out from the break-even up."""
    return float(profit_usd(case, churned, probabilities >= break_even(case)).mean())


def auc(churned: Labels, probabilities: Probabilities) -> float:
    """The area under the ROC curve as the rank statistic that it is: thousands of resamples need it faster than a curve."""
    churners = int(churned.sum())
    ranks = rankdata(probabilities)[churned].sum()
    return float((ranks - churners * (churners + 1) / 2) / (churners * (len(churned) - churners)))


def figures(case: BusinessCase, churned: Labels, probabilities: Probabilities) -> dict[str, float]:
    """Every metric that has an interval; precision, recall and F1 are those of the offers."""
    offered = probabilities >= break_even(case)
    hits, offers, churners = int((offered & churned).sum()), int(offered.sum()), int(churned.sum())
    return {
        "auc": auc(churned, probabilities),
        "average_precision": average_precision_score(churned, probabilities),
        "precision": hits / max(offers, 1),
        "recall": hits / churners,
        "f1": 2 * hits / (offers + churners),
        "brier": float(np.mean((probabilities - churned) ** 2)),
        "bias": float(probabilities.mean() - churned.mean()),
        "profit_usd_per_customer": profit_usd_per_customer(case, churned, probabilities),
    }


def bootstrap(statistic: Callable[[NDArray[np.intp]], dict[str, float]], churned: Labels, seed: int) -> dict[str, Estimate]:
    """Each figure of `statistic` (of row indices) on all rows, with its 95 % percentile interval over resampled rows.

    Rows are drawn within each outcome, so that no resample lacks one.
    """
    generator = np.random.default_rng(seed)
    classes = [np.flatnonzero(churned == outcome) for outcome in (0, 1)]
    draws = [statistic(np.concatenate([generator.choice(rows, len(rows)) for rows in classes])) for _ in range(RESAMPLES)]
    point = statistic(np.arange(len(churned)))
    low, high = np.percentile([[draw[name] for name in point] for draw in draws], [2.5, 97.5], axis=0)
    return {name: Estimate(value=point[name], low=float(low[i]), high=float(high[i])) for i, name in enumerate(point)}


def deciles(churned: Labels, probabilities: Probabilities) -> list[Decile]:
    """Ten groups of equal size by falling probability."""
    order = np.argsort(-probabilities, kind="stable")
    found, table = 0, list[Decile]()
    for number, rows in enumerate(np.array_split(order, DECILES), start=1):
        churners = int(churned[rows].sum())
        found += churners
        table.append(
            Decile(
                decile=number,
                rows=len(rows),
                churned=churners,
                mean_probability=float(probabilities[rows].mean()),
                lift=float(churned[rows].mean() / churned.mean()),
                gain=float(found / churned.sum()),
            )
        )
    return table


def calibration_error(table: list[Decile]) -> float:
    """The expected calibration error: |observed - predicted| over the deciles, weighted by their rows."""
    gaps = [abs(one.churned / one.rows - one.mean_probability) for one in table]
    return float(np.average(gaps, weights=[one.rows for one in table]))


def view(case: BusinessCase, churned: Labels, probabilities: Probabilities, seed: int) -> View:
    """All figures and curves of one view."""
    table = deciles(churned, probabilities)
    false_positive, true_positive, _ = roc_curve(churned, probabilities)
    thresholds = np.linspace(0, 1, 101)
    profits = [float(profit_usd(case, churned, probabilities >= threshold).mean()) for threshold in thresholds]
    return View(
        metrics=bootstrap(lambda rows: figures(case, churned[rows], probabilities[rows]), churned, seed),
        calibration_error=calibration_error(table),
        deciles=table,
        false_positive_rates=false_positive.tolist(),
        true_positive_rates=true_positive.tolist(),
        profit_thresholds=thresholds.tolist(),
        profit_usd_per_customer=profits,
    )


def subgroup_aucs(matrix: Matrix, churned: Labels, probabilities: Probabilities, seed: int) -> dict[str, Estimate]:
    """The AUC within each `field=value` that has enough rows and both outcomes."""
    found: dict[str, Estimate] = {}
    for name in SUBGROUPS:
        field = FEATURES[INDEX[name]]
        for code, label in enumerate(field.bins[:-1]):
            rows = np.flatnonzero(matrix[:, INDEX[name]] == code)
            truth, scores = churned[rows], probabilities[rows]
            if len(rows) >= SUBGROUP_MIN_ROWS and 0 < truth.sum() < len(rows):
                found[f"{name}={label}"] = _auc_interval(truth, scores, seed)
    return found


def _auc_interval(churned: Labels, probabilities: Probabilities, seed: int) -> Estimate:
    return bootstrap(lambda rows: {"auc": auc(churned[rows], probabilities[rows])}, churned, seed)["auc"]


def evaluate(table: Table, bundle: Bundle, case: BusinessCase, *, champion: Bundle | None = None) -> Evaluation:
    """The bundle judged on the table's test rows by the bundle's own seed; and, on the same rows, against `champion`."""
    seed = bundle.manifest.seed
    rows = split(table, seed).test
    matrix, churned = rows.matrix, rows.churned
    if len(churned) < DECILES:
        raise TableError(f"the table has {len(churned)} rows to test on, a fifth of all; give at least {5 * DECILES} rows")
    scorer = Scorer(bundle.model)
    full, required = scorer(matrix), scorer(required_only(matrix))
    all_fields, required_fields = view(case, churned, full, seed), view(case, churned, required, seed)
    evidence = Evidence(
        evaluated_at=datetime.now(UTC).replace(microsecond=0),
        data_digest=table.data_digest,
        contract_digest=CONTRACT_DIGEST,
        rows=len(churned),
        seed=seed,
        threshold=break_even(case),
        metrics={**all_fields.metrics, **{f"required_fields_{k}": v for k, v in required_fields.metrics.items()}},
        subgroups=subgroup_aucs(matrix, churned, full, seed),
        calibration_error=all_fields.calibration_error,
        parity_max_abs=bundle.manifest.parity_max_abs,
        behaviour=behaviour(bundle, matrix, churned),
    )
    if champion is not None:
        evidence = _compared(evidence, case, matrix, churned, scorer, champion)
    return Evaluation(
        bundle_digest=bundle.digest,
        algorithm=bundle.manifest.algorithm,
        business_case=case,
        evidence=evidence,
        all_fields=all_fields,
        required_fields=required_fields,
    )


def _compared(
    evidence: Evidence, case: BusinessCase, matrix: Matrix, churned: Labels, scorer: Scorer, champion: Bundle
) -> Evidence:
    live = Scorer(champion.model)
    ours, theirs, threshold = scorer(matrix), live(matrix), break_even(case)
    profit = profit_usd(case, churned, ours >= threshold) - profit_usd(case, churned, theirs >= threshold)

    def difference(rows: NDArray[np.intp]) -> dict[str, float]:
        return {
            "auc": auc(churned[rows], ours[rows]) - auc(churned[rows], theirs[rows]),
            "profit": float(profit[rows].sum() / case.horizon_months),
        }

    differences = bootstrap(difference, churned, evidence.seed)
    return msgspec.structs.replace(
        evidence,
        relative_cost=relative_cost(scorer, live, matrix),
        compared_with=champion.digest,
        auc_difference=differences["auc"],
        profit_difference_usd_per_month=differences["profit"],
        decisions_changed_count=int(((ours >= threshold) != (theirs >= threshold)).sum()),
    )


def microseconds_per_row(scorer: Scorer, matrix: Matrix) -> float:
    """The best of several passes over up to 1,000 rows, as one core takes them; the best one was disturbed least."""
    rows = matrix[:1000]
    scorer(rows)
    return min(_seconds(scorer, rows) for _ in range(5)) / len(rows) * 1e6


def relative_cost(scorer: Scorer, baseline: Scorer, matrix: Matrix) -> float:
    """Time to score customers one by one, as requests come, as a multiple of the baseline's: the median of pairs in turn."""
    rows = np.split(matrix[:100], min(100, len(matrix)))
    _one_by_one(scorer, rows)
    _one_by_one(baseline, rows)
    return float(np.median([_one_by_one(scorer, rows) / _one_by_one(baseline, rows) for _ in range(15)]))


def _one_by_one(scorer: Scorer, rows: list[Matrix]) -> float:
    started = time.perf_counter()
    for row in rows:
        scorer(row)
    return time.perf_counter() - started


def _seconds(scorer: Scorer, rows: Matrix) -> float:
    started = time.perf_counter()
    scorer(rows)
    return time.perf_counter() - started
