from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, Classifier

class Pipeline(Classifier):
    def __init__(self, steps: Sequence[tuple[str, BaseEstimator]]) -> None: ...
    def fit(self, X: NDArray[np.float32], y: NDArray[np.bool_], *, sample_weight: NDArray[np.float64]) -> Self: ...
