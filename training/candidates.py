"""The models that compete, simplest first, each as one pipeline from the contract's matrix to a probability."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from app.contract import FEATURES
from training.features import CATEGORICAL, EXACT, NUMERIC, Engineer, Labels, Matrix
from training.prepare import with_masked_copy
from training.settings import Algorithm

if TYPE_CHECKING:
    from sklearn.base import Classifier

Params = Mapping[str, float]
UNKNOWN = -1


@dataclass(frozen=True)
class Span:
    """The values that a parameter may take, both ends included; whole numbers if `whole`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Candidate:
    """A named model: the last step of the pipeline for some parameters, and the space that those come from.

    `linear` says whether it reads the linear columns.
    """

    name: Algorithm
    space: Mapping[str, Span]
    model: "Callable[[Params, int], Classifier]"
    linear: bool


def _linear(params: Params, seed: int) -> "Classifier":
    classifier = LogisticRegression(C=params["C"], solver="newton-cholesky", max_iter=200, random_state=seed)
    numbers = Pipeline(
        [("impute", SimpleImputer(strategy="median")), ("scale", StandardScaler().set_fit_request(sample_weight=False))]
    )
    levels = [[UNKNOWN, *range(len(FEATURES[i].values))] for i in CATEGORICAL]
    categories = Pipeline(
        [
            ("impute", SimpleImputer(strategy="constant", fill_value=UNKNOWN, keep_empty_features=True)),
            ("one_hot", OneHotEncoder(categories=levels, sparse_output=False, dtype="float64")),
        ]
    )
    return _leg(ColumnTransformer([("numbers", numbers, _known(NUMERIC)), ("categories", categories, CATEGORICAL)]), classifier)


def _forest(params: Params, seed: int) -> "Classifier":
    classifier = RandomForestClassifier(
        n_estimators=int(params["n_estimators"]),
        min_samples_leaf=int(params["min_samples_leaf"]),
        max_features=params["max_features"],
        n_jobs=1,
        random_state=seed,
    )
    # A forest with missing values of its own exports to a graph that answers differently, silently; hence imputed here.
    impute = SimpleImputer(strategy="constant", fill_value=UNKNOWN)
    return _leg(ColumnTransformer([("impute", impute, _known(EXACT))]), classifier)


def _boosting(params: Params, seed: int) -> "Classifier":
    classifier = HistGradientBoostingClassifier(
        learning_rate=params["learning_rate"],
        max_iter=int(params["max_iter"]),
        max_leaf_nodes=int(params["max_leaf_nodes"]),
        l2_regularization=params["l2_regularization"],
        min_samples_leaf=40,
        early_stopping=False,
        random_state=seed,
    )
    return _leg(ColumnTransformer([("exact", "passthrough", _known(EXACT))]), classifier)


def _known(columns: list[int]) -> Callable[[Matrix], list[int]]:
    """Those of the columns that have a value in any row fitted on: without one, no threshold can be found in a column."""
    return lambda rows: [i for i in columns if not np.isnan(rows[:, i]).all()]


def _leg(columns: ColumnTransformer, classifier: "Classifier") -> "Classifier":
    return Pipeline([("columns", columns), ("classifier", classifier.set_fit_request(sample_weight=True))])


LINEAR = Candidate("logistic-regression", {"C": Span(0.003, 3, log=True)}, _linear, linear=True)
FOREST = Candidate(
    "random-forest",
    {
        "n_estimators": Span(30, 60, whole=True),
        "min_samples_leaf": Span(5, 40, log=True, whole=True),
        "max_features": Span(0.1, 0.4),
    },
    _forest,
    linear=False,
)
BOOSTING = Candidate(
    "histogram-gradient-boosting",
    {
        "learning_rate": Span(0.02, 0.1, log=True),
        "max_iter": Span(80, 250, whole=True),
        "max_leaf_nodes": Span(4, 12, whole=True),
        "l2_regularization": Span(1, 100, log=True),
    },
    _boosting,
    linear=False,
)
SINGLE = (LINEAR, FOREST, BOOSTING)


def _vote(params: Params, seed: int) -> "Classifier":
    legs = [
        (one.name, one.model({key.removeprefix(f"{one.name}."): value for key, value in params.items()}, seed)) for one in SINGLE
    ]
    # The exporter knows the soft vote only without flattening.
    return VotingClassifier(legs, voting="soft", flatten_transform=False)


ENSEMBLE = Candidate("soft-vote", {}, _vote, linear=True)
# Simplest first: the order that the choice rule follows.
CANDIDATES = (*SINGLE, ENSEMBLE)


def vote_params(best: Mapping[str, Params]) -> Params:
    """The ensemble's parameters: those of its legs, each under its leg's name."""
    return {f"{one.name}.{key}": value for one in SINGLE for key, value in best[one.name].items()}


def fit(candidate: Candidate, params: Params, matrix: Matrix, churned: Labels, seed: int) -> Pipeline:
    """The fitted pipeline from (n, features) float32 to a probability; the masked copy is added here."""
    rows, labels, weights = with_masked_copy(matrix, churned)
    # Routing takes the weights through the vote and its legs to the classifiers. One thread for each fit: on tables of this
    # size several wait for each other ten times as long as they work.
    with sklearn.config_context(enable_metadata_routing=True), threadpool_limits(limits=1):
        pipeline = Pipeline([("engineer", Engineer(linear=candidate.linear)), ("model", candidate.model(params, seed))])
        return pipeline.fit(rows, labels, sample_weight=weights)
