"""What is wrong with a table, all of it at once; and what moved since a model was trained."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import pandera.pandas as pa
from numpy.typing import NDArray

from app.bundle import BundleError, Reference, fetch_bundle
from app.contract import FEATURES, FIELDS, Field, binned
from training.home import Home
from training.locations import local_path

_check = cast(Any, pa.Check)  # Its stubs leave half of it unknown.
LABEL = "churned"
PRINTED_ROWS = 20
MOVED = 0.2
_DTYPES = {"integer": "float64", "number": "float64", "boolean": "boolean", "category": "str", "identifier": "str"}
PRESENT, KNOWN, WHOLE = "present", "a field of the contract", "a whole number"
_SCHEMA_RULES = {"not_nullable": PRESENT, "column_in_dataframe": PRESENT, "column_in_schema": KNOWN}


class Violation(NamedTuple):
    """`row` counts from 1, the header left out; None when the whole column is meant."""

    column: str
    row: int | None
    value: str
    rule: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a table may be like and still be worth training on. Shares are of rows, 0 to 1."""

    missing_share: float = 0.5
    duplicate_share: float = 0.1
    class_share: float = 0.01


def rule_of(field: Field) -> str:
    """The values that a field allows, in words."""
    if field.values:
        return "true or false" if field.kind == "boolean" else f"one of {', '.join(field.categories)}"
    if field.low is None or field.high is None:
        return "text" if field.kind == "identifier" else "a finite number"
    unit = " characters" if field.kind == "identifier" else f" {field.unit}" if field.unit else ""
    return f"{field.low:,.10g} to {field.high:,.10g}{unit}"


def table_schema() -> pa.DataFrameSchema:
    """The contract as a pandera schema of a frame in contract names: numbers as float64, categories and ids as text."""
    columns = {field.name: _column(field) for field in FIELDS}
    return pa.DataFrameSchema({**columns, LABEL: pa.Column("boolean", nullable=False)}, strict=True)


def _column(field: Field) -> pa.Column:
    checks: list[pa.Check] = []
    if field.categories:
        checks.append(_check.isin(field.categories, error=rule_of(field)))
    if field.kind == "integer":
        checks.append(pa.Check(_is_whole, error=WHOLE))
    if field.kind in {"integer", "number"} and field.low is not None and field.high is not None:
        checks.append(_check.in_range(field.low, field.high, error=rule_of(field)))
    if field.kind == "identifier" and field.low is not None and field.high is not None:
        checks.append(_check.str_length(int(field.low), int(field.high), error=rule_of(field)))
    return pa.Column(_DTYPES[field.kind], checks, nullable=not field.required, required=field.required)


def _is_whole(values: "pd.Series[float]") -> "pd.Series[bool]":
    return values == values.round()


def violations(frame: pd.DataFrame) -> list[Violation]:
    """Every breach of the contract in a frame in contract names. A value is named as it stands in the frame."""
    found = [*_schema_violations(frame), *_conflicting_ids(frame)]
    if LABEL in frame and len(seen := frame[LABEL].dropna().unique()) == 1:
        found.append(Violation(LABEL, None, f"only {str(seen[0]).lower()}", "both true and false"))
    return found


def _schema_violations(frame: pd.DataFrame) -> Iterator[Violation]:
    try:
        table_schema().validate(frame, lazy=True)
    except pa.errors.SchemaErrors as exc:
        cases = cast(pd.DataFrame, cast(Any, exc).failure_cases)
        listed = cases[["column", "index", "failure_case", "check"]].itertuples(index=False, name=None)
        for column, index, value, check in cast(Iterator[tuple[str | None, int | None, object, str]], listed):
            # pandera names no column when the column itself is what is wrong: its name is then the value.
            whole = column is None or check.startswith("column_in")
            name, shown = (
                (str(value), "nothing" if check == "column_in_dataframe" else "a column")
                if whole
                else (str(column), _show(value))
            )
            yield Violation(name, None if whole else int(cast(int, index)) + 1, shown, _SCHEMA_RULES.get(check, check))


def _conflicting_ids(frame: pd.DataFrame) -> Iterator[Violation]:
    """Rows that share an id but not their values; wholly identical rows are one customer exported twice."""
    for field in FIELDS:
        if field.kind != "identifier" or field.name not in frame:
            continue
        shared = frame[frame[field.name].notna() & frame[field.name].duplicated(keep=False)]
        distinct = shared[~shared.duplicated()]
        first_row: dict[str, int] = {}
        for index, value in cast(Iterator[tuple[int, str]], distinct[field.name].items()):
            if (first := first_row.setdefault(value, index)) != index:
                yield Violation(field.name, index + 1, value, f"unique, but row {first + 1} has it with other values")


def breached(frame: pd.DataFrame, limits: Limits) -> Iterator[Violation]:
    """What exceeds the limits in a frame in contract names."""
    for field in (field for field in FEATURES if not field.required):
        share = float(frame[field.name].isna().mean()) if field.name in frame else 1.0
        if share > limits.missing_share:
            yield Violation(field.name, None, f"{share:.1%} missing", f"at most {limits.missing_share:.1%} missing")
    share = (
        float(frame.duplicated().mean()) if {field.name for field in FIELDS if field.kind == "identifier"} <= {*frame} else 0.0
    )
    if share > limits.duplicate_share:
        yield Violation(
            "every column", None, f"{share:.1%} duplicate rows", f"at most {limits.duplicate_share:.1%} duplicate rows"
        )
    if LABEL in frame:
        share = float(frame[LABEL].astype("float64").mean())
        if 0 < min(share, 1 - share) < limits.class_share:
            yield Violation(LABEL, None, f"{share:.2%} true", f"at least {limits.class_share:.2%} of rows of each class")


def report(found: Sequence[Violation], unlisted: Mapping[tuple[str, str], int] | None = None) -> str:
    """The violations for people, one a line, by column; each rule names its first rows and counts the rest.

    `unlisted` counts, by column and rule, those that are not in `found`.
    """
    order = {name: i for i, name in enumerate(dict.fromkeys(violation.column for violation in found))}
    ranked = sorted(found, key=lambda v: (order[v.column], v.rule if v.row is None else _family(v.rule), v.row or 0))
    lines: list[str] = []
    for (column, rule), group in groupby(ranked, key=lambda v: (v.column, _family(v.rule))):
        cases = list(group)
        total = len(cases) + (unlisted or {}).get((column, rule), 0)
        lines += [_line(case) for case in cases[:PRINTED_ROWS]]
        if (rest := total - PRINTED_ROWS) > 0:
            lines.append(f"  {column}: {rest:,} more, {total:,} in all, must be {rule}")
    return "\n".join(lines)


def _family(rule: str) -> str:
    # Rules about ids name the other row, so that each would be a rule of its own.
    return rule.partition(",")[0] if rule.startswith("unique") else rule


def _line(case: Violation) -> str:
    row = "" if case.row is None else f", row {case.row:,}"
    return f"  {case.column}{row}: found {case.value}, must be {case.rule}"


def _show(value: object) -> str:
    return "nothing" if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)) else f"{value!r}"


def population_stability(reference_shares: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    """The population stability index: sum of (share - reference) * ln(share / reference). No share may be zero."""
    return float(np.sum((shares - reference_shares) * np.log(shares / reference_shares)))


def drift(matrix: NDArray[np.float32], reference: Reference) -> Mapping[str, float]:
    """The population stability index of each field against what the model was trained on; above 0.2 a field has moved.

    An empty bin has no logarithm: half a row is added to every bin of both sides, as if the reference had as many rows.
    """
    bins = binned(matrix)
    return {field.name: _moved(field, bins[:, i], reference) for i, field in enumerate(FEATURES)}


def _moved(field: Field, bins: NDArray[np.intp], reference: Reference) -> float:
    past = reference.fields.get(field.name)
    if past is None or tuple(past.bins) != field.bins:
        raise BundleError(f"the bundle's reference has other bins for {field.name} than this code; train a bundle with this code")
    counts = np.bincount(bins, minlength=len(field.bins)).astype(np.float64)
    smoothed = [(rows + 0.5) / (rows.sum() + 0.5 * len(rows)) for rows in (np.asarray(past.shares) * counts.sum(), counts)]
    return population_stability(*smoothed)


def moved(indices: Mapping[str, float]) -> list[str]:
    """The fields that have moved, the farthest first."""
    return sorted((name for name, index in indices.items() if index > MOVED), key=lambda name: -indices[name])


def drift_report(indices: Mapping[str, float]) -> str:
    """What moved, for people."""
    far = moved(indices)
    if not far:
        name = max(indices, key=lambda name: indices[name])
        return f"no field has moved: the highest population stability index is {indices[name]:.3f} ({name}), the limit {MOVED}"
    lines = [f"  {name}: population stability index {indices[name]:.3f}, at most {MOVED}" for name in far]
    return "\n".join([f"{len(far)} of {len(indices)} fields have moved since the bundle was trained:", *lines])


def reference_of(bundle: str, home: Home) -> Reference:
    """The reference of a bundle given by its digest, or by a folder or URL that ends in it. Raises BundleError."""
    store, _, digest = bundle.rstrip("/").rpartition("/")
    if not store:
        return fetch_bundle(home.bundles_url, digest).reference
    path = local_path(store)
    return fetch_bundle(store if path is None else path.resolve().as_uri(), digest).reference
