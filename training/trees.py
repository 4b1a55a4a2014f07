"""Boosted trees on many rows at once: the float32 sums of ONNX Runtime to the last bit, in a fraction of its time.

A walk down a tree waits for every comparison before the next. Here each comparison of a tree is made for all rows and strikes out
the leaves that it rules out, as bits of one small number for each row (QuickScorer, Lucchese et al., SIGIR 2015,
https://doi.org/10.1145/2766462.2767733): whole columns, no branches.
"""

from typing import Any, NamedTuple, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from app.bundle import MODEL_INPUT
from app.model import Rows, session

# A table of 2^leaves values for each tree: more than a search gives to boosting, and few enough to stay in the cache.
_MOST_LEAVES = 12
# So many that a call of numpy costs little, so few that what is made of them stays in the cache.
_CHUNK_ROWS = 16_384
_BRANCH, _LEAF = b"BRANCH_LEQ", b"LEAF"


class _Comparison(NamedTuple):
    """Who is not at most `threshold` goes to the right, where what is missing goes as well unless it goes to the left."""

    column: int
    threshold: float
    missing_left: bool


class _Tree(NamedTuple):
    """Each comparison with the leaves to its left as bits, and the value for each set of leaves ruled out."""

    comparisons: list[tuple[_Comparison, int]]
    values: Rows


class BoostedTrees:
    """Scores matrices as the graph does that it is made of."""

    def __init__(self, columns: onnx.ModelProto, trees: list[_Tree], base: float) -> None:
        self._columns = session(columns.SerializeToString())
        self._trees, self._base = trees, np.float32(base)
        self._comparisons = {one for tree in trees for one, _ in tree.comparisons}
        self._bits = np.min_scalar_type(max(len(tree.values) for tree in trees) - 1)
        self._logistic = session(_logistic().SerializeToString())

    @classmethod
    def of(cls, model: bytes) -> Self | None:
        """The trees of a graph that ends in the logistic function of their sum; None for any other graph."""
        graph = onnx.load_from_string(model)
        match [node for node in graph.graph.node if node.op_type.startswith("TreeEnsemble")]:
            case [node]:
                about = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            case _:
                return None
        if {about["post_transform"], *about["nodes_modes"]} != {b"LOGISTIC", _BRANCH, _LEAF} or any(about.get("class_ids", [1])):
            return None
        trees = _trees(about)
        if max(len(tree.comparisons) for tree in trees) >= _MOST_LEAVES:
            return None
        [base] = about.get("base_values", [0.0])
        columns = helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, None)
        # The nodes are in order: what the trees read is made by those before them.
        del graph.graph.node[[*graph.graph.node].index(node) :]
        del graph.graph.output[:]
        graph.graph.output.append(columns)
        return cls(graph, trees, base)

    def score(self, rows: Rows) -> Rows:
        """Churn probabilities (n,) of rows (n, features)."""
        starts = range(0, len(rows), _CHUNK_ROWS)
        sums = np.concatenate([self._sums(rows[start : start + _CHUNK_ROWS]) for start in starts])
        return self._logistic.run(("probabilities",), {"sums": sums[:, None]})[0][:, 1]

    def _sums(self, rows: Rows) -> Rows:
        [output] = self._columns.get_outputs()
        columns = np.ascontiguousarray(self._columns.run((output.name,), {MODEL_INPUT: rows})[0].T)
        every_bit = np.iinfo(self._bits).max
        right = {
            one: np.multiply(_goes_right(columns[one.column], one), every_bit, dtype=self._bits) for one in self._comparisons
        }
        sums = np.zeros(len(rows), dtype=np.float32)
        out, more = np.empty((2, len(rows)), dtype=self._bits)
        for tree in self._trees:
            out.fill(0)
            for one, left in tree.comparisons:
                out |= np.bitwise_and(right[one], self._bits.type(left), out=more)
            # One tree after the other: in another order the sum would round otherwise.
            sums += tree.values.take(out)
        return sums + self._base


def _goes_right(column: Rows, by: _Comparison) -> NDArray[np.bool_]:
    # A comparison with NaN is false.
    return column > by.threshold if by.missing_left else ~(column <= by.threshold)


def _trees(about: dict[str, Any]) -> list[_Tree]:
    """From the attributes of the node: a list each, of the nodes of all trees and of the weights of all leaves."""
    ids = list(zip(about["nodes_treeids"], about["nodes_nodeids"], strict=True))
    places = {one: place for place, one in enumerate(ids)}
    weights = dict(zip(zip(about["class_treeids"], about["class_nodeids"], strict=True), about["class_weights"], strict=True))

    def tree(number: int) -> _Tree:
        comparisons, leaves = list[tuple[_Comparison, int]](), list[float]()

        def walk(node: int) -> int:
            """The leaves below as bits, from the left."""
            place = places[number, node]
            if about["nodes_modes"][place] == _LEAF:
                leaves.append(weights[number, node])
                return 1 << (len(leaves) - 1)
            left = walk(about["nodes_truenodeids"][place])
            missing_left = bool(about["nodes_missing_value_tracks_true"][place])
            comparison = _Comparison(about["nodes_featureids"][place], about["nodes_values"][place], missing_left)
            comparisons.append((comparison, left))
            return left | walk(about["nodes_falsenodeids"][place])

        walk(0)
        return _Tree(comparisons, _values(leaves))

    return [tree(number) for number in sorted({number for number, _ in ids})]


def _values(leaves: list[float]) -> Rows:
    """Of the first leaf from the left that is not ruled out: each comparison only rules out what it leaves to its left."""
    ruled_out: NDArray[np.intp] = np.arange(1 << len(leaves))
    values = np.zeros(len(ruled_out), dtype=np.float32)
    for leaf in reversed(range(len(leaves))):
        values[(ruled_out >> leaf) & 1 == 0] = leaves[leaf]
    return values


def _logistic() -> onnx.ModelProto:
    """ONNX Runtime's own logistic function, as it applies it to trees: numpy's exponential differs in the last bit."""
    node = helper.make_node(
        "LinearClassifier",
        ["sums"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        classlabels_ints=[0, 1],
        coefficients=[1.0],
        intercepts=[0.0],
        post_transform="LOGISTIC",
    )
    sums, probabilities = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width])
        for name, width in (("sums", 1), ("probabilities", 2))
    )
    graph = helper.make_graph([node], "logistic", [sums], [probabilities])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)
