"""Parameters for each candidate, and the choice among the candidates."""

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
import optuna
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold
from threadpoolctl import threadpool_limits

from app.release import BusinessCase
from training.candidates import CANDIDATES, Candidate, Params, Span, fit
from training.evaluate import Probabilities, profit_usd_per_customer
from training.features import Labels, Matrix
from training.prepare import required_only
from training.settings import Measure, Settings, Strategy

FOLDS = 5
Rows = NDArray[np.intp]
optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class FoldScores:
    """One candidate over the same folds as every other: arrays (folds,), and the probabilities' mean minus the observed rate."""

    auc: NDArray[np.float64]
    required_fields_auc: NDArray[np.float64]
    profit_usd_per_customer: NDArray[np.float64]
    bias: float
    required_fields_bias: float
    fit_seconds: float  # of one core's time

    def by(self, measure: Measure) -> NDArray[np.float64]:
        """The scores that the choice is made by."""
        return self.auc if measure == "auc" else self.profit_usd_per_customer


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One set of parameters and its mean AUC over the folds."""

    candidate: str
    params: dict[str, float]
    auc: float
    seconds: float


class Competitor(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate's performance, with the standard error over folds, against its complexity."""

    name: str
    params: dict[str, float]
    auc: float
    auc_error: float
    required_fields_auc: float
    required_fields_auc_error: float
    profit_usd_per_customer: float
    bias: float
    required_fields_bias: float
    behind_best: float
    behind_best_error: float
    fit_seconds: float
    microseconds_per_row: float
    bundle_bytes: int
    parity_max_abs: float


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """What `churn train` did; kept beside the evidence for the report."""

    settings: Settings
    chosen: str
    competitors: list[Competitor]
    trials: list[Trial]
    bundle_digest: str


class Fold(NamedTuple):
    """One held-out fold: what happened, what a model predicted of it in each view, and one core's seconds to fit."""

    churned: Labels
    all_fields: Probabilities
    required_fields: Probabilities
    fit_seconds: float


def folds(churned: Labels, *, seed: int, repeats: int = 1) -> Iterator[tuple[Rows, Rows]]:
    """Rows to fit on and rows held out, for `repeats` times 5 folds with the same share of churned customers each."""
    dealer = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=repeats, random_state=seed)
    return dealer.split(np.zeros((len(churned), 1), np.float32), churned)


def cross_validate(
    candidate: Candidate, params: Params, matrix: Matrix, churned: Labels, *, seed: int, repeats: int = 1
) -> list[Fold]:
    """Predictions for each of `repeats` times 5 stratified folds by a model of the other rows."""

    def held_out(fold: tuple[Rows, Rows]) -> Fold:
        fitted_on, rest = fold
        started = time.process_time()
        pipeline = fit(candidate, params, matrix[fitted_on], churned[fitted_on], seed)
        seconds = time.process_time() - started
        views = (matrix[rest], required_only(matrix[rest]))
        full, required = (pipeline.predict_proba(view)[:, 1] for view in views)
        return Fold(churned[rest], full, required, seconds)

    # One after the other: scikit-learn changes the process's warning filters in every fit, which threads would do to each other.
    # And on one thread: on a fold's few rows several mostly wait for each other.
    with threadpool_limits(limits=1):
        return [held_out(fold) for fold in folds(churned, seed=seed, repeats=repeats)]


def vote(legs: Sequence[list[Fold]]) -> list[Fold]:
    """What the soft vote predicts of the same folds: the mean of its legs, without fitting them again."""
    return [
        Fold(
            same[0].churned,
            np.mean([leg.all_fields for leg in same], axis=0),
            np.mean([leg.required_fields for leg in same], axis=0),
            sum(leg.fit_seconds for leg in same),
        )
        for same in zip(*legs, strict=True)
    ]


def score(held_out: Sequence[Fold], case: BusinessCase) -> FoldScores:
    """The figures of each held-out fold."""
    return FoldScores(
        auc=np.array([roc_auc_score(fold.churned, fold.all_fields) for fold in held_out]),
        required_fields_auc=np.array([roc_auc_score(fold.churned, fold.required_fields) for fold in held_out]),
        profit_usd_per_customer=np.array([profit_usd_per_customer(case, fold.churned, fold.all_fields) for fold in held_out]),
        bias=float(np.mean([fold.all_fields.mean() - fold.churned.mean() for fold in held_out])),
        required_fields_bias=float(np.mean([fold.required_fields.mean() - fold.churned.mean() for fold in held_out])),
        fit_seconds=float(np.mean([fold.fit_seconds for fold in held_out])),
    )


def standard_error(differences: NDArray[np.float64]) -> float:
    """Of a mean over repeated folds, whose training rows overlap: the corrected variance of Nadeau and Bengio (2003)."""
    return math.sqrt(differences.var(ddof=1) * (1 / len(differences) + 1 / (FOLDS - 1)))


def choose(scores: Mapping[str, FoldScores], measure: Measure) -> str:
    """The simplest candidate whose paired fold differences to the best stay within one standard error."""
    best = max(scores, key=lambda name: scores[name].by(measure).mean())
    behind = {name: scores[best].by(measure) - scores[name].by(measure) for name in scores}
    close = {name for name in scores if behind[name].mean() <= standard_error(behind[name])}
    return next(candidate.name for candidate in CANDIDATES if candidate.name in close)


def search(
    candidate: Candidate,
    matrix: Matrix,
    churned: Labels,
    *,
    strategy: Strategy,
    trials: int,
    seed: int,
) -> Iterator[Trial]:
    """Up to `trials` trials one by one (a grid may be smaller); the best has the highest `auc`."""
    random = optuna.samplers.RandomSampler(seed=seed)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(4, trials)) if strategy == "optuna" else random
    study = optuna.create_study(direction="maximize", sampler=sampler)
    points = _grid(candidate.space, trials, seed) if strategy == "grid" else []
    # Optuna's own grid sampler cannot end a study that is asked and told.
    for point in points:
        study.enqueue_trial(point)
    for _ in range(len(points) or trials):
        trial = study.ask()
        params = {name: _suggest(trial, name, span) for name, span in candidate.space.items()}
        started = time.perf_counter()
        held_out = cross_validate(candidate, params, matrix, churned, seed=seed)
        auc = float(np.mean([roc_auc_score(fold.churned, fold.all_fields) for fold in held_out]))
        study.tell(trial, auc)
        yield Trial(candidate=candidate.name, params=params, auc=auc, seconds=time.perf_counter() - started)


def _grid(space: Mapping[str, Span], trials: int, seed: int) -> list[dict[str, float]]:
    """At most `trials` points, in an order drawn by `seed`, of a grid with as many values for each parameter as fit."""
    values = max(2, math.floor(trials ** (1 / len(space)) + 1e-9))
    points = [dict(zip(space, point, strict=True)) for point in itertools.product(*(_along(s, values) for s in space.values()))]
    order = np.random.default_rng(seed).permutation(len(points))
    return [points[i] for i in order[:trials]]


def _along(span: Span, count: int) -> list[float]:
    values = (np.geomspace if span.log else np.linspace)(span.low, span.high, count)
    # Rounding must not carry the last one over the end.
    values = values.clip(span.low, span.high)
    return sorted({round(value) if span.whole else float(value) for value in values})


def _suggest(trial: optuna.Trial, name: str, span: Span) -> float:
    if span.whole:
        return trial.suggest_int(name, int(span.low), int(span.high), log=span.log)
    return trial.suggest_float(name, span.low, span.high, log=span.log)
