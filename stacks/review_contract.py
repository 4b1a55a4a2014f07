"""Two customer records compared: what changes for those who send them, and for the models that were made with them."""

from collections.abc import Iterator, Mapping
from typing import Literal, cast

import msgspec

from app.contract import Field

Consequence = Literal["none", "patch", "minor", "major"]
WORST_FIRST = ("major", "minor", "patch")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The record as a commit declares it."""

    digest: str
    fields: tuple[Field, ...]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One difference and its consequence for a client: major refuses what was taken, minor takes more, patch neither."""

    field: str
    said: str
    consequence: Consequence


class ContractReview(msgspec.Struct, frozen=True, kw_only=True):
    """All differences. Another digest makes every bundle a new major version, whatever it is to clients."""

    before: str
    after: str
    differences: tuple[Difference, ...]
    consequence: Consequence

    @property
    def retrain(self) -> bool:
        """Whether no bundle of before fits the code of after."""
        return self.before != self.after


def compared(before: Record, after: Record) -> ContractReview:
    """The differences by field, in the order of the record."""
    old, new = ({each.name: each for each in record.fields} for record in (before, after))
    found = list(_fields(old, new))
    if not found and before.digest != after.digest:
        found = [Difference(field="", said="fields or allowed values are in another order", consequence="patch")]
    kinds = {each.consequence for each in found}
    worst = cast(Consequence, next((each for each in WORST_FIRST if each in kinds), "none"))
    return ContractReview(before=before.digest, after=after.digest, differences=tuple(found), consequence=worst)


def _fields(old: Mapping[str, Field], new: Mapping[str, Field]) -> Iterator[Difference]:
    for name in [*new, *(name for name in old if name not in new)]:
        was, is_ = old.get(name), new.get(name)
        if was is None and is_ is not None:
            if is_.required:
                yield Difference(field=name, said="a required field is new", consequence="major")
            else:
                yield Difference(field=name, said="an optional field is new", consequence="minor")
        elif is_ is None:
            yield Difference(field=name, said="is gone, and refused where it is sent", consequence="major")
        elif was is not None:
            yield from _changes(was, is_)


def _changes(was: Field, is_: Field) -> Iterator[Difference]:
    def told(said: str, consequence: Consequence) -> Difference:
        return Difference(field=is_.name, said=said, consequence=consequence)

    if was.kind != is_.kind or was.unit != is_.unit:
        yield told(f"{_kind(was)} becomes {_kind(is_)}", "major")
        return
    if was.required != is_.required:
        yield told("is required now", "major") if is_.required else told("is optional now", "minor")
    if (was.low, was.high) != (is_.low, is_.high):
        narrower = _above(is_.low, was.low) or _above(_less(is_.high), _less(was.high))
        yield told(f"{_span(was)} becomes {_span(is_)}", "major" if narrower else "minor")
    if gone := [each for each in was.categories if each not in is_.categories]:
        yield told(f"{', '.join(gone)} is refused now", "major")
    if more := [each for each in is_.categories if each not in was.categories]:
        yield told(f"{', '.join(more)} is allowed now", "minor")
    if was.title != is_.title:
        yield told("another title", "patch")
    if was.telco != is_.telco:
        yield told("another name in the Telco table", "patch")
    if was.bin_edges != is_.bin_edges:
        yield told("other drift bins", "patch")


def _kind(field: Field) -> str:
    return f"{field.kind} in {field.unit}" if field.unit else field.kind


def _span(field: Field) -> str:
    return f"{'any' if field.low is None else f'{field.low:g}'} to {'any' if field.high is None else f'{field.high:g}'}"


def _above(one: float | None, other: float | None) -> bool:
    """Whether a bound is tighter than another; none is the loosest."""
    return one is not None and (other is None or one > other)


def _less(bound: float | None) -> float | None:
    return None if bound is None else -bound
