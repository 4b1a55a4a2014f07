"""The interval that may be looked at every day."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.experiment import EXPERIMENTS, looks, said
from training.sequential import MIN_CUSTOMERS, MOST_CUSTOMERS, Difference, Sample, difference, more_customers, ratio_p_value

samples = st.builds(Sample, st.integers(0, 10**7), st.floats(-1e6, 1e6), st.floats(0, 1e9))
large = st.builds(Sample, st.integers(MIN_CUSTOMERS, 10**7), st.floats(-1e6, 1e6), st.floats(1e-3, 1e9))


@pytest.mark.parametrize("churn_rate", [0.02, 0.1, 0.265])
@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("customers_a_day", [40, 500])
def test_looking_every_day_for_half_a_year_finds_what_is_not_there_in_at_most_one_of_twenty(
    churn_rate: float, share: float, customers_a_day: int
):
    assert EXPERIMENTS == 2000
    found = looks(np.random.default_rng(3), (churn_rate, churn_rate), share, customers_a_day)
    assert said((found.low > 0) | (found.high < 0)) <= 0.05


def test_the_usual_interval_would_not_pass_that_test():
    found = looks(np.random.default_rng(3), (0.265, 0.265), 0.5)
    total = np.arange(1, found.value.shape[1] + 1) * 500
    usual = 1.96 * 2 * math.sqrt(480**2 * 0.265 * 0.735) / np.sqrt(total)
    assert said(np.abs(found.value) > usual) > 0.3


def test_the_true_difference_stays_inside_at_all_looks_in_nineteen_of_twenty():
    found = looks(np.random.default_rng(4), (0.3, 0.2), 0.2)
    assert said((found.low > 48) | (found.high < 48)) <= 0.05


def test_a_difference_that_is_there_is_found_and_hardly_ever_the_wrong_way_round():
    found = looks(np.random.default_rng(5), (0.265, 0.235), 0.5)
    assert said((found.low > 0)[:, :80]) > 0.95
    assert said(found.high < 0) < 0.005


def ends(found: Difference) -> tuple[float, float, float]:
    return float(found.value), float(found.low), float(found.high)


@given(samples, samples)
def test_the_interval_holds_the_difference_and_is_the_same_seen_from_the_other_side(one: Sample, other: Sample):
    value, low, high = ends(difference(one, other))
    assert low <= value <= high
    assert ends(difference(other, one)) == pytest.approx((-value, -high, -low))
    enough = min(int(np.asarray(each.customers)) for each in (one, other)) >= MIN_CUSTOMERS
    assert math.isfinite(low) is math.isfinite(high) is enough


@given(large, large, st.integers(2, 50))
def test_more_customers_of_the_same_narrow_the_interval(one: Sample, other: Sample, times: int):
    more = [each._replace(customers=int(np.asarray(each.customers)) * times) for each in (one, other)]
    before, after = difference(one, other), difference(*more)
    assert float(after.high - after.low) < float(before.high - before.low)


@given(large, large, st.floats(0.01, 100))
def test_another_currency_changes_the_figures_and_not_what_they_say(one: Sample, other: Sample, rate: float):
    abroad = [Sample(x.customers, np.asarray(x.mean) * rate, np.asarray(x.variance) * rate**2) for x in (one, other)]
    here, there = ends(difference(one, other)), ends(difference(*abroad))
    assert there == pytest.approx([each * rate for each in here], rel=1e-6, abs=1e-6 * rate)


def test_a_variant_that_has_seen_no_leaver_yet_is_not_taken_for_sure():
    champion, challenger = Sample(900, 480 * 0.98, 480**2 * 0.98 * 0.02), Sample(100, 480.0, 0.0)
    low, high = ends(difference(champion, challenger))[1:]
    assert low < 0 < high


@given(large, large)
def test_with_as_many_more_customers_as_are_named_it_is_decided_and_not_long_before(one: Sample, other: Sample):
    total = int(np.asarray(one.customers)) + int(np.asarray(other.customers))
    named = more_customers(one, other)
    wanted = MOST_CUSTOMERS if named is None else total + named

    def decided(customers: float) -> bool:
        grown = [each._replace(customers=np.asarray(each.customers) * (customers / total)) for each in (one, other)]
        _, low, high = ends(difference(*grown))
        return low > 0 or high < 0

    assert decided(wanted * 1.001) or named is None
    assert named == 0 or not decided(max(total, wanted * 0.99))


@pytest.mark.parametrize(("apart", "p_value"), [(0, 1.0), (196, 0.05), (258, 0.01), (329, 0.001)])
def test_the_sizes_are_judged_by_the_chi_square_test(apart: int, p_value: float):
    assert ratio_p_value((5000 + apart // 2, 5000 - apart // 2), (50, 50)) == pytest.approx(p_value, rel=0.05)
    assert ratio_p_value((9000 + apart, 1000 - apart), (90, 10)) <= p_value
    # Too few to say.
    assert ratio_p_value((40, 0), (90, 10)) == 1


def test_without_customers_the_sizes_are_as_good_as_any():
    assert ratio_p_value((0, 0), (90, 10)) == 1
