"""How a bundle does where it is known beforehand what is right: the model regression tests, by the model that serves."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv  # pyright: ignore[reportMissingTypeStubs]  # it carries no types

from app import contract
from app.bundle import Bundle
from app.contract import FEATURES, Customer, binned
from app.model import Model
from app.release import Behaviour, Estimate, Evidence, Slice
from policies import shape
from policies.behaviour import Check
from policies.release import checked
from training.bundle import customers_of
from training.features import INDEX, Labels, Matrix
from training.prepare import required_only

# What every customer has, and offers are planned by.
SLICED = ("contract", "payment_method", "tenure_months")
CONFIDENCE = 0.95
# Enough to meet every value of every field; each is asked about alone, as a request would.
INVARIANCE_ROWS = 1000

_NEW = Customer(tenure_months=1, monthly_charges_usd=80, contract="month-to-month", payment_method="electronic-check")
_SETTLED = msgspec.structs.replace(_NEW, tenure_months=24)
_LOYAL = Customer(tenure_months=72, monthly_charges_usd=60, contract="two-year", payment_method="credit-card")
_FIBER = msgspec.structs.replace(
    _SETTLED, total_charges_usd=1920, phone_service=True, multiple_lines="no", internet_service="fiber-optic",
    online_security="no", online_backup="no", device_protection="no", tech_support="no", streaming_tv="no",
    streaming_movies="no", paperless_billing=True,
)  # fmt: skip
_NO_INTERNET = msgspec.structs.replace(
    _FIBER, monthly_charges_usd=20, total_charges_usd=480, internet_service="no", paperless_billing=False,
    **dict.fromkeys(
        ("online_security", "online_backup", "device_protection", "tech_support", "streaming_tv", "streaming_movies"),
        "no-internet-service",
    ),
)  # fmt: skip
# The likelier to churn, and the other.
PAIRS = {
    "fiber without protection over none": (_FIBER, _NO_INTERNET),
    "month-to-month over two-year": (_SETTLED, msgspec.structs.replace(_SETTLED, contract="two-year")),
    "new over six years": (_NEW, msgspec.structs.replace(_NEW, tenure_months=72)),
    "new month-to-month over six years in two-year": (_NEW, _LOYAL),
}

_Score = Callable[[Matrix], Matrix]
_decode = msgspec.json.Decoder(list[Customer]).decode


def behaviour(bundle: Bundle, matrix: Matrix, churned: Labels) -> Behaviour:
    """Every check of a bundle on rows (n, features) that it was not fitted on. Raises BundleError as the service does."""
    score = Model(bundle).score
    return Behaviour(
        slices=_slices(score, matrix, churned),
        invariance=_invariance(score, matrix[np.linspace(0, len(matrix) - 1, min(len(matrix), INVARIANCE_ROWS)).astype(np.intp)]),
        direction={"contract": _rise(score, matrix, _by_contract), "tenure_months": _rise(score, matrix, _by_tenure)},
        functionality={name: float(np.subtract(*score(contract.matrix(pair)))) for name, pair in PAIRS.items()},
    )


def judged(evidence: Evidence) -> list[Check]:
    """Every check as the gate judges it; none where the evidence is from before there were any."""
    return checked(cast(shape.Evidence, msgspec.to_builtins(evidence)))


def _slices(score: _Score, matrix: Matrix, churned: Labels) -> dict[str, Slice]:
    full, required, bins = score(matrix), score(required_only(matrix)), binned(matrix)
    rows: dict[str, NDArray[np.intp]] = {}
    for name in SLICED:
        for code, label in enumerate(FEATURES[INDEX[name]].bins[:-1]):
            if (found := np.flatnonzero(bins[:, INDEX[name]] == code)).size:
                rows[f"{name}={label}"] = found
    # Each is looked at twice: so that all hold at once, each is that much wider.
    level = 1 - (1 - CONFIDENCE) / (2 * len(rows))
    return {
        name: Slice(
            observed=_share(churned[at], level),
            predicted=float(full[at].mean(dtype=np.float64)),
            required_fields_predicted=float(required[at].mean(dtype=np.float64)),
        )
        for name, at in rows.items()
    }


def _share(churned: Labels, level: float) -> Estimate:
    """The share with its exact interval (Clopper and Pearson, 1934)."""
    found, rest = int(churned.sum()), int((~churned).sum())
    return Estimate(
        value=float(churned.mean()),
        low=float(betaincinv(found, rest + 1, (1 - level) / 2)) if found else 0.0,
        high=float(betaincinv(found + 1, rest, (1 + level) / 2)) if rest else 1.0,
    )


def _invariance(score: _Score, matrix: Matrix) -> dict[str, float]:
    rows = np.concatenate((matrix, required_only(matrix)))
    expected = score(rows)
    records: list[dict[str, object]] = msgspec.to_builtins(customers_of(rows))
    answers = {
        "batch": np.concatenate([score(rows[i : i + 1]) for i in range(len(rows))]),
        "customer_id": score(_asked({**one, "customer_id": f"{i}"} for i, one in enumerate(records))),
        "null": score(_asked({name: value for name, value in one.items() if value is not None} for one in records)),
        "row_order": score(rows[::-1])[::-1],
    }
    return {name: float(np.abs(answer - expected).max()) for name, answer in answers.items()}


def _asked(records: Iterable[Mapping[str, object]]) -> Matrix:
    """The customers (n, features) as the endpoint reads them from a request."""
    return contract.matrix(_decode(msgspec.json.encode(list(records))))


def _rise(score: _Score, matrix: Matrix, ways: Callable[[Matrix], Iterable[Matrix]]) -> float:
    """The largest rise of the mean probability from any step of a field to a later one, with all fields or the required ones."""
    rises: list[float] = []
    for view in (matrix, required_only(matrix)):
        means = np.array([score(rows).mean(dtype=np.float64) for rows in ways(view)])
        rises.append(float((means - np.minimum.accumulate(means)).max()))
    return max(rises)


def _by_contract(matrix: Matrix) -> Iterator[Matrix]:
    """The same customers bound for ever longer, as the contract's values are ordered."""
    for code in range(len(FEATURES[INDEX["contract"]].values)):
        rows = matrix.copy()
        rows[:, INDEX["contract"]] = code
        yield rows


def _by_tenure(matrix: Matrix) -> Iterator[Matrix]:
    """The same customers after one month and after each edge of the bins, who have paid as much a month as they have till now.

    Were the total left as it is, it would be one that no customer of such a tenure has, and answers about nobody would count.
    """
    tenure, total = INDEX["tenure_months"], INDEX["total_charges_usd"]
    usd_per_month = matrix[:, total] / np.maximum(matrix[:, tenure], 1)
    for months in (1, *FEATURES[tenure].bin_edges):
        rows = matrix.copy()
        rows[:, tenure], rows[:, total] = months, usd_per_month * months
        yield rows
