from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

class ColumnTransformer(BaseEstimator):
    def __init__(
        self,
        transformers: Sequence[
            tuple[str, BaseEstimator | Literal["passthrough"], Sequence[int] | Callable[[NDArray[np.float32]], Sequence[int]]]
        ],
    ) -> None: ...
