"""Engineered columns, written once and run twice: by numpy in training, and as nodes of the exported graph.

Trees compare with `<=`, so a column that differs in its last bit moves rows to the other side of a split. What trees see is made
of operations that IEEE 754 rounds alike everywhere; columns that need a logarithm go to the linear model alone.
"""

import inspect
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, TransformerMixin

from app.bundle import sha256
from app.contract import FEATURES
from training.prepare import outlier_fences

Matrix = NDArray[np.float32]
Labels = NDArray[np.bool_]
INDEX = {field.name: i for i, field in enumerate(FEATURES)}
NUMBERS = [i for i, field in enumerate(FEATURES) if not field.values]
OPTIONAL = [i for i, field in enumerate(FEATURES) if not field.required]
ADD_ONS = [i for i, field in enumerate(FEATURES) if "no-internet-service" in field.categories]
# Where the price lists of phone only, DSL, fiber and fiber with everything begin and end in the public table.
PRICE_STEPS_USD = (25, 65, 95)


class Column(Protocol):
    """Float32 columns, as numbers or as a node of a graph: the arithmetic that both have."""

    def __add__(self, other: Any, /) -> Self: ...
    def __sub__(self, other: Any, /) -> Self: ...
    def __mul__(self, other: Any, /) -> Self: ...
    def __truediv__(self, other: Any, /) -> Self: ...


C = TypeVar("C", bound=Column)


class Operations(Protocol[C]):
    """What the engineered columns need beyond arithmetic; `columns` has shape (n, k), all else (n, 1)."""

    def columns(self, indices: list[int]) -> C: ...
    def log(self, column: C) -> C: ...
    def at_least(self, column: C, bound: float) -> C: ...
    def equal(self, column: C, value: float) -> C: ...
    def missing(self, column: C) -> C: ...
    def total(self, columns: C) -> C: ...


def exact_columns(ops: Operations[C]) -> list[C]:
    """For every model: what last months cost above the average month in USD (NaN if unknown), and how many add-ons are taken."""
    tenure, monthly, total = (ops.columns([INDEX[n]]) for n in ("tenure_months", "monthly_charges_usd", "total_charges_usd"))
    return [monthly - total / ops.at_least(tenure, 1), ops.total(ops.equal(ops.columns(ADD_ONS), 1))]


def linear_columns(ops: Operations[C]) -> list[C]:
    """For the linear model: the interactions that trees find themselves, and again weighted by the share of unknown fields.

    The second set gives a customer of whom only the required fields are known slopes of its own.
    """
    monthly = ops.columns([INDEX["monthly_charges_usd"]])
    log_tenure = ops.log(ops.columns([INDEX["tenure_months"]]) + 1)
    monthly_contract = ops.equal(ops.columns([INDEX["contract"]]), 0)
    electronic_check = ops.equal(ops.columns([INDEX["payment_method"]]), 0)
    unknown = ops.total(ops.missing(ops.columns(OPTIONAL))) * (1 / len(OPTIONAL))
    slopes = [log_tenure, log_tenure * monthly, monthly_contract * log_tenure, monthly_contract * monthly]
    above = [ops.at_least(monthly - step, 0) for step in PRICE_STEPS_USD]
    return [*slopes, *(unknown * c for c in [*slopes, monthly, monthly_contract, electronic_check, *above])]


class _Numbers:
    """Operations on a matrix (n, features)."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix

    def columns(self, indices: list[int]) -> Matrix:
        return self.matrix[:, indices]

    def log(self, column: Matrix) -> Matrix:
        return np.log(column)

    def at_least(self, column: Matrix, bound: float) -> Matrix:
        return np.maximum(column, np.float32(bound))

    def equal(self, column: Matrix, value: float) -> Matrix:
        return (column == value).astype(np.float32)

    def missing(self, column: Matrix) -> Matrix:
        return np.isnan(column).astype(np.float32)

    def total(self, columns: Matrix) -> Matrix:
        return columns.sum(axis=1, keepdims=True)


class _Node:
    """A tensor of the graph under construction."""

    def __init__(self, graph: "_Graph", name: str) -> None:
        self.graph, self.name = graph, name

    def __add__(self, other: Any, /) -> "_Node":
        return self.graph.node("Add", self, other)

    def __sub__(self, other: Any, /) -> "_Node":
        return self.graph.node("Sub", self, other)

    def __mul__(self, other: Any, /) -> "_Node":
        return self.graph.node("Mul", self, other)

    def __truediv__(self, other: Any, /) -> "_Node":
        return self.graph.node("Div", self, other)


class _Graph:
    """The same operations as nodes appended to skl2onnx's container."""

    def __init__(self, scope: Any, container: Any, matrix: str) -> None:
        self._scope, self._container, self.matrix = scope, container, matrix

    def node(self, kind: str, *inputs: "_Node | float | Matrix", **attributes: int) -> _Node:
        names = [i.name if isinstance(i, _Node) else self.constant(i) for i in inputs]
        output = self._scope.get_unique_variable_name(kind.lower())
        self._container.add_node(kind, names, output, name=self._scope.get_unique_operator_name(kind), **attributes)
        return _Node(self, output)

    def constant(self, value: float | Matrix, kind: int = TensorProto.FLOAT) -> str:
        name = self._scope.get_unique_variable_name("constant")
        array = np.asarray(value)
        self._container.add_initializer(name, kind, list(array.shape), array.ravel().tolist())
        return name

    def columns(self, indices: list[int]) -> _Node:
        positions = _Node(self, self.constant(np.asarray(indices), TensorProto.INT64))
        return self.node("Gather", _Node(self, self.matrix), positions, axis=1)

    def log(self, column: _Node) -> _Node:
        return self.node("Log", column)

    def at_least(self, column: _Node, bound: float) -> _Node:
        return self.node("Max", column, bound)

    def equal(self, column: _Node, value: float) -> _Node:
        return self.node("Cast", self.node("Equal", column, value), to=TensorProto.FLOAT)

    def missing(self, column: _Node) -> _Node:
        return self.node("Cast", self.node("IsNaN", column), to=TensorProto.FLOAT)

    def total(self, columns: _Node) -> _Node:
        axis = _Node(self, self.constant(np.asarray([1]), TensorProto.INT64))
        return self.node("ReduceSum", columns, axis, keepdims=1)


EXACT_COUNT = len(FEATURES) + len(exact_columns(_Numbers(np.zeros((1, len(FEATURES)), np.float32))))
LINEAR_COUNT = len(linear_columns(_Numbers(np.zeros((1, len(FEATURES)), np.float32))))
CATEGORICAL = [i for i, field in enumerate(FEATURES) if field.values]
NUMERIC = [*NUMBERS, *range(len(FEATURES), EXACT_COUNT + LINEAR_COUNT)]
EXACT = list(range(EXACT_COUNT))


class Engineer(TransformerMixin, BaseEstimator):
    """The contract's columns with outliers drawn in to the training rows' fences, then the exact and the linear columns.

    Input (n, features) and output (n, EXACT_COUNT + LINEAR_COUNT) are float32; NaN stays NaN. For a model that reads no `linear`
    columns they are left out: for one customer, making them takes longer than two hundred trees.
    """

    def __init__(self, *, linear: bool = True) -> None:
        self.linear = linear

    def columns(self, ops: Operations[C], inside: C) -> list[C]:
        """The columns of the output, side by side; `ops` and `inside` hold the contract's columns within the fences."""
        return [inside, *exact_columns(ops), *(linear_columns(ops) if self.linear else [])]

    def fit(self, matrix: Matrix, churned: object = None) -> Self:
        """Learn the fences, each (features,); `churned` is scikit-learn's convention and not read."""
        del churned
        fences = np.tile(np.array([[-np.inf], [np.inf]], dtype=np.float32), len(FEATURES))
        fences[:, NUMBERS] = outlier_fences(matrix)
        self.low_, self.high_ = fences
        return self

    def transform(self, matrix: Matrix) -> Matrix:
        """Shape (n, EXACT_COUNT + LINEAR_COUNT), or (n, EXACT_COUNT) without the linear columns."""
        inside = np.minimum(np.maximum(matrix.astype(np.float32), self.low_), self.high_)
        return np.hstack(self.columns(_Numbers(inside), inside))


def features_digest() -> str:
    """sha256 of this module's source: another way to engineer columns is a minor version."""
    return sha256(inspect.getsource(inspect.getmodule(features_digest) or Engineer).encode())


def _parse(scope: Any, fitted: Engineer, inputs: list[Any], custom_parsers: object = None) -> list[Any]:
    """Declare the output with its width: the column transformers behind it address columns by position."""
    del custom_parsers
    operator = scope.declare_local_operator(_ALIAS, fitted)
    operator.inputs = inputs
    count = EXACT_COUNT + LINEAR_COUNT * fitted.linear
    operator.outputs.append(scope.declare_local_variable("engineered", FloatTensorType([None, count])))
    return operator.outputs


def _shape(operator: Any) -> None:
    """Nothing left to infer: `_parse` declared it."""


def _convert(scope: Any, operator: Any, container: Any) -> None:
    fitted: Engineer = operator.raw_operator
    graph = _Graph(scope, container, operator.inputs[0].full_name)
    inside = graph.node("Min", graph.node("Max", _Node(graph, graph.matrix), fitted.low_[None, :]), fitted.high_[None, :])
    columns = fitted.columns(_Graph(scope, container, inside.name), inside)
    container.add_node(
        "Concat", [c.name for c in columns], operator.outputs[0].full_name, name=scope.get_unique_operator_name("Concat"), axis=1
    )


_ALIAS = "ChurnEngineer"
update_registered_converter(Engineer, _ALIAS, _shape, _convert, parser=_parse)
