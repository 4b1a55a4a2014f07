"""The form of a release file, and every place where a value read from JSON departs from it.

Declared here once more, apart from the code that writes releases: a gate that shared its types would share its mistakes.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypedDict,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)


@dataclass(frozen=True)
class _Form:
    """What a type cannot say of a value: a test, and words for what passes it."""

    holds: Callable[[Any], bool]
    says: str


def _text(pattern: str, says: str) -> _Form:
    return _Form(lambda value: re.fullmatch(pattern, value) is not None, says)


def _is_moment(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


Digest = Annotated[str, _text("[0-9a-f]{64}", "a sha256 in hex")]
ImageDigest = Annotated[str, _text("sha256:[0-9a-f]{64}", "sha256: and 64 hex digits")]
Commit = Annotated[str, _text("[0-9a-f]{40}", "a full commit id of 40 hex digits")]
SemVer = Annotated[str, _text(r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){2}", "a version such as 1.4.2")]
Moment = Annotated[str, _Form(_is_moment, "a time with its zone, such as 2026-01-31T12:00:00Z")]
Name = Annotated[str, _text(r".*\S.*", "one line of text")]
Prose = Annotated[str, _Form(lambda value: bool(value.strip()), "some text")]
Positive = Annotated[float, _Form(lambda value: value > 0, "a number above 0")]
NotNegative = Annotated[float, _Form(lambda value: value >= 0, "a number from 0 up")]
Share = Annotated[float, _Form(lambda value: 0 < value <= 1, "a number above 0 and up to 1")]
Months = Annotated[int, _Form(lambda value: 1 <= value <= 120, "1 to 120")]  # noqa: PLR2004  # the bounds are the declaration
Percent = Annotated[int, _Form(lambda value: 0 <= value <= 100, "0 to 100")]  # noqa: PLR2004  # the bounds are the declaration
Count = Annotated[int, _Form(lambda value: value >= 0, "a whole number from 0 up")]
DriftIndex = Annotated[float, _Form(lambda value: 0.05 <= value <= 10, "0.05 to 10")]  # noqa: PLR2004  # the bounds are the declaration
Days = Annotated[int, _Form(lambda value: 1 <= value <= 3650, "1 to 3650")]  # noqa: PLR2004  # the bounds are the declaration
Rows = Annotated[int, _Form(lambda value: value >= 1, "a whole number from 1 up")]
SchemaVersion = Annotated[int, _Form(lambda value: value == 1, "1")]


class Interval(TypedDict):
    value: float
    low: float
    high: float


Estimate = Annotated[Interval, _Form(lambda it: it["low"] <= it["high"], "an interval whose low is not above its high")]


class Image(TypedDict):
    repository: Name
    digest: ImageDigest
    contract_digest: Digest
    commit: Commit


class BusinessCase(TypedDict):
    offer_cost_usd: Positive
    offer_acceptance: Share
    margin_usd_per_month: Positive
    horizon_months: Months


class AlertLimits(TypedDict):
    drift_index_max: DriftIndex
    model_age_max_days: Days


class Slice(TypedDict):
    observed: Estimate
    predicted: float
    required_fields_predicted: float


class Behaviour(TypedDict):
    slices: dict[str, Slice]
    invariance: dict[str, NotNegative]
    direction: dict[str, NotNegative]
    functionality: dict[str, float]


class Evidence(TypedDict):
    evaluated_at: Moment
    data_digest: Digest
    contract_digest: Digest
    rows: Rows
    seed: Count
    threshold: float
    metrics: dict[str, Estimate]
    subgroups: dict[str, Estimate]
    calibration_error: NotNegative
    parity_max_abs: NotNegative
    relative_cost: NotNegative | None
    compared_with: Digest | None
    auc_difference: Estimate | None
    profit_difference_usd_per_month: Estimate | None
    decisions_changed_count: Count | None
    # Releases from before it was measured stay what they are, and can be gone back to.
    behaviour: NotRequired[Behaviour]


class Variant(TypedDict):
    role: Literal["champion", "challenger", "shadow"]
    weight_percent: Percent
    bundle_digest: Digest
    version: SemVer
    threshold: float
    evidence: Evidence


class Approval(TypedDict):
    approver: Name
    signature: str


class Release(TypedDict):
    schema_version: SchemaVersion
    stack: str
    created_at: Moment
    created_by: Name
    reason: Prose
    image: Image | None
    variants: Annotated[list[Variant], _Form(bool, "at least one variant")]
    business_case: BusinessCase
    # Files that were written before there was one have none.
    alert_limits: NotRequired[AlertLimits]
    previous: Digest | None
    rollback_of: Digest | None
    approval: Approval | None
    digest: Digest


def misfits(value: object, kind: Any, place: str) -> Iterator[str]:
    """Each place in `value` that is not of `kind`: what was found there and what belongs there. Raises nothing."""
    origin, arms = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        yield from _misfits_of_fields(value, get_type_hints(kind, include_extras=True), place)
    elif origin is Annotated:
        found = list(misfits(value, arms[0], place))
        yield from found
        if not found and not arms[1].holds(value):
            yield f"{place} is {_shown(value)}; give {arms[1].says}"
    elif origin in (Union, UnionType):  # which of the two `x | None` is depends on x
        if value is not None:
            yield from misfits(value, arms[0], place)
    elif origin is Literal:
        if value not in arms:
            yield f"{place} is {_shown(value)}; give one of {', '.join(arms)}"
    elif origin in _ITEMS:
        yield from _misfits_of_items(value, origin, arms[-1], place)
    elif not _IS[kind](value):
        yield f"{place} is {_shown(value)}; give {_WORDS[kind]}"


def _misfits_of_fields(value: object, fields: Mapping[str, object], place: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{place or 'the release'} is {_shown(value)}; give an object"
        return
    found = cast(Mapping[object, object], value)
    within = f"{place}." if place else ""
    for name, kind in fields.items():
        optional = get_origin(kind) is NotRequired
        if name in found:
            yield from misfits(found[name], get_args(kind)[0] if optional else kind, within + name)
        elif not optional:
            yield f"{within}{name} is missing; every field of a release is written out"
    for name in found:
        if name not in fields:
            yield f"{within}{_shown(name)} is not a field of a release; leave it out"


def _misfits_of_items(value: object, origin: Any, kind: object, place: str) -> Iterator[str]:
    if not isinstance(value, origin):
        yield f"{place} is {_shown(value)}; give {_ITEMS[origin]}"
    elif isinstance(value, dict):
        for name, item in cast(dict[object, object], value).items():
            if not _is_text(name):
                yield f"{place} has the name {_shown(name)}; give text"
            yield from misfits(item, kind, f"{place}[{_shown(name)}]")
    else:
        for i, item in enumerate(cast(list[object], value)):
            yield from misfits(item, kind, f"{place}[{i}]")


def _is_text(value: object) -> bool:
    # A lone surrogate, which JSON can spell, has no UTF-8 and so no digest.
    return isinstance(value, str) and value.encode(errors="replace").decode() == value


def _is_whole(value: object) -> bool:
    # JSON's true is an int to Python; beyond 2^63 other readers of the file disagree about the value.
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_number(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


_ITEMS: dict[object, str] = {list: "a list", dict: "an object"}
_IS: dict[object, Callable[[object], bool]] = {str: _is_text, int: _is_whole, float: _is_number}
_WORDS: dict[object, str] = {str: "text", int: "a whole number", float: "a finite number"}


def _shown(value: object) -> str:
    """`value` for a message: short, and printable whatever it is."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return ascii(value if len(value) <= 70 else f"{value[:67]}...")  # noqa: PLR2004  # about a line
    if _is_number(value) or isinstance(value, bool | float):
        return repr(value)
    return f"a {type(value).__name__}"
