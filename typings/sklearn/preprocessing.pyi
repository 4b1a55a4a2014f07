from collections.abc import Sequence
from typing import Self

from sklearn.base import BaseEstimator

class OneHotEncoder(BaseEstimator):
    def __init__(self, *, categories: Sequence[Sequence[float]], sparse_output: bool, dtype: str) -> None: ...

class StandardScaler(BaseEstimator):
    def set_fit_request(self, *, sample_weight: bool) -> Self: ...
