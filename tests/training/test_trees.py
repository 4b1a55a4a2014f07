"""Boosted trees scored by bit sets: what ONNX Runtime answers, to the last bit, or not at all."""

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract import FEATURES
from tests.training.models import QUICK, fitted, matrices, small_table
from training.bundle import Scorer, export
from training.candidates import BOOSTING, fit
from training.data import Table
from training.features import Matrix
from training.prepare import required_only
from training.sample import sample
from training.trees import BoostedTrees


@cache
def boosted(max_leaf_nodes: int) -> bytes:
    """The graph of gradient boosting with trees of so many leaves."""
    table, params = small_table(), {**QUICK[BOOSTING.name], "max_leaf_nodes": max_leaf_nodes}
    return export(fit(BOOSTING, params, table.matrix, table.churned, 0))


def trees(model: bytes) -> BoostedTrees:
    found = BoostedTrees.of(model)
    assert found is not None
    return found


def about(model: bytes) -> Mapping[str, Any]:
    [node] = [node for node in onnx.load_from_string(model).graph.node if node.op_type == "TreeEnsembleClassifier"]
    return {one.name: cast(Any, onnx.helper.get_attribute_value(one)) for one in node.attribute}


def near_thresholds(model: bytes) -> list[list[float]]:
    """For each field the values at which trees part, and those beside them."""
    said = about(model)
    pairs = list(zip(said["nodes_featureids"], np.array(said["nodes_values"], dtype=np.float32), strict=True))
    inf = np.float32(np.inf)
    return [
        [float(v) for at, edge in pairs if at == i for v in (np.nextafter(edge, -inf), edge, np.nextafter(edge, inf))]
        for i in range(len(FEATURES))
    ]


# Up to 8 leaves are bits of a byte, above of two.
@pytest.mark.parametrize("max_leaf_nodes", [2, 7, 8, 9, 12])
def test_many_rows_get_the_graphs_probabilities_to_the_last_bit(max_leaf_nodes: int):
    model, rows = boosted(max_leaf_nodes), Table(sample(40_000, 1)[0]).matrix
    for view in (rows, required_only(rows), rows[:1]):
        np.testing.assert_array_equal(trees(model).score(view), Scorer(model)(view))


def rows_near(model: bytes) -> st.SearchStrategy[Matrix]:
    unknown = st.lists(st.booleans(), min_size=len(FEATURES), max_size=len(FEATURES))
    return st.builds(lambda rows, mask: np.where(mask, np.float32(np.nan), rows), matrices(near_thresholds(model)), unknown)


@given(st.data())
@settings(max_examples=60)
def test_values_at_a_threshold_or_unknown_go_where_the_graph_sends_them(data: st.DataObject):
    model = boosted(7)
    rows = data.draw(rows_near(model))
    np.testing.assert_array_equal(trees(model).score(rows), Scorer(model)(rows))


def test_both_ways_for_missing_values_are_among_what_is_compared():
    said = about(boosted(7))
    branches = [
        left for left, mode in zip(said["nodes_missing_value_tracks_true"], said["nodes_modes"], strict=True) if mode != b"LEAF"
    ]
    assert {*branches} == {0, 1}


@pytest.mark.parametrize("name", ["logistic-regression", "random-forest", "soft-vote"])
def test_a_graph_that_is_not_the_sum_of_trees_is_left_alone(name: str):
    assert BoostedTrees.of(export(fitted(name))) is None


def test_trees_with_too_many_leaves_for_a_table_are_left_alone():
    assert BoostedTrees.of(boosted(20)) is None
