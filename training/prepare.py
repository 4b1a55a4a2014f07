"""Cleaning, splitting and masking: what happens to a table before a model sees it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.contract import FEATURES, FIELDS, Field
from training.data import Table
from training.locations import TableError

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.2
MASKED_WEIGHT = 0.3
FENCE_RANGES = 3.0
NUMERIC = tuple(i for i, field in enumerate(FEATURES) if not field.values)
_OPTIONAL = tuple(i for i, field in enumerate(FEATURES) if not field.required)
_IDENTIFIER = next(field.name for field in FIELDS if field.kind == "identifier")
_SMALLEST_CLASS = 3


@dataclass(frozen=True, kw_only=True)
class CleaningReport:
    """What cleaning found: rows removed, and by field how many values are missing or beyond the outlier fences (both kept)."""

    rows: int
    duplicates_removed: int
    missing: dict[str, int]
    outliers: dict[str, int]

    def __str__(self) -> str:
        lines = [f"{self.rows:,} rows, {self.duplicates_removed:,} of them removed as wholly identical"]
        for what, counts in (("missing, filled by the model", self.missing), ("outliers, clipped by the model", self.outliers)):
            named = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
            lines.append(f"{what}: {named or 'none'}")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Split:
    """60, 20 and 20 % of a table's rows, each with the same share of churned customers."""

    train: Table
    validation: Table
    test: Table


def clean(table: Table) -> tuple[Table, CleaningReport]:
    """The table without its wholly identical rows, and what was found. Rows that differ in their id only are two customers."""
    # Rows with one id and other values were refused when the table was read, so the same id is the same row.
    ids = table.frame[_IDENTIFIER]
    repeated = (ids.notna() & ids.duplicated()).to_numpy(dtype=np.bool_)
    cleaned = _rows(table, ~repeated)
    matrix = cleaned.matrix
    missing = np.isnan(matrix).sum(axis=0)
    return cleaned, CleaningReport(
        rows=len(table.frame),
        duplicates_removed=int(repeated.sum()),
        missing={field.name: int(count) for field, count in zip(FEATURES, missing, strict=True)},
        outliers=_outliers(matrix),
    )


def outlier_fences(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest value of each numeric field (in the order of NUMERIC) that is no outlier.

    They lie 3 interquartile ranges beyond the quartiles. Where half of the values are one and the same, which would make
    every other an outlier, or where all are missing, they are the contract's own range.
    """
    fences = [_fences(FEATURES[i], matrix[:, i]) for i in NUMERIC]
    low, high = np.asarray(fences, dtype=np.float32).reshape(len(NUMERIC), 2).T
    return low, high


def _fences(field: Field, column: NDArray[np.float32]) -> tuple[float, float]:
    known = column[~np.isnan(column)].astype(np.float64)
    lower, upper = np.quantile(known, (0.25, 0.75)) if known.size else (0.0, 0.0)
    if (spread := FENCE_RANGES * (upper - lower)) > 0:
        return float(lower - spread), float(upper + spread)
    limit = float(np.finfo(np.float32).max)
    return (-limit if field.low is None else field.low), (limit if field.high is None else field.high)


def _outliers(matrix: NDArray[np.float32]) -> dict[str, int]:
    low, high = outlier_fences(matrix)
    numeric = matrix[:, NUMERIC]
    beyond = ((numeric < low) | (numeric > high)).sum(axis=0)
    return {FEATURES[i].name: int(count) for i, count in zip(NUMERIC, beyond, strict=True)}


def split(table: Table, seed: int) -> Split:
    """The table in three. Who is where follows from seed and customer id (without one, from the row's values) alone.

    Row order does not matter, and as a table grows customers stay where they were, but for a few at the borders. The test
    and training rows have no border in common: a model trained on an earlier table has not seen a later one's test rows.
    Raises TableError when a class has too few rows to be in all three.
    """
    keys = np.fromiter(_keys(table, seed), dtype=np.uint64, count=len(table.frame))
    part = np.empty(len(keys), dtype=np.intp)
    for churned in (False, True):
        rows = np.flatnonzero(table.churned == churned)
        if len(rows) < _SMALLEST_CLASS:
            found = f"{len(rows)} rows with churned {str(churned).lower()}"
            raise TableError(f"the table has {found}; give at least {_SMALLEST_CLASS}, one each to train, validate and test")
        test, validation = (max(1, round(share * len(rows))) for share in (TEST_SHARE, VALIDATION_SHARE))
        ranked = rows[np.argsort(keys[rows], kind="stable")]
        part[ranked] = np.repeat((0, 1, 2), (test, validation, len(rows) - test - validation))
    test_rows, validation_rows, train_rows = (_rows(table, part == number) for number in range(3))
    return Split(train=train_rows, validation=validation_rows, test=test_rows)


def _keys(table: Table, seed: int) -> Iterator[int]:
    key = str(seed).encode()
    ids: Sequence[object] = table.frame[_IDENTIFIER].tolist()
    for customer_id, values in zip(ids, table.matrix, strict=True):
        content = customer_id.encode() if isinstance(customer_id, str) else values.tobytes()
        yield int.from_bytes(hashlib.blake2b(content, digest_size=8, key=key).digest())


def _rows(table: Table, which: NDArray[np.bool_]) -> Table:
    kept: pd.DataFrame = table.frame[which].reset_index(drop=True)
    return Table(kept)


def required_only(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The matrix (n, features) of the same customers with only the required fields known."""
    masked = matrix.copy()
    masked[:, _OPTIONAL] = np.nan
    return masked


def with_masked_copy(
    matrix: NDArray[np.float32], churned: NDArray[np.bool_], weight: float = MASKED_WEIGHT
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """Rows (2n, features), labels and weights to fit on: each customer as it is, and down-weighted with required fields only.

    A model fitted on complete rows alone answers a request with four fields badly, and far too low.
    """
    weights = np.repeat((1.0, weight), len(matrix))
    return np.vstack((matrix, required_only(matrix))), np.concatenate((churned, churned)), weights
