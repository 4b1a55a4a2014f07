from collections.abc import Sequence
from typing import Literal

from sklearn.base import Classifier

class HistGradientBoostingClassifier(Classifier):
    def __init__(
        self,
        *,
        learning_rate: float,
        max_iter: int,
        max_leaf_nodes: int,
        l2_regularization: float,
        min_samples_leaf: int,
        early_stopping: bool,
        random_state: int,
    ) -> None: ...

class RandomForestClassifier(Classifier):
    def __init__(
        self, *, n_estimators: int, min_samples_leaf: int, max_features: float, n_jobs: int, random_state: int
    ) -> None: ...

class VotingClassifier(Classifier):
    def __init__(
        self, estimators: Sequence[tuple[str, Classifier]], *, voting: Literal["soft"], flatten_transform: bool
    ) -> None: ...
