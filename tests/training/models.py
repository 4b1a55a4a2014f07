"""Models that fit in a moment, and matrices as the contract allows them."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st
from sklearn.pipeline import Pipeline

from app.contract import FEATURES, Field
from training.bundle import contents
from training.candidates import CANDIDATES, fit, vote_params
from training.data import Table
from training.features import Matrix
from training.sample import sample

_LEGS: dict[str, dict[str, float]] = {
    "logistic-regression": {"C": 0.1},
    "random-forest": {"n_estimators": 8, "min_samples_leaf": 10, "max_features": 0.3},
    "histogram-gradient-boosting": {"learning_rate": 0.1, "max_iter": 20, "max_leaf_nodes": 6, "l2_regularization": 10},
}
QUICK = {**_LEGS, "soft-vote": vote_params(_LEGS)}


@cache
def small_table() -> Table:
    """600 customers with missing values and outliers."""
    return Table(sample(600, 3)[0])


@cache
def fitted(name: str) -> Pipeline:
    """The candidate of that name, fitted on the small table."""
    [candidate] = [one for one in CANDIDATES if one.name == name]
    return fit(candidate, QUICK[name], small_table().matrix, small_table().churned, 0)


@cache
def quick_contents(name: str, card: str = "# Card") -> dict[str, bytes]:
    """The files of that candidate's bundle."""
    matrix = small_table().matrix
    data_digest = small_table().data_digest
    return contents(fitted(name), matrix, matrix, data_digest=data_digest, algorithm=name, seed=0, card=card)


def matrices(also: Sequence[Sequence[float]] = ()) -> st.SearchStrategy[Matrix]:
    """Matrices (n, features) of values in the contract's range; `also` are values for each field to meet often."""
    columns = [_values(field, also[i] if also else ()) for i, field in enumerate(FEATURES)]
    return st.lists(st.tuples(*columns), min_size=1, max_size=12).map(lambda rows: np.array(rows, dtype=np.float32))


def _values(field: Field, also: Sequence[float]) -> st.SearchStrategy[Any]:
    low, high = (0, len(field.values) - 1) if field.values else (field.low or 0, field.high or 0)
    if field.kind == "number":
        allowed: st.SearchStrategy[float] = st.floats(low, high, width=32) | st.floats(0, 200, width=32)
    else:
        allowed = st.integers(int(low), int(high)).map(float)
    often = [value for value in also if low <= value <= high]
    allowed = allowed | st.sampled_from(often) if often else allowed
    return allowed if field.required else st.just(float("nan")) | allowed
