import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.decide import break_even, decide, expected_value_usd, value_of_a_saved_customer_usd
from app.release import BusinessCase

cases = st.builds(
    BusinessCase,
    offer_cost_usd=st.floats(0.01, 1e4),
    offer_acceptance=st.floats(0.001, 1),
    margin_usd_per_month=st.floats(0.01, 1e4),
    horizon_months=st.integers(1, 120),
)
probabilities = st.floats(0, 1)


def test_the_default_case_in_money():
    case = BusinessCase(offer_cost_usd=60, offer_acceptance=0.35, margin_usd_per_month=40, horizon_months=12)
    assert value_of_a_saved_customer_usd(case) == 480
    assert break_even(case) == pytest.approx(60 / 168)
    assert expected_value_usd(case, 0.5) == pytest.approx(24)
    assert expected_value_usd(case, 0) == -60


@given(cases, probabilities)
def test_an_offer_is_made_exactly_where_it_is_worth_something(case: BusinessCase, probability: float):
    worth = expected_value_usd(case, probability)
    tolerance = 1e-9 * case.offer_cost_usd
    if worth > tolerance:
        assert decide(break_even(case), probability) == "offer"
    elif worth < -tolerance:
        assert decide(break_even(case), probability) == "none"


@given(cases)
def test_at_the_break_even_an_offer_is_worth_nothing_and_is_made(case: BusinessCase):
    at = break_even(case)
    assert expected_value_usd(case, at) == pytest.approx(0, abs=1e-9 * case.offer_cost_usd)
    assert decide(at, at) == "offer"


@given(cases, probabilities, probabilities)
def test_a_likelier_loss_is_worth_more_to_prevent(case: BusinessCase, one: float, other: float):
    low, high = sorted((one, other))
    assert expected_value_usd(case, low) <= expected_value_usd(case, high)
