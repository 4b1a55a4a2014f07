"""A made-up customer table that looks like a real one, and whose true churn probability is known."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow.csv  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
from numpy.typing import NDArray

from app.contract import FEATURES, FIELDS, Field
from training.data import arrow_of, typed
from training.locations import TableError, write_bytes
from training.validate import LABEL

Column = NDArray[Any]
_csv = cast(Any, pyarrow.csv)
_parquet = cast(Any, pyarrow.parquet)

_LONGEST_TENURE_MONTHS = 72
_OUTLIER_SHARE = 0.002
_MISSING_SHARES = (0.01, 0.02)
# Telco's, in round figures: base fee, an additional line, internet, and each add-on, per month.
_PHONE_USD, _LINES_USD, _DSL_USD, _FIBER_USD, _ADD_ON_USD = 20.0, 5.0, 25.0, 50.0, 5.0
_PROTECTIONS = ("online_security", "online_backup", "device_protection", "tech_support")
_STREAMS = ("streaming_tv", "streaming_movies")


@dataclass(frozen=True, kw_only=True)
class BestReachable:
    """What the true probability itself scores on the labels drawn from it: no model can be expected to do better."""

    auc: float
    brier: float


def sample(rows: int, seed: int) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """A Table's frame of `rows` customers, and the probability (rows,) that each one's label was drawn with.

    The probability follows from the attributes as they were before some optional ones were blanked.
    """
    rng = np.random.default_rng(seed)
    # Any allowed value first, so that a field which nothing below knows is filled as well.
    columns = {field.name: _any_value(field, rows, seed) for field in FIELDS}
    columns |= _household(rng, rows)
    columns |= _services(rng, rows)
    columns |= _charges(rng, columns)
    churn_probability = _churn_probability(columns)
    columns[LABEL] = rng.random(rows) < churn_probability
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    return typed(_with_missing(frame, rng)), churn_probability


def best_reachable(churned: NDArray[np.bool_], churn_probability: NDArray[np.float64]) -> BestReachable:
    """AUC and Brier score of the true probability."""
    ranks = pd.Series(churn_probability).rank().to_numpy(dtype=np.float64)
    positives = int(churned.sum())
    below = ranks[churned].sum() - positives * (positives + 1) / 2
    return BestReachable(
        auc=float(below / (positives * (len(churned) - positives))), brier=float(np.mean((churn_probability - churned) ** 2))
    )


def write_sample(path: Path, rows: int, seed: int) -> tuple[float, BestReachable]:
    """Write a sample as a .csv or .parquet file: its share of churned customers and what is reachable on it."""
    if path.suffix not in {".csv", ".parquet"}:
        raise TableError(f"{path} ends in {path.suffix or 'nothing'}; give a name that ends in .csv or .parquet")
    frame, churn_probability = sample(rows, seed)
    write_bytes(str(path), _encoded(frame, path.suffix))
    churned = frame[LABEL].to_numpy(dtype=np.bool_)
    return float(churned.mean()), best_reachable(churned, churn_probability)


def _encoded(frame: pd.DataFrame, suffix: str) -> bytes:
    content = io.BytesIO()
    if suffix == ".parquet":
        _parquet.write_table(arrow_of(frame), content)
    else:
        _csv.write_csv(arrow_of(frame), content, _csv.WriteOptions(quoting_style="needed"))
    return content.getvalue()


def _chosen(rng: np.random.Generator, rows: int, share: float | Column) -> NDArray[np.bool_]:
    return rng.random(rows) < share


def _household(rng: np.random.Generator, rows: int) -> dict[str, Column]:
    partner, senior, paperless = (_chosen(rng, rows, share) for share in (0.48, 0.16, 0.59))
    # Long tenures and long contracts go together, as do partners and children.
    loyalty = rng.normal(size=rows) + 0.5 * partner
    tenure = np.clip(np.floor(_LONGEST_TENURE_MONTHS / (1 + np.exp(0.4 - 1.4 * loyalty)) - 1), 0, _LONGEST_TENURE_MONTHS)
    length = np.digitize(loyalty + rng.normal(size=rows), (0.4, 1.3))
    return {
        "gender": np.where(_chosen(rng, rows, 0.5), "female", "male"),
        "senior_citizen": senior,
        "partner": partner,
        "dependents": _chosen(rng, rows, np.where(partner & ~senior, 0.5, 0.09)),
        "tenure_months": tenure.astype(np.int64),
        "contract": np.array(["month-to-month", "one-year", "two-year"])[length],
        "payment_method": rng.choice(
            ["electronic-check", "mailed-check", "bank-transfer", "credit-card"], size=rows, p=[0.34, 0.22, 0.22, 0.22]
        ),
        "paperless_billing": paperless,
    }


def _services(rng: np.random.Generator, rows: int) -> dict[str, Column]:
    phone = _chosen(rng, rows, 0.9)
    # Whoever has no phone line has DSL: everybody has a service.
    internet = np.where(phone, rng.choice(["no", "dsl", "fiber-optic"], size=rows, p=[0.24, 0.27, 0.49]), "dsl")
    lines = np.where(_chosen(rng, rows, 0.45), "yes", "no")
    taste = rng.normal(size=rows)
    chosen = {
        name: taste + rng.normal(size=rows) > cut
        for name, cut in zip((*_PROTECTIONS, *_STREAMS), (1, 0.6, 0.6, 1, 0.3, 0.3), strict=True)
    }
    add_ons = {
        name: np.where(internet == "no", "no-internet-service", np.where(has, "yes", "no")) for name, has in chosen.items()
    }
    return {
        "phone_service": phone,
        "multiple_lines": np.where(phone, lines, "no-phone-service"),
        "internet_service": internet,
        **add_ons,
    }


def _charges(rng: np.random.Generator, columns: Mapping[str, Column]) -> dict[str, Column]:
    tenure = columns["tenure_months"]
    add_ons = np.sum([columns[name] == "yes" for name in (*_PROTECTIONS, *_STREAMS)], axis=0)
    usual = (
        _PHONE_USD * columns["phone_service"]
        + _LINES_USD * (columns["multiple_lines"] == "yes")
        + _DSL_USD * (columns["internet_service"] == "dsl")
        + _FIBER_USD * (columns["internet_service"] == "fiber-optic")
        + _ADD_ON_USD * add_ons
        + rng.normal(scale=1.5, size=len(tenure))
    )
    extreme = _chosen(rng, len(tenure), _OUTLIER_SHARE)
    factor = np.where(extreme, rng.uniform(5, 20, size=len(tenure)), 1.0)
    monthly = _cents(usual * factor)
    total = _cents(monthly * tenure * rng.normal(1, 0.03, size=len(tenure)).clip(0.9, 1.1))
    return {"monthly_charges_usd": monthly, "total_charges_usd": np.where(tenure == 0, np.nan, total)}


def _cents(usd: Column) -> Column:
    return np.round(usd.astype(np.float64), 2)


def _any_value(field: Field, rows: int, seed: int) -> Column:
    """Values that the contract allows, each field's drawn apart so that a new field changes no other column."""
    if field.kind == "identifier":
        return np.array([f"s{seed}-{number:07d}" for number in range(1, rows + 1)], dtype=object)
    rng = np.random.default_rng([seed, *hashlib.sha256(field.name.encode()).digest()])
    if field.values:
        return np.array(field.values, dtype=object)[rng.integers(len(field.values), size=rows)]
    drawn = rng.uniform(field.low or 0.0, field.high or 1.0, size=rows)
    return np.floor(drawn) if field.kind == "integer" else _cents(drawn)


def _churn_probability(columns: Mapping[str, Column]) -> NDArray[np.float64]:
    tenure = columns["tenure_months"].astype(np.float64)
    monthly = np.minimum(columns["monthly_charges_usd"].astype(np.float64), 120.0)
    monthly_contract = columns["contract"] == "month-to-month"
    fiber = columns["internet_service"] == "fiber-optic"
    logit = (
        -2.23
        + 1.95 * monthly_contract
        - 1.1 * (columns["contract"] == "two-year")
        + 0.4 * fiber
        # Interactions: fiber drives away those who may leave any month, and a bound customer's tenure says less.
        + 0.9 * (fiber & monthly_contract)
        - np.where(monthly_contract, 0.035, 0.01) * tenure
        + 0.014 * (monthly - 65)
        + 0.6 * (columns["payment_method"] == "electronic-check")
        + 0.3 * columns["paperless_billing"]
        + 0.3 * columns["senior_citizen"]
        - 0.5 * (columns["tech_support"] == "yes")
        - 0.7 * (columns["internet_service"] == "no")
    )
    return 1 / (1 + np.exp(-logit.astype(np.float64)))


def _with_missing(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    optional = [field.name for field in FEATURES if not field.required]
    shares = rng.uniform(*_MISSING_SHARES, size=len(optional))
    blank = pd.DataFrame(rng.random((len(frame), len(optional))) < shares, columns=optional)
    return frame.assign(**{name: frame[name].where(~blank[name], None) for name in optional})
