"""Bodies that are no JSON, are JSON of another kind, or were damaged on the way: each is refused, and the process goes on."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract import FIELDS, Customer
from tests.app.support import ASKED, Place, ServerProcess
from tests.survival.crowd import SHARE
from tests.survival.hostile import BODIES, Answer, is_refused, make_place, port, post, ready

ONE = json.dumps(ASKED).encode()
PATHS = st.sampled_from(list(BODIES))
DAMAGED = int(2_000 * SHARE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("json"))


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[ServerProcess]:
    with ready(place) as started:
        yield started


def with_field(name: str, value: str | bytes) -> bytes:
    """A customer whose field is this text, JSON or not."""
    text = value.encode() if isinstance(value, str) else value
    return json.dumps({**ASKED, name: "@"}).encode().replace(b'"@"', text)


def deep(opened: str, closed: str, levels: int = 100_000) -> bytes:
    return (opened * levels + closed * levels).encode()


NOT_JSON = {
    "nothing": b"",
    "white space": b" \r\n\t",
    "deep arrays": deep("[", "]"),
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep and never closed": b"[" * 1_000_000,
    "a deep field": with_field("tenure_months", deep("[", "]")),
    "a deep customer": b'{"customers":' + deep("[", "]") + b"}",
    "NaN": with_field("monthly_charges_usd", "NaN"),
    "Infinity": with_field("monthly_charges_usd", "-Infinity"),
    "hexadecimal": with_field("tenure_months", "0x10"),
    "a leading zero": with_field("tenure_months", "05"),
    "a plus sign": with_field("tenure_months", "+5"),
    "no digit after the point": with_field("tenure_months", "5."),
    "no digit before the point": with_field("monthly_charges_usd", ".5"),
    "no exponent": with_field("monthly_charges_usd", "1e"),
    "a lone high surrogate": with_field("customer_id", r'"\ud800"'),
    "a lone low surrogate": with_field("customer_id", r'"\udc00 "'),
    "surrogates the wrong way round": with_field("customer_id", r'"\udc00\ud800"'),
    "a lone surrogate as a name": with_field("customer_id", r'"x", "\ud800": 1'),
    "a surrogate in UTF-8": with_field("customer_id", b'"\xed\xa0\x80"'),
    "an overlong slash": with_field("customer_id", b'"\xc0\xaf"'),
    "beyond Unicode": with_field("customer_id", b'"\xf4\x90\x80\x80"'),
    "Latin-1": with_field("customer_id", b'"M\xfcller"'),
    "invalid UTF-8 as a name": with_field("customer_id", b'"x", "\xff": 1'),
    "an unknown escape": with_field("customer_id", r'"\x41"'),
    "a short escape": with_field("customer_id", r'"\u12"'),
    "a raw NUL": with_field("customer_id", b'"a\0b"'),
    "a raw newline": with_field("customer_id", b'"a\nb"'),
    "NUL after the body": ONE + b"\0",
    "only NUL": b"\0" * 1000,
    "a BOM": b"\xef\xbb\xbf" + ONE,
    "UTF-16": json.dumps(ASKED).encode("utf-16"),
    "UTF-16 without a BOM": json.dumps(ASKED).encode("utf-16-le"),
    "UTF-32": json.dumps(ASKED).encode("utf-32"),
    "two bodies": ONE + ONE,
    "lines of bodies": ONE + b"\n" + ONE,
    "a comma too many": ONE[:-1] + b",}",
    "a comment": b"/* */" + ONE,
    "single quotes": ONE.replace(b'"', b"'"),
    "a name without quotes": b"{tenure_months: 5}",
    "a form": b"tenure_months=5&contract=one-year",
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "YAML": b"!!python/object/apply:os.system ['true']",
    "MessagePack": msgspec.msgpack.encode(ASKED),
}
OTHER_JSON = {
    "null": b"null",
    "true": b"true",
    "a number": b"5",
    "a string": b'"customers"',
    "an array of 100,000": json.dumps([0] * 100_000).encode(),
    "100,000 customers": json.dumps({"customers": [0] * 100_000, "outcomes": [0] * 100_000}).encode(),
    "a thousand empty rows": json.dumps({"customers": [{}] * 1000, "outcomes": [{}] * 1000}).encode(),
    "rows of a thousand kinds": json.dumps({"customers": [[]] * 1000, "outcomes": ["x"] * 1000}).encode(),
    "an object as rows": b'{"customers": {"0": {}}, "outcomes": {"length": 1}}',
    "50,000 fields that there are not": json.dumps({**ASKED, **{f"x{n}": n for n in range(50_000)}}).encode(),
    "a name of 900,000 letters": json.dumps({**ASKED, "x" * 900_000: 1}).encode(),
    "prototypes": json.dumps({**ASKED, "__proto__": {"admin": True}, "constructor": {}, "__class__": "os"}).encode(),
    "a string of 900,000 letters": with_field("customer_id", json.dumps("x" * 900_000)),
    "a category of 900,000 letters": with_field("contract", json.dumps("x" * 900_000)),
    "1e400": with_field("monthly_charges_usd", "1e400"),
    "-1e400": with_field("monthly_charges_usd", "-1e400"),
    "1e99999999999999999999": with_field("tenure_months", "1e99999999999999999999"),
    "a number of 100,000 digits": with_field("tenure_months", "1" * 100_000),
    "a charge of 100,000 digits": with_field("monthly_charges_usd", "-" + "1" * 100_000),
    "2 to the 64": with_field("tenure_months", str(2**64)),
    "1e300 months": with_field("tenure_months", "1e300"),
    "just above the limit": with_field("tenure_months", "600.0000001"),
    "below 0": with_field("monthly_charges_usd", "-0.0000000001"),
    "a number twice, once beyond all doubles": b'{"tenure_months":1e999,' + ONE[1:],
}


REFUSED = [*((400, body) for body in NOT_JSON.values()), *((422, body) for body in OTHER_JSON.values())]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(("status", "body"), REFUSED, ids=[*NOT_JSON, *OTHER_JSON])
def test_what_is_no_json_is_400_and_json_of_another_kind_422(server: ServerProcess, path: str, status: int, body: bytes):
    answer = post(port(server), path, body)
    assert is_refused(answer)
    assert answer.status == status


def wrong_values(name: str) -> Iterator[Any]:
    """Values of every type that the field does not take."""
    for value in (None, True, 0, -1, 1.5, 10**30, "", "1", "0.5", "null", "true", "x" * 65, [], [1], {}, {"": 1}):
        try:
            msgspec.convert({**ASKED, name: value}, Customer)
        except msgspec.ValidationError:
            yield value


@pytest.mark.parametrize("name", [field.name for field in FIELDS])
def test_a_value_of_another_type_is_422_and_its_field_is_named(server: ServerProcess, name: str):
    for value in wrong_values(name):
        alone = post(port(server), "/v1/predict", json.dumps({**ASKED, name: value}).encode())
        together = post(port(server), "/v1/predict/batch", json.dumps({"customers": [ASKED, {**ASKED, name: value}]}).encode())
        assert [places(alone), places(together)] == [[f"/{name}"], [f"/customers/1/{name}"]], value


def places(answer: Answer) -> list[str]:
    assert is_refused(answer)
    assert answer.status == 422
    return [error["pointer"] for error in json.loads(answer.body)["errors"]]


def test_of_a_field_given_twice_the_last_counts(server: ServerProcess):
    def told(body: bytes) -> Any:
        return json.loads(post(port(server), "/v1/predict", body).body)["churn_probability"]

    first, last = told(with_field("tenure_months", "0")), told(with_field("tenure_months", "72"))
    assert first != last
    assert told(b'{"tenure_months": 0,' + with_field("tenure_months", "72")[1:]) == last
    assert told(b'{"tenure_months": "wrong",' + with_field("tenure_months", "72")[1:]) == last
    assert is_refused(post(port(server), "/v1/predict", with_field("tenure_months", "72")[:-1] + b', "tenure_months": "wrong"}'))


@pytest.mark.parametrize("path", BODIES)
def test_a_body_cut_off_anywhere_is_400(server: ServerProcess, path: str):
    body = json.dumps(BODIES[path]).encode()
    answers = [post(port(server), path, body[:length]) for length in range(len(body))]
    assert all(is_refused(answer) for answer in answers)
    assert {answer.status for answer in answers} == {400}


@st.composite
def damaged(draw: st.DrawFn, path: str) -> bytes:
    """A valid body with some bits flipped, bytes cut out, doubled or put in."""
    body = bytearray(json.dumps(BODIES[path]).encode())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        length = draw(st.integers(1, 12))
        match draw(st.sampled_from(["flip", "cut", "double", "put in", "end"])):
            case "flip" if body:
                body[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del body[at : at + length]
            case "double":
                body[at:at] = body[at : at + length]
            case "put in":
                body[at:at] = draw(st.binary(min_size=1, max_size=length))
            case _:
                del body[at:]
    return bytes(body)


# The same cases each time: a failure is one of the code.
@settings(max_examples=DAMAGED, derandomize=True)
@given(data=st.data(), path=PATHS)
def test_a_damaged_body_is_answered_or_refused_with_a_problem(server: ServerProcess, data: st.DataObject, path: str):
    is_refused(post(port(server), path, data.draw(damaged(path))))


@settings(max_examples=DAMAGED, derandomize=True)
@given(path=PATHS, body=st.binary(max_size=200), content_type=st.text(st.characters(codec="latin-1", exclude_categories=["Cc"])))
def test_any_bytes_called_anything_are_refused(server: ServerProcess, path: str, body: bytes, content_type: str):
    assert is_refused(post(port(server), path, b"\xff" + body))
    assert is_refused(post(port(server), path, body, f"content-type: {content_type}"))
