"""The search for parameters, and the rule that chooses among the candidates."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.metrics import roc_auc_score

from app.release import BusinessCase
from tests.training.models import QUICK, small_table
from training.candidates import BOOSTING, CANDIDATES, FOREST, LINEAR, Candidate
from training.search import FOLDS, FoldScores, choose, cross_validate, folds, score, search, standard_error, vote
from training.settings import Measure, Strategy

NAMES = [one.name for one in CANDIDATES]
STRATEGIES = ("optuna", "grid", "random")


# As many parameters as a forest, and no time to fit.
BLIND_FOREST = replace(FOREST, model=lambda _params, _seed: DummyClassifier().set_fit_request(sample_weight=True))


def scores(auc: list[float], profit: list[float] | None = None) -> FoldScores:
    own = np.array(auc)
    gain = own if profit is None else np.array(profit)
    return FoldScores(own, own, gain, bias=0, required_fields_bias=0, fit_seconds=0)


def found(candidate: Candidate, strategy: Strategy, trials: int, seed: int = 0) -> list[Any]:
    table = small_table()
    return list(search(candidate, table.matrix, table.churned, strategy=strategy, trials=trials, seed=seed))


def test_the_simplest_within_one_standard_error_of_the_best_is_chosen():
    far = scores([0.80, 0.81, 0.79, 0.80, 0.80])
    # 0.002 behind the best on average, and by 0.01 back and forth: no telling them apart.
    close = scores([0.838, 0.848, 0.838, 0.848, 0.838])
    best = scores([0.848, 0.842, 0.844, 0.842, 0.844])
    assert choose({NAMES[0]: far, NAMES[1]: close, NAMES[2]: best}, "auc") == NAMES[1]


def test_a_small_difference_that_every_fold_shows_counts():
    best = scores([0.80, 0.85, 0.83, 0.81, 0.84])
    behind = scores([0.799, 0.849, 0.829, 0.809, 0.839])
    assert choose({NAMES[0]: behind, NAMES[3]: best}, "auc") == NAMES[3]


def test_by_profit_another_model_may_be_chosen():
    steady, rich = scores([0.85] * 5, [5.0] * 5), scores([0.80] * 5, [9.0, 9.1, 9.2, 9.1, 9.0])
    by: list[Measure] = ["auc", "profit"]
    assert [choose({NAMES[0]: steady, NAMES[2]: rich}, measure) for measure in by] == [NAMES[0], NAMES[2]]


@given(st.lists(st.lists(st.floats(0.5, 1), min_size=5, max_size=5), min_size=4, max_size=4), st.integers(0, 3))
def test_the_choice_is_close_to_the_best_and_nothing_simpler_is(auc: list[list[float]], start: int):
    table = {name: scores(own) for name, own in zip(NAMES[start:], auc, strict=False)}
    chosen = choose(table, "auc")
    best = max(table.values(), key=lambda own: own.auc.mean())
    close = [name for name, own in table.items() if (best.auc - own.auc).mean() <= standard_error(best.auc - own.auc)]
    assert chosen == close[0]


def test_the_standard_error_is_corrected_for_overlapping_training_rows():
    # The variance is 1: of ten folds' mean 1/10 by itself, and 1/4 for the rows that any two of them share.
    differences = np.array([1.0, -1.0] * 5) * np.sqrt(0.9)
    assert standard_error(differences) == pytest.approx(np.sqrt(0.1 + 0.25))
    assert standard_error(np.zeros(5)) == 0


def test_the_folds_are_stratified_hold_every_row_out_once_and_follow_the_seed():
    churned = small_table().churned
    dealt = list(folds(churned, seed=1, repeats=2))
    assert len(dealt) == 2 * FOLDS
    for fitted_on, rest in dealt:
        assert not {*fitted_on.tolist()} & {*rest.tolist()}
        assert churned[rest].mean() == pytest.approx(churned.mean(), abs=0.01)
    once = np.concatenate([rest for _, rest in dealt[:FOLDS]])
    np.testing.assert_array_equal(np.sort(once), np.arange(len(churned)))
    again, other = (next(folds(churned, seed=seed)) for seed in (1, 2))
    np.testing.assert_array_equal(again[1], dealt[0][1])
    assert not np.array_equal(other[1], again[1])


def test_the_scores_are_those_of_the_held_out_predictions_in_both_views():
    table = small_table()
    held_out = cross_validate(LINEAR, QUICK[LINEAR.name], table.matrix, table.churned, seed=3)
    own = score(held_out, BusinessCase())
    assert own.auc.tolist() == [roc_auc_score(fold.churned, fold.all_fields) for fold in held_out]
    assert own.required_fields_auc.tolist() == [roc_auc_score(fold.churned, fold.required_fields) for fold in held_out]
    assert own.required_fields_auc.tolist() != own.auc.tolist()
    assert 0.75 < own.auc.mean() < 0.95
    assert own.fit_seconds > 0
    assert own.bias == pytest.approx(np.mean([fold.all_fields.mean() - fold.churned.mean() for fold in held_out]))
    assert own.by("profit") is own.profit_usd_per_customer


def test_the_vote_of_the_folds_is_the_mean_of_the_legs():
    table = small_table()
    legs = [cross_validate(one, QUICK[one.name], table.matrix, table.churned, seed=3) for one in (LINEAR, BOOSTING)]
    for first, second, both in zip(*legs, vote(legs), strict=True):
        np.testing.assert_allclose(both.all_fields, (first.all_fields + second.all_fields) / 2)
        np.testing.assert_allclose(both.required_fields, (first.required_fields + second.required_fields) / 2)
        assert both.fit_seconds == first.fit_seconds + second.fit_seconds


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_makes_the_trials_asked_for_the_same_for_the_same_seed(strategy: Strategy):
    first, again, other = (found(LINEAR, strategy, 3, seed) for seed in (0, 0, 1))
    assert [(trial.params, trial.auc) for trial in first] == [(trial.params, trial.auc) for trial in again]
    assert [trial.params for trial in first] != [trial.params for trial in other]
    assert len({trial.params["C"] for trial in first}) == len(first) == 3
    for trial in first:
        assert trial.candidate == LINEAR.name
        assert LINEAR.space["C"].low <= trial.params["C"] <= LINEAR.space["C"].high
        assert 0.7 < trial.auc < 1


def test_parameters_lie_in_their_spans_and_whole_ones_are_whole():
    for strategy in ("grid", "random"):
        for trial in found(BLIND_FOREST, strategy, 2):
            for name, span in FOREST.space.items():
                assert span.low <= trial.params[name] <= span.high
                assert not span.whole or isinstance(trial.params[name], int)


def test_a_grid_visits_each_of_its_points_once_and_ends():
    visited = found(BLIND_FOREST, "grid", 9)
    points = {tuple(sorted(trial.params.items())) for trial in visited}
    # Nine trials are enough for two values of each of three parameters.
    assert len(visited) == len(points) == 8
    assert {trial.params["n_estimators"] for trial in visited} == {30, 60}


def test_a_grid_that_has_more_points_than_trials_is_cut_off_and_one_that_fits_exactly_is_whole():
    assert len(found(BLIND_FOREST, "grid", 1)) == 1
    assert {round(trial.params["C"], 3) for trial in found(LINEAR, "grid", 3)} == {0.003, 0.095, 3.0}


def test_a_grid_of_64_points_is_four_values_of_each_of_three_parameters():
    # A cube root that comes out as 3.9999999999999996 must not make it 27.
    points = [trial.params for trial in found(BLIND_FOREST, "grid", 64)]
    assert len(points) == 64
    assert {len({point[name] for point in points}) for name in FOREST.space} == {4}
