"""How well the models that `churn train` finds do on the public table, beside what is required of them.

    python -m bench.quality [TABLE] [--seeds 4]

TABLE is the Telco table, var/telco.csv unless given (`churn fetch`). The parameters are those of the default search, which
sees 60 % of the rows; the figures come from 5 repeats of 5 folds over all rows, with the standard error of Nadeau and Bengio.
The first seed's figures count, the others say how far they depend on it. Writes bench/results/quality.md and quality.json;
exits with 1 if a target is missed.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.candidates import ENSEMBLE, SINGLE
from training.data import Table, load_table
from training.evaluate import auc
from training.home import REPOSITORY, Home
from training.prepare import clean
from training.sample import sample
from training.search import Competitor, Fold, FoldScores, choose, cross_validate, folds, score, standard_error, vote
from training.settings import Settings
from training.train import train

RESULTS = Path(__file__).with_name("results")
REPEATS = 5
SAMPLE_ROWS, SAMPLE_SEED = 20_000, 0
MAX_BIAS = 0.01
MAX_PARITY = 1e-6
MAX_BELOW_BEST = 0.005


@dataclass(frozen=True)
class Target:
    """A figure that was reached and the bound that is required of it."""

    what: str
    required: str
    reached: float
    error: float | None
    met: bool


@dataclass(frozen=True)
class Round:
    """One seed's search on a table: each candidate's folds and scores over all rows, and the one that the rule chooses."""

    seed: int
    held_out: dict[str, list[Fold]]
    scores: dict[str, FoldScores]
    chosen: str
    competitors: dict[str, Competitor]
    seconds: float


def run(table: Table, seed: int) -> Round:
    """`churn train` with everything at its default, then its parameters over all rows."""
    settings, started = Settings(seed=seed), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        competitors = {one.name: one for one in train(table, Home(Path(folder)), settings).training.competitors}
    seconds = time.monotonic() - started
    rows, _ = clean(table)
    held_out = {
        one.name: cross_validate(one, competitors[one.name].params, rows.matrix, rows.churned, seed=seed + 100, repeats=REPEATS)
        for one in SINGLE
    }
    held_out[ENSEMBLE.name] = vote(list(held_out.values()))
    scores = {name: score(own, settings.case) for name, own in held_out.items()}
    return Round(seed, held_out, scores, choose(scores, settings.measure), competitors, seconds)


def at_least(what: str, bound: float, values: NDArray[np.float64]) -> Target:
    """A mean over folds that must reach `bound`."""
    reached = float(values.mean())
    return Target(what, f">= {bound}", reached, standard_error(values), reached >= bound)


def at_most(what: str, bound: float, reached: float, error: float | None = None) -> Target:
    """A figure that must not exceed `bound`."""
    return Target(what, f"<= {bound:g}", reached, error, reached <= bound)


def telco_targets(found: Round) -> list[Target]:
    """What is required of the public table."""
    best = max(found.scores, key=lambda name: found.scores[name].auc.mean())
    selected = found.scores[found.chosen]
    parity = max(one.parity_max_abs for one in found.competitors.values())
    return [
        at_least(f"Telco AUC, best ({best})", 0.846, found.scores[best].auc),
        at_least(f"Telco AUC, selected ({found.chosen})", 0.844, selected.auc),
        at_least("Telco AUC, selected, required fields only", 0.838, selected.required_fields_auc),
        at_most("Telco, mean predicted minus observed, selected, absolute", MAX_BIAS, abs(selected.bias)),
        at_most("the same with required fields only", MAX_BIAS, abs(selected.required_fields_bias)),
        at_most("largest difference of pipeline and ONNX: every row, both views, every candidate", MAX_PARITY, parity),
    ]


def sample_target() -> Target:
    """How far the selected model stays below the true probability of a made-up table, fold by fold."""
    frame, churn_probability = sample(SAMPLE_ROWS, SAMPLE_SEED)
    found = run(Table(frame), SAMPLE_SEED)
    # The true probability belongs to rows, the folds carry labels and predictions: it is taken through the same folds.
    held_out = found.held_out[found.chosen]
    truth = _over_folds(churn_probability, frame["churned"].to_numpy(dtype=np.bool_), SAMPLE_SEED + 100)
    below = np.array(
        [auc(fold.churned, best) - auc(fold.churned, fold.all_fields) for fold, best in zip(held_out, truth, strict=True)]
    )
    what = f"sample of {SAMPLE_ROWS:,} rows: AUC of the selected ({found.chosen}) below the best reachable"
    return at_most(what, MAX_BELOW_BEST, float(below.mean()), standard_error(below))


def _over_folds(values: NDArray[np.float64], churned: NDArray[np.bool_], seed: int) -> list[NDArray[np.float64]]:
    return [values[rest] for _, rest in folds(churned, seed=seed, repeats=REPEATS)]


def candidates_table(found: Round) -> list[str]:
    """Markdown of every candidate's figures."""
    lines = ["| candidate | AUC | required fields only | bias | bias, required fields | parity |", "|---|---|---|---|---|---|"]
    for name, own in found.scores.items():
        cells = (
            f"**{name}**" if name == found.chosen else name,
            f"{own.auc.mean():.4f} ± {standard_error(own.auc):.4f}",
            f"{own.required_fields_auc.mean():.4f} ± {standard_error(own.required_fields_auc):.4f}",
            f"{own.bias:+.4f}",
            f"{own.required_fields_bias:+.4f}",
            f"{found.competitors[name].parity_max_abs:.1e}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def targets_table(targets: list[Target]) -> list[str]:
    """Markdown of what is required beside what was reached."""
    lines = ["| figure | required | reached | met |", "|---|---|---|---|"]
    for one in targets:
        reached = f"{one.reached:.2g}" if one.reached < MAX_PARITY else f"{one.reached:.4f}"
        error = f" ± {one.error:.4f}" if one.error is not None else ""
        lines.append(f"| {one.what} | {one.required} | {reached}{error} | {'yes' if one.met else 'NO'} |")
    return lines


def spread_table(rounds: list[Round]) -> list[str]:
    """Markdown of how the seeds differ."""
    lines = ["| seed | selected | its AUC | required fields only | best AUC | training, s |", "|---|---|---|---|---|---|"]
    for one in rounds:
        own, best = one.scores[one.chosen], max(scores.auc.mean() for scores in one.scores.values())
        figures = f"{own.auc.mean():.4f} | {own.required_fields_auc.mean():.4f} | {best:.4f} | {one.seconds:.0f}"
        lines.append(f"| {one.seed} | {one.chosen} | {figures} |")
    return lines


def as_json(targets: list[Target], rounds: list[Round]) -> dict[str, Any]:
    """The same figures for machines."""
    return {
        "cores": os.cpu_count(),
        "repeats": REPEATS,
        "targets": [asdict(one) for one in targets],
        "rounds": [
            {
                "seed": one.seed,
                "chosen": one.chosen,
                "training_seconds": round(one.seconds, 1),
                "candidates": {
                    name: {
                        "params": one.competitors[name].params,
                        "auc": float(own.auc.mean()),
                        "auc_error": standard_error(own.auc),
                        "required_fields_auc": float(own.required_fields_auc.mean()),
                        "required_fields_auc_error": standard_error(own.required_fields_auc),
                        "bias": own.bias,
                        "required_fields_bias": own.required_fields_bias,
                        "parity_max_abs": one.competitors[name].parity_max_abs,
                    }
                    for name, own in one.scores.items()
                },
            }
            for one in rounds
        ],
    }


def main() -> int:
    """Measure, print and keep; 0 if every target is met, 1 if not, 2 without a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("table", nargs="?", type=Path, default=REPOSITORY / "var" / "telco.csv")
    arguments.add_argument("--seeds", type=int, default=4, help="how many, from 0 up")
    given = arguments.parse_args()
    if not given.table.is_file():
        sys.stderr.write(f"{given.table} is not there; get it with `churn fetch`, or name a copy\n")
        return 2
    table = load_table(str(given.table))
    rounds = [run(table, seed) for seed in range(given.seeds)]
    targets = [*telco_targets(rounds[0]), sample_target()]
    how = f"Seed {rounds[0].seed}, {REPEATS} repeats of 5 folds over {len(table.frame):,} rows, {os.cpu_count()} cores."
    lines = [
        f"{how} ± is one standard error.",
        "",
        *targets_table(targets),
        "",
        "Every candidate, the selected one in bold:",
        "",
        *candidates_table(rounds[0]),
        "",
        "Other seeds (of split, search, folds and models):",
        "",
        *spread_table(rounds),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "quality.md").write_text("\n".join(lines) + "\n")
    (RESULTS / "quality.json").write_text(json.dumps(as_json(targets, rounds), indent=1) + "\n")
    return 0 if all(one.met for one in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
