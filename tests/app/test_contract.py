import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract import (
    CONTRACT_DIGEST,
    FEATURES,
    FIELDS,
    MISSING,
    REQUIRED,
    Customer,
    Field,
    binned,
    contract_digest,
    field_table,
    matrix,
)
from tests.app.support import ASKED

SOURCE = Path(__file__).parents[2] / "app"


def values(field: Field) -> st.SearchStrategy[Any]:
    """What a field may hold, from its declaration alone."""
    if field.values:
        known = st.sampled_from(field.values)
    elif field.kind == "integer":
        known = st.integers(int(field.low or 0), int(field.high or 0))
    elif field.kind == "number":
        known = st.floats(field.low, field.high)
    else:
        known = st.text(min_size=int(field.low or 0), max_size=int(field.high or 0))
    return known if field.required else st.none() | known


ROWS = st.lists(st.fixed_dictionaries({field.name: values(field) for field in FIELDS}), max_size=5)


def encoded(field: Field, value: Any) -> float:
    """The matrix's cell, worked out from the design's words: index, number, NaN."""
    if value is None:
        return math.nan
    return float(field.values.index(value)) if field.values else float(value)


@given(ROWS)
def test_the_matrix_holds_indexes_numbers_and_nan_in_contract_order(rows: list[dict[str, Any]]):
    customers = msgspec.json.decode(msgspec.json.encode(rows), type=list[Customer])
    found = matrix(customers)
    expected = np.array([[encoded(field, row[field.name]) for field in FEATURES] for row in rows], dtype=np.float32)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected.reshape(len(rows), len(FEATURES)))


@given(ROWS)
def test_each_value_falls_into_the_one_bin_that_is_named_after_it(rows: list[dict[str, Any]]):
    found = binned(matrix([Customer(**row) for row in rows]))
    assert found.shape == (len(rows), len(FEATURES))
    for row, indexes in zip(rows, found, strict=True):
        for field, index in zip(FEATURES, indexes, strict=True):
            assert belongs(field, np.float32(row[field.name]) if field.bin_edges else row[field.name], field.bins[index])


def belongs(field: Field, value: Any, label: str) -> bool:
    if label == MISSING:
        return value is None or math.isnan(value)
    if field.values:
        return label == (str(value).lower() if isinstance(value, bool) else value)
    words = label.split()
    if words[0] == "below":
        return value < float(words[1])
    if words[1:] == ["and", "above"]:
        return value >= float(words[0])
    return float(words[0]) <= value < float(words[2])


def test_bins_of_a_field_have_names_of_their_own_and_end_with_the_missing():
    for field in FEATURES:
        assert len({*field.bins}) == len(field.bins) == (len(field.values) or len(field.bin_edges) + 1) + 1
        assert field.bins[-1] == MISSING


def test_the_four_fields_that_clients_always_know_are_required():
    assert REQUIRED == ("tenure_months", "monthly_charges_usd", "contract", "payment_method")
    assert len(FEATURES) == 19
    assert [field.name for field in FIELDS if field.kind == "identifier"] == ["customer_id"]
    assert len({field.telco for field in FIELDS}) == len(FIELDS)


@pytest.mark.parametrize("field", FIELDS, ids=[field.name for field in FIELDS])
def test_a_field_takes_its_limits_and_nothing_beyond(field: Field):
    def takes(value: Any) -> bool:
        try:
            customer = msgspec.json.decode(msgspec.json.encode({**ASKED, field.name: value}), type=Customer)
        except msgspec.ValidationError:
            return False
        return getattr(customer, field.name) == value

    assert takes(None) != field.required
    if field.values:
        assert all(map(takes, field.values))
        assert not any(map(takes, ["", "YES", 2]))
        return
    low, high = field.low, field.high
    assert low is not None
    assert high is not None
    inside, outside = ([low, high], [low - 1, high + 1])
    if field.kind == "identifier":
        inside, outside = (["x" * int(low), "é" * int(high)], ["x" * int(low - 1), "x" * int(high + 1)])
    assert all(map(takes, inside))
    assert not any(map(takes, [*outside, True, [], {}]))


def test_the_table_of_the_docs_has_a_row_for_each_field():
    rows = field_table().splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == [f"`{field.name}`" for field in FIELDS]
    assert rows[0] == "| `tenure_months` | integer | yes | months | 0 to 600 | tenure |"
    assert rows[2] == "| `contract` | category | yes |  | month-to-month, one-year, two-year | Contract |"
    assert rows[4] == "| `total_charges_usd` | number |  | USD | 0 to 1,000,000 | TotalCharges |"
    assert rows[6] == "| `senior_citizen` | boolean |  |  | true, false | SeniorCitizen |"
    assert rows[-1] == "| `customer_id` | identifier |  |  | 1 to 64 characters | customerID |"


def after(edit: tuple[str, str], folder: Path, program: str) -> Any:
    """What the program prints as JSON, run on a copy of app/ in which one place of the contract was edited."""
    shutil.copytree(SOURCE, folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    contract = folder / "app" / "contract.py"
    text = contract.read_text()
    assert text.count(edit[0]) == 1
    contract.write_text(text.replace(*edit))
    # -P and the folder first: the copy is imported, not the repository.
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{program}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


LAST = "    # Last: `matrix` pairs"
NEW = '    support_calls: Annotated[int, _about("Support calls", "SupportCalls", "calls", (0, 99), (1, 3))] | None = None\n'
EVERYWHERE = """
import json, numpy as np
from app.api import WANTED
from app.contract import *
from app.metrics import Metrics, registry
from app.openapi import document
from app.page import Page
from app.problems import ProblemError, reader
from prometheus_client import generate_latest
asked = {"tenure_months": 5, "monthly_charges_usd": 7, "contract": "one-year", "payment_method": "credit-card"}
asked["support_calls"] = 2
rows = matrix([reader(Customer)(json.dumps(asked).encode())])
try:
    reader(Customer)(json.dumps({**asked, "support_calls": 100}).encode())
except ProblemError as problem:
    refusal = json.loads(problem.content)["errors"]
print(json.dumps({
    "digest": contract_digest(),
    "column": float(rows[0, -1]),
    "bin": FEATURES[-1].bins[int(binned(rows)[0, -1])],
    "schema": document("1", guarded=False)["components"]["schemas"]["Customer"]["properties"]["support_calls"],
    "page": 'name="support_calls"' in Page().render(None, "").decode(),
    "table": [row for row in field_table().splitlines() if "support_calls" in row],
    "series": 'churn_field_bin_total{bin="1 to 3",field="support_calls"}' in generate_latest(registry(Metrics([]))).decode(),
    "refusal": refusal,
}))
"""


def test_a_new_field_is_an_edit_in_one_place(tmp_path: Path):
    found = after((LAST, NEW + LAST), tmp_path, EVERYWHERE)
    assert found.pop("digest") != CONTRACT_DIGEST
    assert found == {
        "column": 2.0,
        "bin": "1 to 3",
        "schema": {
            "anyOf": [
                {"title": "Support calls", "type": "integer", "minimum": 0, "maximum": 99, "description": "In calls."},
                {"type": "null"},
            ],
            "default": None,
        },
        "page": True,
        "table": ["| `support_calls` | integer |  | calls | 0 to 99 | SupportCalls |"],
        "series": True,
        "refusal": [
            {"pointer": "/support_calls", "detail": "expected a whole number from 0 to 99 (calls), found another number"}
        ],
    }


DIGEST = "import json; from app.contract import contract_digest; print(json.dumps(contract_digest()))"


@pytest.mark.parametrize(
    "edit",
    [
        ('"Tenure", "tenure", "months", (0, 600)', '"Tenure", "tenure", "months", (0, 601)'),
        ('"Tenure", "tenure", "months"', '"Tenure", "tenure", "weeks"'),
        ("tenure_months: Annotated[int", "tenure_months: Annotated[float"),
        ("    tenure_months:", "    tenure:"),
        ('"credit-card"]', '"credit-card", "cash"]'),
        ('_about("Partner", "Partner")] | None = None', '_about("Partner", "Partner")]'),
        ("max_length=64", "max_length=65"),
    ],
    ids=["range", "unit", "type", "name", "allowed values", "required", "length of an id"],
)
def test_the_digest_changes_with_what_a_client_relies_on(tmp_path: Path, edit: tuple[str, str]):
    assert after(edit, tmp_path, DIGEST) != CONTRACT_DIGEST


@pytest.mark.parametrize(
    "edit",
    [
        ('_about("Partner", "Partner")', '_about("Lives with a partner", "Partner")'),
        ('"""A customer as services send it', '"""Somebody'),
        ("_TENURE_CUTS = (3, 6,", "_TENURE_CUTS = (3, 7,"),
    ],
    ids=["title", "prose", "bins"],
)
def test_the_digest_stays_when_only_words_or_bins_change(tmp_path: Path, edit: tuple[str, str]):
    assert after(edit, tmp_path, DIGEST) == CONTRACT_DIGEST == contract_digest()
