"""How to train, apart from the table."""

from typing import Literal

import msgspec

from app.release import BusinessCase

Algorithm = Literal["logistic-regression", "random-forest", "histogram-gradient-boosting", "soft-vote"]
Strategy = Literal["optuna", "grid", "random"]
Measure = Literal["auc", "profit"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`trials` are for each model; `measure` is what they are compared by; `only` is shipped whatever the comparison says."""

    seed: int = 0
    strategy: Strategy = "optuna"
    trials: int = 8
    measure: Measure = "auc"
    case: BusinessCase = BusinessCase()
    only: Algorithm | None = None
