from typing import Literal

from sklearn.base import Classifier

class LogisticRegression(Classifier):
    def __init__(self, *, C: float, solver: Literal["newton-cholesky"], max_iter: int, random_state: int) -> None: ...
