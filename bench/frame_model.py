"""The model as a notebook would log it: a frame of the contract's fields in, probabilities out."""

from typing import Any

import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from training.data import matrix_of, typed
from training.validate import LABEL


class FrameModel(PythonModel):
    """The fitted pipeline behind MLflow's own interface."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> NDArray[np.float64]:  # pyright: ignore[reportIncompatibleMethodOverride]  # MLflow's stub says None
        """Churn probabilities (n,)."""
        del context, params
        return self._pipeline.predict_proba(matrix_of(typed(model_input.assign(**{LABEL: False}))))[:, 1]
