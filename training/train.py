"""From a table to a bundle with its evidence: search, choice, export, evaluation, registration."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec
import numpy as np
from sklearn.pipeline import Pipeline
from tqdm import tqdm

from app.bundle import Bundle
from training.bundle import Scorer, contents, export, parity, write_bundle
from training.candidates import CANDIDATES, ENSEMBLE, SINGLE, Params, fit, vote_params
from training.data import Table
from training.evaluate import Evaluation, evaluate, microseconds_per_row
from training.features import Matrix
from training.files import write_whole
from training.home import Home, TrackingError
from training.locations import TableError
from training.prepare import CleaningReport, clean, split
from training.report import card, keep
from training.search import (
    Competitor,
    Fold,
    FoldScores,
    Training,
    Trial,
    choose,
    cross_validate,
    score,
    search,
    standard_error,
    vote,
)
from training.settings import Settings
from training.tracking import tracked

REPEATS = 2
SMALLEST_CLASS = 25


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one training, as the command prints it."""

    training: Training
    evaluation: Evaluation
    cleaning: CleaningReport
    report: Path


def train(table: Table, home: Home, settings: Settings, champion: Bundle | None = None) -> Trained:
    """Search, choose, fit, export, prove, evaluate, register; `home.candidate` names the bundle only when all of it is done."""
    cleaned, cleaning = clean(table)
    _check_size(cleaned)
    parts = split(cleaned, settings.seed)
    with tracked(home, {"data_digest": cleaned.data_digest, "seed": str(settings.seed)}) as tracker, _progress(settings) as bar:
        trials: list[Trial] = []
        for trial in _search(parts.train, settings):
            tracker.trial(trial)
            trials.append(trial)
            bar.set_description(f"{trial.candidate} AUC {trial.auc:.4f}")
            bar.update()
        # The choice and the fit see validation rows too, on which no parameter was tuned; the test rows come in at the end, once.
        matrix = np.concatenate((parts.train.matrix, parts.validation.matrix))
        churned = np.concatenate((parts.train.churned, parts.validation.churned))
        params = best_params(trials)
        folds: dict[str, list[Fold]] = {}
        for candidate in SINGLE:
            bar.set_description(f"compare {candidate.name}")
            own = params[candidate.name]
            folds[candidate.name] = cross_validate(candidate, own, matrix, churned, seed=settings.seed + 1, repeats=REPEATS)
            bar.update()
        folds[ENSEMBLE.name] = vote(list(folds.values()))
        scores = {name: score(held_out, settings.case) for name, held_out in folds.items()}
        chosen = settings.only or choose(scores, settings.measure)
        pipelines = {c.name: fit(c, params[c.name], matrix, churned, settings.seed) for c in CANDIDATES}
        competitors = [_competitor(name, params, scores, pipelines[name], cleaned.matrix, settings) for name in pipelines]
        about = card(cleaned, chosen, competitors, settings)
        files = contents(
            pipelines[chosen],
            matrix,
            cleaned.matrix,
            data_digest=cleaned.data_digest,
            algorithm=chosen,
            seed=settings.seed,
            card=about,
        )
        bundle = write_bundle(files, home)
        training = Training(settings=settings, chosen=chosen, competitors=competitors, trials=trials, bundle_digest=bundle.digest)
        evaluation = evaluate(cleaned, bundle, settings.case, champion=champion)
        report = keep(home, evaluation, training)
        metrics = {name: estimate.value for name, estimate in evaluation.evidence.metrics.items()}
        try:
            tracker.finish({"algorithm": chosen, **params[chosen]}, metrics, bundle, [home.bundle(bundle.digest), report])
        except TrackingError as exc:
            stands = (
                f"bundle {bundle.digest} is whole here, with its evidence; the same command makes the same one and registers it"
            )
            raise TrackingError(f"{exc}\n{stands}") from exc
    write_whole(home.candidate, f"{bundle.digest}\n".encode())
    return Trained(training=training, evaluation=evaluation, cleaning=cleaning, report=report)


def _check_size(table: Table) -> None:
    for outcome in (False, True):
        if (count := int((table.churned == outcome).sum())) < SMALLEST_CLASS:
            found = f"{count} rows with churned {str(outcome).lower()}"
            raise TableError(f"the table has {found}; give at least {SMALLEST_CLASS}, or no fold and no decile says anything")


def best_params(trials: Sequence[Trial]) -> dict[str, Params]:
    """The parameters of each candidate's best trial, and those of the ensemble, which has its legs'."""
    best = {one.name: max((t for t in trials if t.candidate == one.name), key=lambda t: t.auc).params for one in SINGLE}
    return {**best, ENSEMBLE.name: vote_params(best)}


def _search(rows: Table, settings: Settings) -> Iterator[Trial]:
    for candidate in SINGLE:
        yield from search(
            candidate,
            rows.matrix,
            rows.churned,
            strategy=settings.strategy,
            trials=settings.trials,
            seed=settings.seed,
        )


def _competitor(
    name: str,
    params: Mapping[str, Params],
    scores: Mapping[str, FoldScores],
    pipeline: Pipeline,
    every_row: Matrix,
    settings: Settings,
) -> Competitor:
    model = export(pipeline)
    scorer = Scorer(model)
    own = scores[name]
    best = max((folds.by(settings.measure) for folds in scores.values()), key=lambda measured: measured.mean())
    behind = best - own.by(settings.measure)
    return Competitor(
        name=name,
        params=dict(params[name]),
        auc=float(own.auc.mean()),
        auc_error=standard_error(own.auc),
        required_fields_auc=float(own.required_fields_auc.mean()),
        required_fields_auc_error=standard_error(own.required_fields_auc),
        profit_usd_per_customer=float(own.profit_usd_per_customer.mean()),
        bias=own.bias,
        required_fields_bias=own.required_fields_bias,
        behind_best=float(behind.mean()),
        behind_best_error=standard_error(behind),
        fit_seconds=own.fit_seconds,
        microseconds_per_row=microseconds_per_row(scorer, every_row),
        bundle_bytes=len(model),
        parity_max_abs=parity(pipeline, scorer, every_row),
    )


def _progress(settings: Settings) -> "tqdm[NoReturn]":
    steps = len(SINGLE) * settings.trials + len(SINGLE)
    # Silent where nobody watches: `disable=None` is for an output that is not a terminal.
    return tqdm(total=steps, unit="step", disable=None, dynamic_ncols=True)
