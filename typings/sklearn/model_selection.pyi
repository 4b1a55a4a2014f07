from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

class RepeatedStratifiedKFold:
    def __init__(self, *, n_splits: int, n_repeats: int, random_state: int) -> None: ...
    def split(self, X: NDArray[np.float32], y: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]: ...
