"""Engineered columns: the same in numpy and in the graph."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.pipeline import Pipeline

from app.contract import FEATURES
from tests.training.models import matrices, small_table
from training import features
from training.features import EXACT_COUNT, INDEX, LINEAR_COUNT, OPTIONAL, Engineer, Matrix, features_digest

ENGINEER = Engineer().fit(small_table().matrix)
FENCES = [
    [float(v) for edge in pair for v in (np.nextafter(edge, -np.inf), edge, np.nextafter(edge, np.inf))]
    for pair in zip(ENGINEER.low_, ENGINEER.high_, strict=True)
]


@pytest.fixture(scope="module")
def graph() -> Any:
    inputs = [("customers", FloatTensorType([None, len(FEATURES)]))]
    model = to_onnx(Pipeline([("engineer", ENGINEER)]), initial_types=inputs, options={}, target_opset={"": 18})
    return onnxruntime.InferenceSession(
        model.SerializeToString(), onnxruntime.SessionOptions(), providers=["CPUExecutionProvider"]
    )


def row(**known: float) -> Matrix:
    found = np.full((1, len(FEATURES)), np.nan, dtype=np.float32)
    for name, value in known.items():
        found[0, INDEX[name]] = value
    return found


REQUIRED = {"tenure_months": 10, "monthly_charges_usd": 70, "contract": 0, "payment_method": 0}


@given(matrices(FENCES))
@settings(max_examples=80)
def test_the_graph_makes_the_trees_columns_to_the_bit_and_the_linear_ones_nearly(graph: Any, matrix: Matrix):
    ours = ENGINEER.transform(matrix)
    [theirs] = graph.run(None, {"customers": matrix})
    np.testing.assert_array_equal(ours[:, :EXACT_COUNT], theirs[:, :EXACT_COUNT])
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@given(matrices(FENCES))
@settings(max_examples=40)
def test_values_stay_or_are_drawn_in_to_the_fences_and_unknown_ones_stay_unknown(matrix: Matrix):
    before = matrix.copy()
    inside = ENGINEER.transform(matrix)[:, : len(FEATURES)]
    np.testing.assert_array_equal(matrix, before)
    np.testing.assert_array_equal(np.isnan(inside), np.isnan(matrix))
    np.testing.assert_array_equal(inside, np.clip(matrix, ENGINEER.low_, ENGINEER.high_))


def test_categories_have_no_fences_and_numbers_have_those_of_the_training_rows():
    categorical = [i for i, field in enumerate(FEATURES) if field.values]
    assert np.isinf(ENGINEER.low_[categorical]).all()
    assert np.isinf(ENGINEER.high_[categorical]).all()
    assert 100 < ENGINEER.high_[INDEX["monthly_charges_usd"]] < 400


def test_the_exact_columns_are_what_a_customer_pays_above_the_average_month_and_the_number_of_add_ons():
    paid, add_ons = ENGINEER.transform(
        row(**REQUIRED, total_charges_usd=650, online_security=1, tech_support=1, streaming_tv=0, online_backup=2)
    )[0, len(FEATURES) : EXACT_COUNT]
    assert (paid, add_ons) == (70 - 65, 2)


def test_a_first_month_divides_by_one_and_an_unknown_total_is_an_unknown_column():
    first, unknown = ENGINEER.transform(
        np.vstack((row(**{**REQUIRED, "tenure_months": 0}, total_charges_usd=30), row(**REQUIRED)))
    )[:, len(FEATURES)]
    assert first == 40
    assert np.isnan(unknown)


def test_the_linear_columns_begin_with_the_slopes_and_end_with_them_weighted_by_the_unknown_share():
    columns = ENGINEER.transform(row(**REQUIRED))[0, EXACT_COUNT:]
    log_tenure = np.log(np.float32(11))
    np.testing.assert_allclose(columns[:4], [log_tenure, log_tenure * 70, log_tenure, 70], rtol=1e-6)
    # Nothing but the required fields is known: the share is one.
    np.testing.assert_allclose(columns[4:8], columns[:4], rtol=1e-6)
    np.testing.assert_allclose(columns[8:], [70, 1, 1, 45, 5, 0], rtol=1e-6)
    half = row(**REQUIRED)
    half[0, OPTIONAL[: len(OPTIONAL) // 3]] = 0
    assert 0 < ENGINEER.transform(half)[0, EXACT_COUNT + 8] < 70
    assert len(columns) == LINEAR_COUNT


def test_the_digest_is_that_of_the_modules_source():
    assert features_digest() == hashlib.sha256(Path(features.__file__).read_bytes()).hexdigest()
