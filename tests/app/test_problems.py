import json
import math
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.api import Batch, Outcomes
from app.contract import FIELDS, Customer
from app.problems import MAX_STRANGERS, ProblemError, reader
from tests.app.support import ASKED

READ: dict[Any, Any] = {Customer: reader(Customer), Batch: reader(Batch), Outcomes: reader(Outcomes)}
NAMES = st.sampled_from([*(field.name for field in FIELDS), "customers", "outcomes", "prediction_id", "a/b~c", ""])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([v for field in FIELDS for v in field.categories]),
    st.text(max_size=70),
)
ANY_JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=12
)
NEARLY = st.builds(lambda changed: {**ASKED, **changed}, st.dictionaries(NAMES, LEAVES, max_size=3))
OUTCOME = {"prediction_id": "a", "churned": True, "offer_made": False, "observed_at": "2026-01-31T12:00:00+01:00"}


def refused(kind: Any, body: bytes) -> tuple[int, dict[str, str]]:
    """Status and the detail of each pointer."""
    with pytest.raises(ProblemError) as caught:
        READ[kind](body)
    problem = json.loads(caught.value.content)
    assert problem["status"] == caught.value.status
    return problem["status"], {fault["pointer"]: fault["detail"] for fault in problem["errors"]}


def pointers(kind: Any, body: Any) -> list[str]:
    status, faults = refused(kind, json.dumps(body).encode())
    assert status == 422
    return list(faults)


def resolves(body: Any, pointer: str) -> bool:
    """Whether the pointer, or the object that lacks its last part, is in the body."""
    for part in pointer.split("/")[1:-1]:
        body = body[int(part)] if isinstance(body, list) else body[part]
    return pointer == "" or isinstance(body, list | dict)


@given(
    st.sampled_from([Customer, Batch, Outcomes]), st.one_of(ANY_JSON, NEARLY, NEARLY.map(lambda row: {"customers": [ASKED, row]}))
)
def test_whatever_the_decoder_refuses_is_refused_with_a_pointer_into_the_body(kind: Any, body: Any):
    encoded = json.dumps(body).encode()
    try:
        # To JSON, 5.0 is an integer: the specification knows one kind of number.
        expected = msgspec.json.decode(re.sub(rb"(\d)\.0(?=[,\]}])", rb"\1", encoded), type=kind)
    except msgspec.DecodeError:
        found = pointers(kind, body)
        assert found
        assert all(resolves(body, pointer) for pointer in found)
    else:
        assert READ[kind](encoded) == expected


@given(st.sampled_from([Customer, Batch, Outcomes]), st.binary(max_size=60))
@example(Customer, b'{"tenure_months": 1e999, "contract": NaN}')
@example(Customer, b'{"customer_id": "\xff"}')
@example(Customer, b'{"x": "\\ud800"}')
def test_bytes_that_are_no_json_are_a_problem_of_400(kind: Any, body: bytes):
    try:
        json.loads(body.decode(), parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError, RecursionError):
        assert refused(kind, body) == (400, {})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"tenure_months": NaN}',
        b"Infinity",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"customers":[' + b"[" * 99_999,
    ],
    ids=["empty", "cut off", "not UTF-8", "NaN", "infinity", "deep arrays", "deep objects", "deep rows"],
)
def test_what_is_not_json_is_400_without_pointers(body: bytes):
    for kind in READ:
        assert refused(kind, body) == (400, {})


def test_every_bad_field_is_named_with_what_is_expected_and_the_type_found():
    body = {
        **ASKED,
        "tenure_months": -1,
        "monthly_charges_usd": "70",
        "contract": "weekly",
        "partner": 1,
        "customer_id": "",
        "colour": 1,
    }
    del body["payment_method"]
    assert refused(Customer, json.dumps(body).encode()) == (
        422,
        {
            "/tenure_months": "expected a whole number from 0 to 600 (months), found another number",
            "/monthly_charges_usd": "expected a number from 0 to 10,000 (USD), found a string",
            "/contract": "expected one of month-to-month, one-year, two-year, found another string",
            "/payment_method": "missing; give one of electronic-check, mailed-check, bank-transfer, credit-card",
            "/partner": "expected true or false, found a number",
            "/customer_id": "expected a string of 1 to 64 characters, found another string",
            "/colour": "there is no such field; leave it out",
        },
    )


def test_every_bad_row_is_named():
    rows = [ASKED, {**ASKED, "gender": "x"}, 5, {**ASKED, "tenure_months": 601}]
    assert pointers(Batch, {"customers": rows, "more": 1}) == [
        "/more",
        "/customers/1/gender",
        "/customers/2",
        "/customers/3/tenure_months",
    ]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ({}, "/customers"),
        ({"customers": {}}, "/customers"),
        ({"customers": []}, "/customers"),
        ({"customers": [ASKED] * 1001}, "/customers"),
    ],
    ids=["an array", "nothing", "an object of rows", "no row", "too many rows"],
)
def test_a_batch_is_one_to_a_thousand_customers(body: Any, pointer: str):
    assert pointers(Batch, body) == [pointer]
    assert len(READ[Batch](json.dumps({"customers": [ASKED] * 1000}).encode()).customers) == 1000


@pytest.mark.parametrize("moment", ["2026-01-31", "2026-01-31T12:00:00", "yesterday", 1_700_000_000, None])
def test_an_outcome_was_seen_at_a_moment_with_an_offset(moment: Any):
    assert pointers(Outcomes, {"outcomes": [{**OUTCOME, "observed_at": moment}]}) == ["/outcomes/0/observed_at"]
    assert READ[Outcomes](json.dumps({"outcomes": [OUTCOME]}).encode()).outcomes[0].churned


def test_a_whole_number_may_have_a_point():
    assert READ[Customer](json.dumps({**ASKED, "tenure_months": 5.0}).encode()) == READ[Customer](json.dumps(ASKED).encode())
    assert pointers(Customer, {**ASKED, "tenure_months": 5.0, "partner": 1}) == ["/partner"]
    for value in (5.5, "5", "5.0", True):
        assert pointers(Customer, {**ASKED, "tenure_months": value}) == ["/tenure_months"]


def test_a_number_that_no_double_holds_is_out_of_range():
    body = json.dumps(ASKED).replace("70.5", "1e999").encode()
    assert refused(Customer, body)[1].keys() == {"/monthly_charges_usd"}
    assert math.isinf(json.loads(body)["monthly_charges_usd"])


def test_a_strange_name_is_escaped_as_pointers_are():
    assert pointers(Customer, {**ASKED, "a/b~c": 1}) == ["/a~1b~0c"]


def test_strangers_are_counted_where_there_are_many():
    found = pointers(Customer, {**ASKED, **{f"x{n}": n for n in range(1000)}})
    assert found == [*(f"/x{n}" for n in range(MAX_STRANGERS)), ""]


@given(st.text(min_size=8, max_size=40).filter(lambda text: not text.isascii()))
def test_no_value_is_repeated(secret: str):
    body = {**ASKED, "contract": secret, "tenure_months": secret, "partner": [secret], "customer_id": secret * 65}
    with pytest.raises(ProblemError) as caught:
        READ[Customer](json.dumps(body).encode())
    assert secret not in caught.value.content.decode()
    assert secret not in str(caught.value)
