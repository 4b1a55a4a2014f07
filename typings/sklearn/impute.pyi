from typing import Literal

from sklearn.base import BaseEstimator

class SimpleImputer(BaseEstimator):
    def __init__(
        self, *, strategy: Literal["median", "constant"], fill_value: float | None = None, keep_empty_features: bool = False
    ) -> None: ...
