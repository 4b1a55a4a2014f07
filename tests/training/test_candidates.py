"""The competing models: exported without a difference, usable with four fields, seeded."""

from collections.abc import Callable

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from sklearn.pipeline import Pipeline

from tests.training.models import QUICK, fitted, matrices, small_table
from tests.training.test_features import FENCES
from training.bundle import PARITY_TOLERANCE, Scorer, export, parity
from training.candidates import CANDIDATES, ENSEMBLE, SINGLE, fit, vote_params
from training.data import Table, load_table
from training.features import INDEX, Engineer, Matrix
from training.prepare import required_only
from training.sample import sample

NAMES = [one.name for one in CANDIDATES]


@pytest.fixture(scope="module")
def scorer() -> Callable[[str], Scorer]:
    made: dict[str, Scorer] = {}
    return lambda name: made.setdefault(name, made.get(name) or Scorer(export(fitted(name))))


@pytest.mark.parametrize("name", NAMES)
@given(matrices(FENCES))
@settings(max_examples=40)
def test_whatever_the_contract_allows_the_graph_answers_as_the_pipeline(
    scorer: Callable[[str], Scorer], name: str, matrix: Matrix
):
    assert parity(fitted(name), scorer(name), matrix) <= PARITY_TOLERANCE


@pytest.mark.parametrize("candidate", CANDIDATES, ids=NAMES)
def test_on_every_telco_row_the_graph_answers_as_the_pipeline(candidate, telco_csv):
    table = load_table(str(telco_csv))
    pipeline = fit(candidate, QUICK[candidate.name], table.matrix, table.churned, 0)
    assert parity(pipeline, Scorer(export(pipeline)), table.matrix) <= PARITY_TOLERANCE


@pytest.mark.parametrize("candidate", CANDIDATES, ids=NAMES)
def test_a_table_without_any_optional_field_makes_a_model_that_exports(candidate):
    table = small_table()
    pipeline = fit(candidate, QUICK[candidate.name], required_only(table.matrix), table.churned, 0)
    assert parity(pipeline, Scorer(export(pipeline)), table.matrix) <= PARITY_TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_makes_the_same_model_to_the_byte(name: str):
    [candidate] = [one for one in CANDIDATES if one.name == name]
    again = fit(candidate, QUICK[name], small_table().matrix, small_table().churned, 0)
    assert export(again) == export(fitted(name))


@pytest.mark.parametrize("candidate", SINGLE, ids=NAMES[:3])
def test_the_masked_copy_calibrates_the_answers_to_four_fields(candidate):
    # Apart from the small table: four figures of a thousandth need rows.
    table = Table(sample(8000, 1)[0])
    rate = table.churned.mean()
    view = required_only(table.matrix)
    with sklearn.config_context(enable_metadata_routing=True):
        complete = Pipeline([("engineer", Engineer()), ("model", candidate.model(QUICK[candidate.name], 0))])
        complete.fit(np.nan_to_num(table.matrix), table.churned, sample_weight=np.ones(8000))
    ours = fit(candidate, QUICK[candidate.name], table.matrix, table.churned, 0)
    assert abs(ours.predict_proba(view)[:, 1].mean() - rate) < 0.01
    assert abs(ours.predict_proba(table.matrix)[:, 1].mean() - rate) < 0.01
    # Fitted on complete rows alone, a linear model and boosting promise far too few churners, and a forest too many.
    assert abs(complete.predict_proba(view)[:, 1].mean() - rate) > 0.02


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_tenure_lowers_and_a_monthly_contract_raises_the_probability_on_average(name: str):
    def mean(**changed: float) -> float:
        matrix = small_table().matrix
        for field, value in changed.items():
            matrix[:, INDEX[field]] = value
        return float(fitted(name).predict_proba(matrix)[:, 1].mean())

    assert mean(tenure_months=2) > mean(tenure_months=60) + 0.05
    assert mean(contract=0) > mean(contract=2) + 0.05


@pytest.mark.parametrize("name", NAMES)
def test_an_outlier_counts_as_the_fence_that_it_is_beyond(name: str):
    matrix = small_table().matrix[:20]
    matrix[:, INDEX["monthly_charges_usd"]] = 9_000
    further = matrix.copy()
    further[:, INDEX["monthly_charges_usd"]] = 10_000
    np.testing.assert_array_equal(fitted(name).predict_proba(matrix), fitted(name).predict_proba(further))


def test_the_vote_is_the_mean_of_its_legs_with_their_own_parameters():
    legs = [fitted(one.name).predict_proba(small_table().matrix) for one in SINGLE]
    np.testing.assert_allclose(fitted(ENSEMBLE.name).predict_proba(small_table().matrix), np.mean(legs, axis=0), atol=1e-12)
    assert vote_params(QUICK)["random-forest.n_estimators"] == 8
