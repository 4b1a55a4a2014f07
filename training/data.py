"""A customer table in contract names and types, whatever file it came from, and the model's input made from it."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
from numpy.typing import NDArray

from app.contract import CONTRACT_DIGEST, FEATURES, FIELDS, Field
from training.locations import TableError
from training.parse import COLUMNS, parse
from training.read import RawTable, read_raw
from training.validate import LABEL, Limits, Violation, breached, report, violations

_pa = cast(Any, pyarrow)
_DTYPES = {"integer": "Int64", "number": "float64", "boolean": "boolean", "identifier": "str"}
_IDENTIFIERS = tuple(field.name for field in FIELDS if field.kind == "identifier")


@dataclass(frozen=True)
class Table:
    """Rows that keep the contract. `frame` has every contract field, absent ones as missing, in contract order, then `churned`.

    Integers are Int64, numbers float64, booleans boolean, categories Categorical in contract order, ids str, `churned` bool.
    """

    frame: pd.DataFrame

    @cached_property
    def data_digest(self) -> str:
        """sha256 of contract, ids, values and labels in row order: the same for the same customers in any file format."""
        ids = [_plain(self.frame[name]) for name in _IDENTIFIERS]
        values = _values(self.frame)
        values[np.isnan(values)] = np.nan  # One bit pattern for missing.
        parts = (CONTRACT_DIGEST.encode(), json.dumps(ids).encode(), values.astype("<f8").tobytes(), self.churned.tobytes())
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    @property
    def churned(self) -> NDArray[np.bool_]:
        return self.frame[LABEL].to_numpy(dtype=np.bool_)

    @property
    def matrix(self) -> NDArray[np.float32]:
        return matrix_of(self.frame)


def load_table(location: str, limits: Limits | None = None) -> Table:
    """The table at a path or URL. Raises TableError: why it cannot be read, or every breach of the contract and of `limits`."""
    raw, manifest = read_raw(location)
    names = contract_names(location, raw.column_names)
    frame, found = parse(raw, names)
    found += _breaches(frame, limits, {(case.column, case.row) for case in found})
    if found:
        raise TableError(f"{location} breaks the contract ({len(found):,} times):\n{report(as_in_file(found, raw, names))}")
    table = Table(typed(frame))
    if manifest is not None and (manifest.data_digest, manifest.rows) != (table.data_digest, len(frame)):
        raise TableError(f"{location} has other rows than its manifest says; ingest the table again")
    return table


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame that a Table holds, from one in contract names that keeps the contract."""
    absent = pd.Series(None, index=frame.index, dtype=object)
    data: dict[str, Any] = {field.name: frame.get(field.name, absent).astype(_dtype(field)) for field in FIELDS}
    return pd.DataFrame({**data, LABEL: frame[LABEL].astype(bool)})


def matrix_of(frame: pd.DataFrame) -> NDArray[np.float32]:
    """The model's input (n, features), bit for bit what `app.contract.matrix` makes of the same customers."""
    return _values(frame).astype(np.float32)


def arrow_of(frame: pd.DataFrame) -> Any:  # pyarrow carries no types
    """A Table's frame as a pyarrow.Table with categories as text, for writing."""
    kinds = {"integer": _pa.int64(), "number": _pa.float64(), "boolean": _pa.bool_()}
    return _pa.table({f.name: _pa.array(_plain(frame[f.name]), kinds.get(f.kind, _pa.string())) for f in COLUMNS})


def _plain(column: "pd.Series[Any]") -> list[object]:
    return cast(list[object], column.astype(object).where(column.notna(), None).tolist())


def _dtype(field: Field) -> Any:  # what pandas takes as a dtype
    return pd.CategoricalDtype(list(field.categories)) if field.categories else _DTYPES[field.kind]


def _values(frame: pd.DataFrame) -> NDArray[np.float64]:
    return np.column_stack([_column_values(frame[field.name]) for field in FEATURES])


def _column_values(column: "pd.Series[Any]") -> NDArray[np.float64]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = column.cat.codes.to_numpy(dtype=np.float64)
        return np.where(codes < 0, np.nan, codes)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def contract_names(location: str, header: list[str]) -> dict[str, str]:
    """The contract's name of each column in the file, which is either in contract names or in the Telco file's."""
    from_telco = {field.telco: field.name for field in COLUMNS}
    ours = [name for name in header if name in from_telco.values() and name not in from_telco]
    telco = [name for name in header if name in from_telco and name not in from_telco.values()]
    if ours and telco:
        raise TableError(
            f"{location} mixes contract names ({', '.join(ours)}) with the Telco file's ({', '.join(telco)}); use either"
        )
    return {name: from_telco.get(name, name) if telco else name for name in header}


def as_in_file(found: list[Violation], raw: RawTable | None, names: dict[str, str]) -> list[Violation]:
    """The violations with the file's own column names and values."""
    in_file = {name: written for written, name in names.items()}
    if any(written != name for written, name in names.items()):
        in_file = {field.name: field.telco for field in COLUMNS} | in_file
    renamed = [case._replace(column=in_file.get(case.column, case.column)) for case in found]
    return [case if case.row is None else case._replace(value=_shown(raw, case.column, case.row - 1)) for case in renamed]


def _shown(raw: RawTable, column: str, index: int) -> str:
    value = raw.column(column)[index].as_py()
    return "nothing" if value is None or not str(value).strip() else repr(value)


def _breaches(frame: pd.DataFrame, limits: Limits | None, unreadable: set[tuple[str, int | None]]) -> list[Violation]:
    # A value that could not be read is missing from the frame, which is no second breach.
    found = [case for case in violations(frame) if (case.column, case.row) not in unreadable]
    return found + list(breached(frame, limits)) if limits else found
