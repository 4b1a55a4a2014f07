"""Two variants compared while outcomes come in, with an interval that holds however often it is looked at.

It is the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory
and asymptotic confidence sequences" (https://arxiv.org/abs/2103.06476), for a difference in means: the usual standard error times
a factor that grows slowly instead of 1.96. The library that has it, confseq, is not kept up and has to be compiled.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

ALPHA = 0.05
# Where the interval is tightest. It may not be chosen after looking, so it is the same for all.
PLANNED_CUSTOMERS = 10_000
# The interval is asymptotic: below this of each variant nothing is said.
MIN_CUSTOMERS = 100
MOST_CUSTOMERS = 10**8
# The mixture's variance that makes the interval narrowest there: appendix of the paper, Lambert's W by its first terms.
_RHO2 = (-2 * math.log(ALPHA) + math.log(1 - 2 * math.log(ALPHA))) / PLANNED_CUSTOMERS
_Floats = NDArray[np.float64]


class Sample(NamedTuple):
    """How many customers, and the mean and variance of what is measured on them; numbers, or arrays of one shape."""

    customers: ArrayLike
    mean: ArrayLike
    variance: ArrayLike


class Difference(NamedTuple):
    """Challenger minus champion, and the ends of its interval, infinite where there are too few customers."""

    value: _Floats
    low: _Floats
    high: _Floats


def difference(champion: Sample, challenger: Sample) -> Difference:
    """The difference in means: the chance that its interval ever leaves the true one out is at most 5 %, over all looks."""
    total = np.asarray(champion.customers, np.float64) + np.asarray(challenger.customers, np.float64)
    value = np.asarray(challenger.mean, np.float64) - np.asarray(champion.mean, np.float64)
    margin = _standard_error(champion, challenger) * _factor(total)
    enough = np.minimum(champion.customers, challenger.customers) >= MIN_CUSTOMERS
    margin = np.where(enough, margin, np.inf)
    return Difference(value, value - margin, value + margin)


def more_customers(champion: Sample, challenger: Sample) -> int | None:
    """How many more settle it if means, variances and shares stay as they are; None where that takes over 100 million."""
    total = float(np.asarray(champion.customers) + np.asarray(challenger.customers))
    gap = abs(float(np.asarray(challenger.mean) - np.asarray(champion.mean)))
    spread = float(_standard_error(champion, challenger)) * math.sqrt(total)
    totals = np.geomspace(total, MOST_CUSTOMERS, 10_000)
    settled = np.flatnonzero(spread / np.sqrt(totals) * _factor(totals) < gap)
    return math.ceil(totals[settled[0]] - total) if len(settled) else None


def ratio_p_value(counts: tuple[int, int], weights: tuple[float, float]) -> float:
    """How likely counts at least this far from the weights are by chance (chi-square); 1 where there are too few to say."""
    expected = [sum(counts) * weight / sum(weights) for weight in weights]
    if min(expected) < 5:  # noqa: PLR2004  # the usual bound of the approximation
        return 1.0
    statistic = sum((count - each) ** 2 / each for count, each in zip(counts, expected, strict=True))
    return math.erfc(math.sqrt(statistic / 2))


def _factor(customers: _Floats) -> _Floats:
    mixed = np.maximum(customers, 1) * _RHO2
    return np.sqrt(2 * (mixed + 1) / mixed * np.log(np.sqrt(mixed + 1) / ALPHA))


def _standard_error(champion: Sample, challenger: Sample) -> _Floats:
    counts = [np.asarray(each.customers, np.float64) for each in (champion, challenger)]
    variances = [np.asarray(each.variance, np.float64) for each in (champion, challenger)]
    together = (counts[0] * variances[0] + counts[1] * variances[1]) / np.maximum(counts[0] + counts[1], 1)
    # A small variant may not have seen its rare customers yet, and would seem surer than it is.
    squares = [np.maximum(own, together) / np.maximum(count, 1) for count, own in zip(counts, variances, strict=True)]
    return np.sqrt(squares[0] + squares[1])
