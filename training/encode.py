"""Rows of a file as the model's input, and what in them breaks the contract; whole columns at a time."""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
import pyarrow.compute  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
from numpy.typing import NDArray

from app.contract import FEATURES, FIELDS, REQUIRED, Field
from training.parse import cells, type_rule
from training.read import RawTable
from training.validate import KNOWN, LABEL, PRESENT, WHOLE, Violation, rule_of

_pa = cast(Any, pyarrow)
_pc = cast(Any, pyarrow.compute)
Mask = NDArray[np.bool_]
# An allowed value's index is 0 or more, what is missing is NaN.
_STRANGE = -1.0


class Breach(NamedTuple):
    """Which rows (n,) break one rule in one column, by its contract name."""

    column: str
    rule: str
    rows: Mask


class Encoded(NamedTuple):
    """The model's input (n, features), which is nonsense where there are breaches, and the ids as text (None: no such column)."""

    matrix: NDArray[np.float32]
    ids: Any
    breaches: list[Breach]


def column_breaches(names: dict[str, str]) -> list[Violation]:
    """The columns that the contract does not know, and the required ones that are not there. What became of customers may be."""
    present = {*names.values()}
    known = {*(field.name for field in FIELDS), LABEL}
    strangers = [Violation(name, None, "a column", KNOWN) for name in names.values() if name not in known]
    return strangers + [Violation(name, None, "nothing", PRESENT) for name in REQUIRED if name not in present]


def encode(raw: RawTable, names: dict[str, str]) -> Encoded:
    """The rows as `app.contract.matrix` would have the same customers, bit for bit."""
    found: list[Breach] = []
    ids: Any = None
    matrix = np.full((raw.num_rows, len(FEATURES)), np.nan, dtype=np.float32)
    places = {field.name: i for i, field in enumerate(FEATURES)}
    fields = {field.name: field for field in FIELDS}
    for name, column, unreadable in cells(raw, {written: name for written, name in names.items() if name in fields}):
        if unreadable.any():
            found.append(Breach(name, type_rule(name), unreadable))
        if name in places:
            values = _values(fields[name], column)
            found += [Breach(name, rule, rows & ~unreadable) for rule, rows in _broken(fields[name], values)]
            # What a float32 cannot hold is out of every range, and so found already.
            with np.errstate(over="ignore"):
                matrix[:, places[name]] = values
        else:
            ids = column
            found += [Breach(name, rule, rows) for rule, rows in _too_long(fields[name], column)]
    return Encoded(matrix, ids, [breach for breach in found if breach.rows.any()])


def _values(field: Field, column: Any) -> NDArray[np.float64]:
    if field.categories:
        known = _pc.fill_null(_pc.index_in(column.dictionary, value_set=_pa.array(field.categories)), int(_STRANGE))
        column = known.take(column.indices)
    elif field.kind == "boolean":
        column = column.cast(_pa.uint8())
    return column.cast(_pa.float64()).to_numpy(zero_copy_only=False)


def _broken(field: Field, values: NDArray[np.float64]) -> Iterator[tuple[str, Mask]]:
    """The rules that a matrix column is under. A comparison with NaN is false: what is missing breaks none but the first."""
    if field.required:
        yield PRESENT, np.isnan(values)
    if field.categories:
        yield rule_of(field), values == _STRANGE
    elif field.low is not None and field.high is not None:
        yield rule_of(field), (values < field.low) | (values > field.high)
    if field.kind == "integer":
        yield WHOLE, np.floor(values) < values


def _too_long(field: Field, column: Any) -> Iterator[tuple[str, Mask]]:
    if field.low is not None and field.high is not None:
        length = _pc.fill_null(_pc.utf8_length(column), int(field.low)).to_numpy(zero_copy_only=False)
        yield rule_of(field), (length < field.low) | (length > field.high)
