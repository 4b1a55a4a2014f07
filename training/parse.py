"""A file's columns as the contract's types: what a cell means, and which cells mean nothing to their field."""

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
import numpy as np
import pandas as pd
import pyarrow  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
import pyarrow.compute  # pyright: ignore[reportMissingTypeStubs]  # pyarrow carries no types
from numpy.typing import NDArray

from app.contract import FIELDS, Field
from training.read import RawTable
from training.validate import LABEL, Violation, rule_of

_pa = cast(Any, pyarrow)
_pc = cast(Any, pyarrow.compute)
_types = cast(Any, pyarrow.types)

_FLAGS = {"yes": True, "true": True, "1": True, "1.0": True, "no": False, "false": False, "0": False, "0.0": False}
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_LABEL = Field(
    name=LABEL,
    title="Churned",
    kind="boolean",
    required=True,
    unit=None,
    low=None,
    high=None,
    categories=(),
    telco="Churn",
    bin_edges=(),
)
COLUMNS = (*FIELDS, _LABEL)
_FIELDS = {field.name: field for field in COLUMNS}


def parse(raw: RawTable, names: dict[str, str]) -> tuple[pd.DataFrame, list[Violation]]:
    """The frame that the schema is for, and the values that are not of their field's type, which are missing in it."""
    columns: dict[str, Any] = {}
    found: list[Violation] = []
    for name, column, unreadable in cells(raw, names):
        columns[name] = column.cast(_pa.string()) if _types.is_dictionary(column.type) else column
        found += [Violation(name, int(index) + 1, "", type_rule(name)) for index in np.flatnonzero(unreadable)]
    # Missing numbers become NaN, missing text and booleans pandas' own missing values.
    to_pandas = {_pa.bool_(): pd.BooleanDtype(), _pa.string(): pd.StringDtype(na_value=np.nan)}.get
    return cast(pd.DataFrame, _pa.table(columns).to_pandas(types_mapper=to_pandas)), found


def cells(raw: RawTable, names: dict[str, str]) -> Iterator[tuple[str, Any, NDArray[np.bool_]]]:
    """Each column by its contract name, as its field's type, and where (n,) it holds what is not of that type: there it is null.

    Numbers are float64, booleans bool, ids text, categories text by dictionary; a column that is no field's is null throughout.
    """
    readers = _readers(any(written != name for written, name in names.items()))
    for written, name in names.items():
        column = _without_blanks(raw.column(written).combine_chunks())
        if name not in _FIELDS:
            yield name, _pa.nulls(len(column)), np.zeros(len(column), dtype=np.bool_)
            continue
        read = readers[_FIELDS[name].kind](column)
        yield (
            name,
            read,
            cast(NDArray[np.bool_], _pc.and_(_pc.is_valid(column), _pc.is_null(read)).to_numpy(zero_copy_only=False)),
        )


def type_rule(name: str) -> str:
    """What a field's type asks of a value, in words; its range is the schema's to check."""
    return rule_of(msgspec.structs.replace(_FIELDS[name], low=None, high=None))


def _readers(is_telco: bool) -> dict[str, Callable[[Any], Any]]:
    categories = _slugs if is_telco else _texts
    return {"integer": _numbers, "number": _numbers, "boolean": _flags, "category": categories, "identifier": _ids}


def _without_blanks(column: Any) -> Any:
    if _types.is_dictionary(column.type):
        # Decided once for each value, however many rows hold it.
        kept = _pc.is_valid(_without_blanks(column.dictionary))
        indices = _pc.if_else(kept.take(column.indices), column.indices, None)
        return _pa.DictionaryArray.from_arrays(indices, column.dictionary)
    if _types.is_large_string(column.type) or _types.is_string_view(column.type):
        column = column.cast(_pa.string())
    if not _types.is_string(column.type):
        return column
    return _pc.if_else(_pc.equal(_pc.utf8_trim_whitespace(column), ""), None, column)


def _plain(column: Any) -> Any:
    return _without_blanks(column.dictionary_decode()) if _types.is_dictionary(column.type) else column


def _numbers(column: Any) -> Any:
    column = _plain(column)
    if _types.is_string(column.type):
        column = _pc.utf8_trim_whitespace(column)
        column = _pc.if_else(_pc.match_substring_regex(column, _NUMBER), column, None)
    elif not (_types.is_integer(column.type) or _types.is_floating(column.type) or _types.is_decimal(column.type)):
        return _pa.nulls(len(column), _pa.float64())
    numbers = column.cast(_pa.float64(), safe=False)
    return _pc.if_else(_pc.is_finite(numbers), numbers, None)


def _by_value(column: Any, read: Callable[[str], object], kind: Any) -> Any:
    """By dictionary; each value is read once, however many rows hold it."""
    of = column.type.value_type if _types.is_dictionary(column.type) else column.type
    if _types.is_nested(of) or _types.is_null(of):
        return _pa.nulls(len(column), _pa.dictionary(_pa.int32(), kind))
    coded = column.dictionary_encode()
    values = [None if value is None else read(str(value).strip()) for value in coded.dictionary.to_pylist()]
    return _pa.DictionaryArray.from_arrays(coded.indices, _pa.array(values, kind))


def _flags(column: Any) -> Any:
    # Not by dictionary any more: a text that is neither yes nor no is null.
    return _by_value(column, lambda text: _FLAGS.get(text.lower()), _pa.bool_()).dictionary_decode()


def _texts(column: Any) -> Any:
    return _by_value(column, str, _pa.string())


def _slugs(column: Any) -> Any:
    """The Telco file's wording in the contract's: `Bank transfer (automatic)` is bank-transfer."""
    return _by_value(column, lambda text: re.sub(r"\s*\(.*?\)", "", text).lower().replace(" ", "-"), _pa.string())


def _ids(column: Any) -> Any:
    column = _plain(column)
    if _types.is_string(column.type) or _types.is_integer(column.type):
        return column.cast(_pa.string())
    return _pa.nulls(len(column), _pa.string())
