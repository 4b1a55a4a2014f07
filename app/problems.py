"""Errors as RFC 9457 problems: every bad place of a body is named, no value of a customer is repeated."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import TypeVar, cast

import msgspec

from app.api import MAX_ROWS, WANTED, Batch, Fault, Outcome, Outcomes, Problem
from app.contract import Customer

PROBLEM_TYPE = b"application/problem+json"
# A body holds 2,000 rows at most; what it calls them is the client's: so many strangers are named, the rest counted.
MAX_STRANGERS = 20

_T = TypeVar("_T", Customer, Batch, Outcomes)
_Rows = Mapping[str, msgspec.Raw]
_encode = msgspec.json.Encoder().encode
_TWICE = Fault(pointer="", detail="a field is given twice and cannot be read both times; give it once")
_TYPES = {"{": "an object", "[": "an array", '"': "a string", "t": "true", "f": "false", "n": "null"}


class ProblemError(Exception):
    """Ends a request with this problem."""

    def __init__(self, status: int, detail: str, faults: list[Fault] | None = None, headers: Mapping[str, str] | None = None):
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})
        problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=faults or [])
        self.content = _encode(problem)


def reader(kind: type[_T]) -> Callable[[bytes], _T]:
    """A decoder of `kind` that raises ProblemError 400 for what is not JSON and 422 for what is not `kind`."""
    decode = msgspec.json.Decoder(kind).decode

    def read(body: bytes) -> _T:
        try:
            return decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _second_look(body, kind, decode)

    return read


def _second_look(body: bytes, kind: type[_T], decode: Callable[[bytes], _T]) -> _T:
    try:
        body.decode()
        # A number that no double holds is JSON all the same, and found again in its field.
        with suppress(msgspec.ValidationError):
            body = _encode(_whole_numbers(msgspec.json.decode(body)))
        with suppress(msgspec.ValidationError):
            return decode(body)
        # Of a name that is there twice the last counts, here as in the decoder, which reads the others all the same.
        faults = list(_FAULTS[kind](msgspec.Raw(body))) or [_TWICE]
    except UnicodeDecodeError as exc:
        raise ProblemError(400, f"The body is not UTF-8 at byte {exc.start:,}; send JSON in UTF-8.") from None
    except RecursionError:
        raise ProblemError(400, "The body is nested too deeply; no body of this service has more than three levels.") from None
    except msgspec.DecodeError as exc:
        raise ProblemError(400, f"The body is not JSON: {str(exc).removeprefix('JSON is malformed: ')}.") from None
    places = "1 place" if len(faults) == 1 else f"{len(faults):,} places"
    raise ProblemError(422, f"The body does not follow the contract in {places}; see errors.", faults)


def _whole_numbers(value: object) -> object:
    """The value with 5.0 as 5: to JSON Schema both are integers, to msgspec the first is none; clients with tables send it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole_numbers(each) for each in cast(list[object], value)]
    if isinstance(value, dict):
        return {name: _whole_numbers(each) for name, each in cast(dict[str, object], value).items()}
    return value


def _object_faults(kind: type[Customer | Outcome]) -> Callable[[msgspec.Raw, str], Iterator[Fault]]:
    """Every fault of a JSON object that should be `kind`, which msgspec stops at the first of."""
    declared = {field.name: (field, msgspec.json.Decoder(field.type)) for field in msgspec.structs.fields(kind)}

    def faults(raw: msgspec.Raw, pointer: str) -> Iterator[Fault]:
        if (found := _rows(raw)) is None:
            yield Fault(pointer=pointer, detail=f"expected an object, found {_found(raw)}")
            return
        for name, (field, decoder) in declared.items():
            if name in found:
                try:
                    decoder.decode(found[name])
                except msgspec.ValidationError:
                    found_there = _found(found[name], WANTED[name])
                    yield Fault(pointer=f"{pointer}/{name}", detail=f"expected {WANTED[name]}, found {found_there}")
            elif field.required:
                yield Fault(pointer=f"{pointer}/{name}", detail=f"missing; give {WANTED[name]}")
        yield from _strangers(found, list(declared), pointer)

    return faults


def _list_faults(name: str, row: type[Customer | Outcome]) -> Callable[[msgspec.Raw], Iterator[Fault]]:
    """Every fault of `{name: [row, ...]}`."""
    row_faults = _object_faults(row)
    wanted = f"an array of 1 to {MAX_ROWS:,} objects"

    def faults(raw: msgspec.Raw) -> Iterator[Fault]:
        if (found := _rows(raw)) is None:
            yield Fault(pointer="", detail=f"expected an object with {name}, found {_found(raw)}")
            return
        yield from _strangers(found, [name], "")
        if name not in found:
            yield Fault(pointer=f"/{name}", detail=f"missing; give {wanted}")
            return
        try:
            rows = msgspec.json.decode(found[name], type=list[msgspec.Raw])
        except msgspec.ValidationError:
            yield Fault(pointer=f"/{name}", detail=f"expected {wanted}, found {_found(found[name])}")
            return
        if not 1 <= len(rows) <= MAX_ROWS:
            yield Fault(pointer=f"/{name}", detail=f"expected {wanted}, found {len(rows):,}")
            return
        for index, each in enumerate(rows):
            yield from row_faults(each, f"/{name}/{index}")

    return faults


def _rows(raw: msgspec.Raw) -> _Rows | None:
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        return None


def _strangers(found: _Rows, known: list[str], pointer: str) -> Iterator[Fault]:
    strangers = [name for name in found if name not in known]
    for name in strangers[:MAX_STRANGERS]:
        escaped = name.replace("~", "~0").replace("/", "~1")
        yield Fault(pointer=f"{pointer}/{escaped}", detail="there is no such field; leave it out")
    if len(strangers) > MAX_STRANGERS:
        yield Fault(pointer=pointer, detail=f"{len(strangers) - MAX_STRANGERS:,} more fields that there are not; leave them out")


def _found(raw: msgspec.Raw, wanted: str = "") -> str:
    """The JSON type of a value; of the type that is wanted it is called another one, since the value itself is not told."""
    kind = _TYPES.get(bytes(raw).lstrip()[:1].decode(), "a number")
    of_that_type = wanted.startswith(
        {"a number": ("a number", "a whole"), "a string": ("a string", "one of", "a moment")}.get(kind, "?")
    )
    return kind.replace("a ", "another ", 1) if of_that_type else kind


_customer_faults = _object_faults(Customer)
_FAULTS: dict[type[Customer | Batch | Outcomes], Callable[[msgspec.Raw], Iterator[Fault]]] = {
    Customer: lambda raw: _customer_faults(raw, ""),
    Batch: _list_faults("customers", Customer),
    Outcomes: _list_faults("outcomes", Outcome),
}
