from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.release import Variant
from app.split import assign
from tests.releases import make_variant

CHAMPION, CHALLENGER, THIRD = (make_variant(bundle_digest=letter * 64) for letter in "abc")
UNITS = [f"customer-{number}" for number in range(20_000)]


def weighted(*weights: int) -> list[Variant]:
    variants = (CHAMPION, CHALLENGER, THIRD)[: len(weights)]
    return [msgspec.structs.replace(v, weight_percent=weight) for v, weight in zip(variants, weights, strict=True)]


@given(st.text(), st.permutations(weighted(60, 30, 10)))
def test_a_customer_has_one_variant_whatever_the_order(unit: str, shuffled: list[Variant]):
    assert assign(shuffled, unit) == assign(weighted(60, 30, 10), unit)


def test_assignments_stay_what_they_are_across_processes_and_versions():
    drawn = "".join(assign(weighted(50, 30, 20), unit).bundle_digest[0] for unit in UNITS[:40])
    assert drawn == "aabbaabacbaaaacbcaabccacaabaabbaaabaaaab"


@pytest.mark.parametrize("weights", [(50, 50), (90, 10), (99, 1), (60, 30, 10)], ids=str)
def test_shares_follow_the_weights(weights: tuple[int, ...]):
    counts = Counter(assign(weighted(*weights), unit).bundle_digest for unit in UNITS)
    for variant in weighted(*weights):
        expected = variant.weight_percent / 100
        # Five standard errors of a share among 20,000.
        assert abs(counts[variant.bundle_digest] / len(UNITS) - expected) < 5 * (expected * (1 - expected) / len(UNITS)) ** 0.5


@given(st.text(), st.integers(1, 98))
def test_when_a_variant_gains_weight_customers_move_to_it_and_nowhere_else(unit: str, percent: int):
    before, after = assign(weighted(100 - percent, percent), unit), assign(weighted(99 - percent, percent + 1), unit)
    assert after.bundle_digest in {before.bundle_digest, CHALLENGER.bundle_digest}


@given(st.text())
def test_a_shadow_answers_nobody(unit: str):
    assert assign(weighted(0, 100), unit).bundle_digest == CHALLENGER.bundle_digest
    assert assign(weighted(50, 0, 50), unit).bundle_digest != CHALLENGER.bundle_digest


def test_one_percent_is_answered_by_the_one_who_has_it():
    assert assign(weighted(1), "anybody").bundle_digest == CHAMPION.bundle_digest
    assert {assign(weighted(99, 1), unit).bundle_digest for unit in UNITS} == {CHAMPION.bundle_digest, CHALLENGER.bundle_digest}


def test_each_experiment_draws_its_customers_anew():
    def moved(challenger: Variant) -> set[str]:
        variants = [msgspec.structs.replace(CHAMPION, weight_percent=50), msgspec.structs.replace(challenger, weight_percent=50)]
        return {unit for unit in UNITS[:2000] if assign(variants, unit) is variants[1]}

    one, other = moved(CHALLENGER), moved(THIRD)
    # Half of the champion's scores are shared, so that the two draws agree more often than by chance, but far from always.
    assert len(one & other) < 0.8 * len(one)
