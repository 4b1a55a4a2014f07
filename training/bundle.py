"""From a fitted pipeline to a bundle in the store, its parity with the pipeline proven on the way."""

import json
import math
import platform
import tempfile
import warnings
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
from sklearn.pipeline import Pipeline

from app.bundle import (
    MANIFEST,
    MODEL_INPUT,
    MODEL_OUTPUT,
    SCORE_BIN_EDGES,
    SCORE_BINS,
    Bundle,
    BundleError,
    Golden,
    Manifest,
    Reference,
    Shares,
    fetch_bundle,
    sha256,
)
from app.contract import CONTRACT_DIGEST, FEATURES, Customer, Field, binned
from training.features import Matrix, features_digest
from training.files import write_whole
from training.home import Home, ParityError
from training.prepare import required_only

PARITY_TOLERANCE = 1e-6
GOLDEN_ROWS = 32
OPSET = 18
VERSIONED = ("numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx")


class Scorer:
    """Churn probabilities (n,) float64 for a matrix (n, features), by the bundle's graph, as the service computes them."""

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, matrix: Matrix) -> NDArray[np.float64]:
        [probabilities] = self._session.run([MODEL_OUTPUT], {MODEL_INPUT: matrix})
        return probabilities.astype(np.float64)


def export(pipeline: Pipeline) -> bytes:
    """The pipeline as one ONNX graph from `customers` float32 (n, features) to `churn_probability` float32 (n,)."""
    inputs = [(MODEL_INPUT, FloatTensorType([None, len(FEATURES)]))]
    with warnings.catch_warnings():
        # The exporter of boosting hands protobuf booleans for integers, which version 6 still takes.
        warnings.filterwarnings("ignore", "Field onnx.AttributeProto.ints", DeprecationWarning)
        converted = to_onnx(pipeline, initial_types=inputs, options={"zipmap": False}, target_opset={"": OPSET, "ai.onnx.ml": 3})
    # The label and what computes it are left out: a decision is made from the probability, by the business case.
    [_, probabilities] = [output.name for output in converted.graph.output]
    model = select_model_inputs_outputs(converted, outputs=[probabilities])
    graph = model.graph
    graph.initializer.append(helper.make_tensor("churned_column", TensorProto.INT64, [], [1]))
    graph.node.append(helper.make_node("Gather", [probabilities, "churned_column"], [MODEL_OUTPUT], "churned", axis=1))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(MODEL_OUTPUT, TensorProto.FLOAT, [None]))
    used = {name for node in graph.node for name in node.input}
    for unused in [constant for constant in graph.initializer if constant.name not in used]:
        graph.initializer.remove(unused)
    # The exporter collects them in a set, whose order changes from process to process.
    imports = sorted(model.opset_import, key=lambda one: one.domain)
    del model.opset_import[:]
    model.opset_import.extend(imports)
    onnx.checker.check_model(model, full_check=True)  # pyright: ignore[reportUnknownMemberType]  # a bare PathLike in its stub
    return model.SerializeToString(deterministic=True)


def parity(pipeline: Pipeline, scorer: Scorer, matrix: Matrix) -> float:
    """The largest difference between pipeline and graph over all rows, with all fields and with the required ones only."""
    views = (matrix, required_only(matrix))
    return max(float(np.abs(scorer(view) - pipeline.predict_proba(view)[:, 1]).max()) for view in views)


def contents(
    pipeline: Pipeline, fitted_on: Matrix, every_row: Matrix, *, data_digest: str, algorithm: str, seed: int, card: str
) -> dict[str, bytes]:
    """The bundle's files by name. Raises ParityError if pipeline and graph differ on any of `every_row` by more than 1e-6."""
    model = export(pipeline)
    scorer = Scorer(model)
    if (difference := parity(pipeline, scorer, every_row)) > PARITY_TOLERANCE:
        raise ParityError(
            f"the exported {algorithm} differs from the fitted one by {difference:.1e}; at most {PARITY_TOLERANCE} may be served"
        )
    files = {
        "model.onnx": model,
        "golden.json": _json(_golden(pipeline, fitted_on)),
        "reference.json": _json(_reference(scorer, fitted_on)),
        "card.md": card.encode(),
    }
    manifest = Manifest(
        contract_digest=CONTRACT_DIGEST,
        data_digest=data_digest,
        algorithm=algorithm,
        features_digest=features_digest(),
        seed=seed,
        rows=len(fitted_on),
        # Three digits: threads sum a forest's trees in any order, which moves the last ones.
        parity_max_abs=float(f"{difference:.2e}"),
        versions={"python": platform.python_version(), **{name: version(name) for name in VERSIONED}},
        files={name: sha256(content) for name, content in files.items()},
    )
    return {**files, MANIFEST: _json(manifest)}


def write_bundle(files: dict[str, bytes], home: Home) -> Bundle:
    """The bundle, written whole under its digest below `home`. The same bundle twice is one; a damaged one is replaced."""
    digest = sha256(files[MANIFEST])
    folder = home.bundle(digest)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as name:
        whole = Path(name) / digest
        whole.mkdir()
        for file, content in files.items():
            write_whole(whole / file, content)
        with suppress(BundleError):
            return fetch_bundle(home.bundles_url, digest)
        if folder.exists():
            folder.rename(Path(name) / "damaged")
        whole.rename(folder)
    return fetch_bundle(home.bundles_url, digest)


def _golden(pipeline: Pipeline, matrix: Matrix) -> Golden:
    # Every other one as a client with four fields would send it, so that missing values are proven too.
    rows = matrix[np.linspace(0, len(matrix) - 1, GOLDEN_ROWS).astype(np.intp)]
    rows[1::2] = required_only(rows[1::2])
    probabilities = np.round(pipeline.predict_proba(rows)[:, 1], 9).tolist()
    return Golden(customers=customers_of(rows), churn_probabilities=probabilities, tolerance=PARITY_TOLERANCE)


def customers_of(matrix: Matrix) -> list[Customer]:
    """The records whose matrix (n, features) this is, without ids."""
    return [
        msgspec.convert({f.name: _value(f, v) for f, v in zip(FEATURES, row, strict=True)}, Customer) for row in matrix.tolist()
    ]


def _value(field: Field, number: float) -> object:
    if math.isnan(number):
        return None
    if field.values:
        return field.values[int(number)]
    # As people write it: 74.55 is the same float32 as 74.55000305175781.
    return int(number) if field.kind == "integer" else float(str(np.float32(number)))


def _reference(scorer: Scorer, matrix: Matrix) -> Reference:
    bins = binned(matrix)
    fields = {
        field.name: Shares(bins=list(field.bins), shares=_shares(bins[:, i], len(field.bins))) for i, field in enumerate(FEATURES)
    }
    scores = np.searchsorted(SCORE_BIN_EDGES, scorer(matrix), side="right")
    return Reference(fields=fields, churn_probability=Shares(bins=list(SCORE_BINS), shares=_shares(scores, len(SCORE_BINS))))


def _shares(bins: NDArray[np.intp], count: int) -> list[float]:
    return (np.bincount(bins, minlength=count) / len(bins)).tolist()


def _json(content: msgspec.Struct) -> bytes:
    return json.dumps(msgspec.to_builtins(content), sort_keys=True, indent=1, allow_nan=False).encode()
