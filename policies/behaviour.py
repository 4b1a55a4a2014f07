"""What is asked of a model's behaviour: fixed slices, invariance, direction and minimum functionality, each with its limit."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from policies.shape import Behaviour, Slice

# By name, so that a check which nobody ran is missed.
INVARIANCE = ("batch", "customer_id", "null", "row_order")
DIRECTION = ("contract", "tenure_months")
FUNCTIONALITY = (
    "fiber without protection over none",
    "month-to-month over two-year",
    "new over six years",
    "new month-to-month over six years in two-year",
)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: what was found, what is allowed, and what to do if that is less."""

    name: str
    found: str
    allowed: str
    passed: bool
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.found}; {self.allowed} is allowed: {self.remedy}"


def checks(behaviour: Behaviour, *, rows: int, max_slice_gap: float, max_change: float) -> Iterator[Check]:
    """Every check of the behaviour measured on so many rows; one that was not run is there as failed.

    A slice's mean probability may lie `max_slice_gap` outside the interval of what was observed, a probability may change by
    `max_change` with what must not matter.
    """
    for name, one in behaviour["slices"].items():
        yield from _slice(name, one, max_slice_gap)
    if not behaviour["slices"]:
        yield _not_run("slices")
    for name in INVARIANCE:
        found = behaviour["invariance"].get(name)
        yield (
            _not_run(f"invariance {name}")
            if found is None
            else Check(
                name=f"invariance {name}",
                found=f"it changes a probability by {found:.2g}",
                allowed=f"up to {max_change:.2g}",
                passed=found <= max_change,
                remedy="the model reads what is no attribute of the customer",
            )
        )
    # Two standard errors of a share of so many rows at most: a rise below it may be the table's and not the model's.
    chance = 1 / math.sqrt(rows)
    for name in DIRECTION:
        found = behaviour["direction"].get(name)
        yield (
            _not_run(f"direction {name}")
            if found is None
            else Check(
                name=f"direction {name}",
                found=f"with more of it the mean probability rises by {found:.4f}",
                allowed=f"up to {chance:.4f} (chance on {rows} rows)",
                passed=found <= chance,
                remedy="look at the table's labels and at this field",
            )
        )
    for name in FUNCTIONALITY:
        found = behaviour["functionality"].get(name)
        yield (
            _not_run(f"functionality {name}")
            if found is None
            else Check(
                name=f"functionality {name}",
                found=f"the likelier one has {found:+.4f}",
                allowed="only above 0",
                passed=found > 0,
                remedy="the model has not learned what everybody knows; look at the table",
            )
        )


def _slice(name: str, one: Slice, max_gap: float) -> Iterator[Check]:
    observed = one["observed"]
    low, high = observed["low"] - max_gap, observed["high"] + max_gap
    for view, predicted in (("", one["predicted"]), (" by required fields", one["required_fields_predicted"])):
        yield Check(
            name=f"slice {name!a}{view}",
            found=f"mean probability {predicted:.4f} where {observed['value']:.4f} churned",
            allowed=f"{max(low, 0):.4f} to {min(high, 1):.4f}",
            passed=low <= predicted <= high,
            remedy="look at these rows, and train again",
        )


def _not_run(name: str) -> Check:
    return Check(name=name, found="it was not run", allowed="none that is missing", passed=False, remedy="run `churn evaluate`")
