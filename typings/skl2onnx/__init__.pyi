from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onnx import ModelProto
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator

def to_onnx(
    model: BaseEstimator,
    *,
    initial_types: Sequence[tuple[str, FloatTensorType]],
    options: Mapping[str, object],
    target_opset: Mapping[str, int],
) -> ModelProto: ...
def update_registered_converter(
    model: type[BaseEstimator],
    alias: str,
    shape_fct: Callable[[Any], None],
    convert_fct: Callable[[Any, Any, Any], None],
    *,
    parser: Callable[[Any, Any, list[Any], object], list[Any]],
) -> None: ...
