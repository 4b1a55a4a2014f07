"""`python -m bench.experiment`: how often `churn experiment` says so of a difference that is there, and of one that is not.

Simulated experiments that are looked at every day, all at once, by the function that the command uses.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.decide import value_of_a_saved_customer_usd
from app.release import BusinessCase
from training.sequential import Difference, Sample, difference

EXPERIMENTS, SEED = 2_000, 11
DAYS, CUSTOMERS_A_DAY = 180, 500
CHURN_RATE, OFFER_RATE = 0.265, 0.3
# The challenger saves so many customers of a hundred more.
SAVED_PERCENT = (0, 1, 2, 3, 5)
LOOKED_FOR_DAYS = (10, 30, 90, 180)
RESULT = Path(__file__).parent / "results" / "experiment.md"


def looks(rng: np.random.Generator, churn_rates: tuple[float, float], share: float, a_day: int = CUSTOMERS_A_DAY) -> Difference:
    """The difference in profit, each (experiments, days), of experiments in which `share` of a day's customers are challenged."""
    challenged = rng.binomial(a_day, share, (EXPERIMENTS, DAYS))
    return difference(_arm(rng, a_day - challenged, churn_rates[0]), _arm(rng, challenged, churn_rates[1]))


def said(found: NDArray[np.bool_]) -> float:
    """The share of experiments in which one look or another found it."""
    return float(found.any(axis=1).mean())


def _arm(rng: np.random.Generator, by_day: NDArray[np.int64], churn_rate: float) -> Sample:
    case = BusinessCase()
    margin, cost = value_of_a_saved_customer_usd(case), case.offer_cost_usd
    customers = by_day.cumsum(axis=1)
    known = np.maximum(customers, 1)
    stayed = rng.binomial(by_day, 1 - churn_rate).cumsum(axis=1) / known
    offered = rng.binomial(by_day, OFFER_RATE).cumsum(axis=1) / known
    variance = margin**2 * stayed * (1 - stayed) + cost**2 * offered * (1 - offered)
    return Sample(customers, margin * stayed - cost * offered, variance * known / np.maximum(known - 1, 1))


def main() -> None:
    """Write the table."""
    rng = np.random.default_rng(SEED)
    days = " | ".join(f"{day} days" for day in LOOKED_FOR_DAYS)
    lines = [
        f"{EXPERIMENTS:,} simulated experiments in each row (seed {SEED}), {CUSTOMERS_A_DAY} outcomes a day, looked at daily;",
        f"{CHURN_RATE:.1%} churn with the champion, and {OFFER_RATE:.0%} get an offer. The share in which a winner was named.",
        "`make bench` writes this.",
        "",
        f"| challenger answers | it saves of 100 | {days} | the wrong one |",
        "|---|---|" + "---|" * (len(LOOKED_FOR_DAYS) + 1),
    ]
    for share in (0.1, 0.5):
        for saved in SAVED_PERCENT:
            found = looks(rng, (CHURN_RATE, CHURN_RATE - saved / 100), share)
            better, worse = found.low > 0, found.high < 0
            right = better if saved else better | worse
            wrong = said(worse if saved else right)
            shares = " | ".join(f"{said(right[:, :day]):.1%}" for day in LOOKED_FOR_DAYS)
            lines.append(f"| {share:.0%} | {saved} | {shares} | {wrong:.1%} |")
    text = "\n".join(lines) + "\n"
    RESULT.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
