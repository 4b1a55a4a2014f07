from collections.abc import Sequence

from onnx import ModelProto

def select_model_inputs_outputs(model: ModelProto, outputs: Sequence[str]) -> ModelProto: ...
