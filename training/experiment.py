"""Champion against challenger by what became of their customers, in money: better, worse, or not known yet."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.decide import value_of_a_saved_customer_usd
from app.release import BusinessCase, Release, ReleaseError, SemVer, Stack, Variant
from training.exposures import Exposed, Exposures, Outcome, exposures
from training.history import base, chain, current
from training.home import Home
from training.sequential import MIN_CUSTOMERS, Difference, Sample, difference, more_customers, ratio_p_value

# Below it chance is no explanation for sizes other than the weights', also when it is asked every day.
RATIO_ALPHA = 0.001
Verdict = Literal["better", "worse", "undecided", "withheld"]
_Floats = NDArray[np.float64]


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """Challenger minus champion with its 95 % interval, which holds over all looks together."""

    value: float
    low: float
    high: float


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One variant; the figures are over the customers whose outcome is known, and absent while there is none."""

    version: SemVer
    weight_percent: int
    customers: int
    outcomes: int
    churn_rate: float | None
    offer_rate: float | None
    profit_usd_per_customer: float | None


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """What is known so far; differences are absent while a variant has fewer than 100 outcomes.

    `releases` are those that it runs over, `more_customers` how many more outcomes decide it if nothing changes. The p-values
    are of the variants' sizes, in customers and in outcomes, under the weights.
    """

    stack: Stack
    releases: list[str]
    business_case: BusinessCase
    champion: Arm
    challenger: Arm
    profit_difference_usd_per_customer: Interval | None
    churn_rate_difference: Interval | None
    customers_p_value: float
    outcomes_p_value: float
    verdict: Verdict
    more_customers: int | None
    left_out: dict[str, int]


def experiment(home: Home, stack: Stack, log: str | None = None) -> Experiment:
    """The comparison that runs on the stack, by the prediction log at a folder or URL (`var/events` unless given).

    Raises ReleaseError where no challenger answers beside a champion, TableError for a log that cannot be read.
    """
    live = base(home, stack, current(home, stack))
    if live is None or {variant.role for variant in _answering(live)} != {"champion", "challenger"}:
        remedy = f"run `churn promote --stack {stack} --role challenger` first"
        raise ReleaseError(f"{home.release(stack)} has no challenger that answers beside a champion; {remedy}")
    # A release that only brings another image or a shadow goes on with the same experiment.
    running = list(takewhile(lambda earlier: _assignment(earlier) == _assignment(live), chain(home, stack, live)))
    seen = exposures(log or (home.var / "events").as_uri(), {str(release.digest) for release in running})
    return compare(running, seen)


def compare(running: Sequence[Release], seen: Exposures) -> Experiment:
    """The comparison of the customers seen by the releases that it runs over, the newest first."""
    live = running[0]
    variants = sorted(_answering(live), key=lambda variant: variant.role == "challenger")
    groups = [[customer for customer in seen.customers if customer.variant == variant.role] for variant in variants]
    outcomes = [[customer.outcome for customer in group if customer.outcome is not None] for group in groups]
    churned = [_sample(np.array([outcome.churned for outcome in known], np.float64)) for known in outcomes]
    profits = [_sample(_profits_usd(known, live.business_case)) for known in outcomes]
    champion, challenger = map(_arm, variants, groups, outcomes, profits)
    gain = difference(*profits)
    weights = (champion.weight_percent, challenger.weight_percent)
    customers_p_value = ratio_p_value((champion.customers, challenger.customers), weights)
    outcomes_p_value = ratio_p_value((champion.outcomes, challenger.outcomes), weights)
    verdict = _verdict(gain, min(customers_p_value, outcomes_p_value))
    return Experiment(
        stack=live.stack,
        releases=[str(release.digest) for release in running],
        business_case=live.business_case,
        champion=champion,
        challenger=challenger,
        profit_difference_usd_per_customer=_interval(gain),
        churn_rate_difference=_interval(difference(*churned)),
        customers_p_value=customers_p_value,
        outcomes_p_value=outcomes_p_value,
        verdict=verdict,
        more_customers=more_customers(*profits) if verdict == "undecided" and np.isfinite(gain.low) else None,
        left_out=seen.left_out,
    )


def _answering(release: Release) -> list[Variant]:
    return [variant for variant in release.variants if variant.weight_percent]


def _assignment(release: Release) -> list[tuple[object, ...]]:
    """Who is answered by what and offered when: while it stays the same, all outcomes belong together."""
    return sorted((v.role, v.weight_percent, v.bundle_digest, v.threshold) for v in _answering(release))


def _profits_usd(outcomes: Sequence[Outcome], case: BusinessCase) -> _Floats:
    """What each customer brought: the margin over the horizon where it stayed, less the offer where one was made."""
    stayed = np.array([not outcome.churned for outcome in outcomes], np.float64)
    offered = np.array([outcome.offer_made for outcome in outcomes], np.float64)
    return stayed * value_of_a_saved_customer_usd(case) - offered * case.offer_cost_usd


def _sample(values: _Floats) -> Sample:
    return Sample(len(values), values.mean() if len(values) else 0.0, values.var(ddof=1) if len(values) > 1 else 0.0)


def _arm(variant: Variant, group: Sequence[Exposed], outcomes: Sequence[Outcome], profit: Sample) -> Arm:
    known = len(outcomes)
    return Arm(
        version=variant.version,
        weight_percent=variant.weight_percent,
        customers=len(group),
        outcomes=known,
        churn_rate=sum(outcome.churned for outcome in outcomes) / known if known else None,
        offer_rate=sum(outcome.offer_made for outcome in outcomes) / known if known else None,
        profit_usd_per_customer=float(np.asarray(profit.mean)) if known else None,
    )


def _interval(found: Difference) -> Interval | None:
    return Interval(value=float(found.value), low=float(found.low), high=float(found.high)) if np.isfinite(found.low) else None


def _verdict(gain: Difference, ratio: float) -> Verdict:
    if ratio < RATIO_ALPHA:
        return "withheld"
    return "better" if gain.low > 0 else "worse" if gain.high < 0 else "undecided"


def text(found: Experiment) -> str:
    """The experiment for people."""
    arms = {"champion": found.champion, "challenger": found.challenger}
    rows = [("", "version", "share", "customers", "outcomes", "churned", "offered", "USD a customer")]
    rows += [(role, *_cells(arm)) for role, arm in arms.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    profit, churn = found.profit_difference_usd_per_customer, found.churn_rate_difference
    differences = [
        f"{name}: {each.value:+.{digits}f} ({each.low:+.{digits}f} to {each.high:+.{digits}f}){unit}"
        for name, each, digits, unit in (
            ("profit a customer, challenger minus champion", profit, 2, " USD"),
            ("churned, as a share, likewise", churn, 4, ""),
        )
        if each
    ]
    left_out = [f"not counted: {what}: {count:,}" for what, count in found.left_out.items()]
    return "\n".join([*table, *differences, *left_out, f"verdict: {_words(found)}"])


def _cells(arm: Arm) -> tuple[str, ...]:
    shares = ["" if share is None else f"{share:.1%}" for share in (arm.churn_rate, arm.offer_rate)]
    profit = "" if arm.profit_usd_per_customer is None else f"{arm.profit_usd_per_customer:,.2f}"
    return arm.version, f"{arm.weight_percent} %", f"{arm.customers:,}", f"{arm.outcomes:,}", *shares, profit


def _words(found: Experiment) -> str:
    if found.verdict == "withheld":
        what = "customers" if found.customers_p_value < RATIO_ALPHA else "outcomes"
        p_value = found.customers_p_value if what == "customers" else found.outcomes_p_value
        counts = [getattr(arm, what) for arm in (found.champion, found.challenger)]
        weights = f"{found.champion.weight_percent}:{found.challenger.weight_percent}"
        return (
            f"withheld; {what} of champion and challenger are {counts[0]:,} and {counts[1]:,}, which is not {weights} "
            f"(p = {p_value:.1g}): find out which of them are missing in the log before any difference is believed"
        )
    if found.verdict != "undecided":
        return f"the challenger is {found.verdict}; at most 1 experiment in 20 says so wrongly, however often it is looked at"
    if found.profit_difference_usd_per_customer is None:
        return f"not decided yet; a variant has fewer than {MIN_CUSTOMERS} outcomes"
    more = "over 100 million" if found.more_customers is None else f"about {float(f'{found.more_customers:.2g}'):,.0f}"
    return f"not decided yet; if nothing changes, {more} more outcomes decide it"
