"""What the declared fields become: bins, matrix columns, digest and table, also when the module is read anew."""

import importlib.util
import math
from types import ModuleType

import msgspec
import numpy as np
import pytest

from app import contract
from app.contract import FEATURES, FIELDS, Customer, Field, binned, contract_digest, field_table, matrix

FIELD = {field.name: field for field in FIELDS}
ASKED = {"tenure_months": 5, "monthly_charges_usd": 70.5, "contract": "one-year", "payment_method": "credit-card"}


def read_anew() -> ModuleType:
    spec = importlib.util.spec_from_file_location("app.contract", contract.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reading_the_declaration_again_gives_the_same_contract():
    again = read_anew()
    assert [msgspec.structs.astuple(field) for field in again.FIELDS] == [msgspec.structs.astuple(field) for field in FIELDS]
    assert again.FIELDS[:-1] == again.FEATURES
    assert tuple(ASKED) == contract.REQUIRED
    assert again.REQUIRED == contract.REQUIRED
    assert again.CONTRACT_DIGEST == contract.CONTRACT_DIGEST
    asked = again.matrix([again.Customer(**ASKED)])
    assert np.array_equal(asked, matrix([Customer(**ASKED)]), equal_nan=True)


def test_what_the_declaration_says_is_what_a_field_has():
    assert FIELD["tenure_months"] == Field(
        name="tenure_months",
        title="Tenure",
        kind="integer",
        required=True,
        unit="months",
        low=0,
        high=600,
        categories=(),
        telco="tenure",
        bin_edges=(3, 6, 12, 24, 36, 48, 60),
    )
    assert FIELD["customer_id"].kind == "identifier"
    assert (FIELD["customer_id"].low, FIELD["customer_id"].high) == (1, 64)
    assert (FIELD["partner"].kind, FIELD["partner"].required, FIELD["partner"].title) == ("boolean", False, "Partner")
    assert FIELD["contract"].categories == ("month-to-month", "one-year", "two-year")
    assert FIELD["monthly_charges_usd"].kind == "number"


def test_bins_are_named_as_people_read_them():
    assert FIELD["tenure_months"].bins == (
        *("below 3", "3 to 6", "6 to 12", "12 to 24", "24 to 36", "36 to 48", "48 to 60", "60 and above"),
        "missing",
    )
    assert FIELD["partner"].bins == ("false", "true", "missing")
    assert FIELD["gender"].bins == ("female", "male", "missing")
    assert FIELD["partner"].values == (False, True)
    assert FIELD["tenure_months"].values == ()


def test_a_customer_becomes_a_row_in_the_order_of_the_contract():
    customers = [Customer(**ASKED), Customer(**ASKED, gender="male", partner=True, senior_citizen=False, customer_id="x")]
    rows = matrix(customers)
    assert (rows.shape, rows.dtype) == ((2, len(FEATURES)), np.float32)
    column = {field.name: i for i, field in enumerate(FEATURES)}
    known = {"tenure_months": 5, "monthly_charges_usd": 70.5, "contract": 1, "payment_method": 3}
    for name, i in column.items():
        assert rows[0, i] == known[name] if name in known else math.isnan(rows[0, i])
    assert [rows[1, column[name]] for name in ("gender", "partner", "senior_citizen")] == [1, 1, 0]
    assert matrix([]).shape == (0, len(FEATURES))


@pytest.mark.parametrize(
    ("name", "value", "label"),
    [
        ("tenure_months", 2, "below 3"),
        ("tenure_months", 3, "3 to 6"),
        ("tenure_months", 60, "60 and above"),
        ("tenure_months", math.nan, "missing"),
        ("contract", 0, "month-to-month"),
        ("contract", 2, "two-year"),
        ("gender", math.nan, "missing"),
        ("partner", 1, "true"),
    ],
)
def test_a_value_falls_into_its_bin(name: str, value: float, label: str):
    rows = matrix([Customer(**ASKED), Customer(**ASKED)])
    i = [field.name for field in FEATURES].index(name)
    rows[1, i] = value
    bins = binned(rows)
    assert (bins.shape, bins.dtype) == (rows.shape, np.intp)
    assert FIELD[name].bins[bins[1, i]] == label


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"title": "Another"}, True),
        ({"bin_edges": (1.0,)}, True),
        ({"telco": "Another"}, True),
        ({"name": "another"}, False),
        ({"kind": "number"}, False),
        ({"required": False}, False),
        ({"unit": "years"}, False),
        ({"low": 1.0}, False),
        ({"high": 601.0}, False),
        ({"categories": ("a",)}, False),
    ],
    ids=str,
)
def test_the_digest_covers_what_is_promised_and_not_how_it_is_told(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], same: bool
):
    before = contract_digest()
    monkeypatch.setattr(contract, "FIELDS", (msgspec.structs.replace(FIELDS[0], **changes), *FIELDS[1:]))
    assert (contract_digest() == before) is same
    assert before == contract.CONTRACT_DIGEST


def test_the_table_for_the_docs_has_a_row_for_each_field():
    head, rule, *rows = field_table().splitlines()
    assert head == "| field | type | required | unit | allowed | in the Telco table |"
    assert rule == "|---|---|---|---|---|---|"
    assert [row.split("`")[1] for row in rows] == [field.name for field in FIELDS]
    assert rows[0] == "| `tenure_months` | integer | yes | months | 0 to 600 | tenure |"
    assert "| `total_charges_usd` | number |  | USD | 0 to 1,000,000 | TotalCharges |" in rows
    assert "| `contract` | category | yes |  | month-to-month, one-year, two-year | Contract |" in rows
    assert "| `partner` | boolean |  |  | true, false | Partner |" in rows
    assert rows[-1] == "| `customer_id` | identifier |  |  | 1 to 64 characters | customerID |"
