"""The one rule that turns a probability into a decision, and both into money."""

from typing import Literal

from app.release import BusinessCase

Decision = Literal["offer", "none"]


def value_of_a_saved_customer_usd(case: BusinessCase) -> float:
    """What a customer who stays brings over the case's horizon."""
    return case.margin_usd_per_month * case.horizon_months


def expected_value_usd(case: BusinessCase, churn_probability: float) -> float:
    """What making the offer is worth: a loss below the break-even, a gain above it."""
    return churn_probability * case.offer_acceptance * value_of_a_saved_customer_usd(case) - case.offer_cost_usd


def break_even(case: BusinessCase) -> float:
    """The churn probability at which an offer is worth nothing; above 1 no offer ever pays."""
    return case.offer_cost_usd / (case.offer_acceptance * value_of_a_saved_customer_usd(case))


def decide(threshold: float, churn_probability: float) -> Decision:
    """`offer` from the threshold up."""
    return "offer" if churn_probability >= threshold else "none"
