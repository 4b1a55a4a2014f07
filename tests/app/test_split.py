import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from app.release import Variant
from app.split import assign
from tests.releases import make_variant

DIGESTS = tuple(letter * 64 for letter in "abcd")
UNITS = 5_000
# Of such bounds a run asserts fewer than 500, on both sides: less than one run in 10^9 fails by chance.
BROKEN_BY_CHANCE = 1e-12
few = settings(max_examples=20)

bundle_digests = st.text("0123456789abcdef", min_size=64, max_size=64)


def weighted(weights: Sequence[int], digests: Sequence[str] = DIGESTS) -> list[Variant]:
    return [make_variant(bundle_digest=digest, weight_percent=weight) for digest, weight in zip(digests, weights, strict=False)]


def shares(count: int) -> st.SearchStrategy[tuple[int, ...]]:
    """So many whole percentages that sum to 100."""
    cuts = st.lists(st.integers(0, 100), min_size=count - 1, max_size=count - 1)
    return cuts.map(lambda at: tuple(after - before for before, after in pairwise([0, *sorted(at), 100])))


def drawn(variants: Sequence[Variant], prefix: str) -> list[str]:
    """The bundles that answer customers whose ids begin so."""
    return [assign(variants, f"{prefix}{number}").bundle_digest for number in range(UNITS)]


def assert_share(count: int, chance: float) -> None:
    """That so many of the units are what is to be expected if each is one with that chance, by Chernoff's bound."""
    surprise = sum(
        found * math.log(found / (UNITS * expected)) if expected else math.inf
        for found, expected in ((count, chance), (UNITS - count, 1 - chance))
        if found
    )
    assert surprise < -math.log(BROKEN_BY_CHANCE)


@given(st.text(), st.permutations(weighted((60, 30, 10))))
def test_a_customer_has_one_variant_whatever_the_order(unit: str, shuffled: list[Variant]):
    assert assign(shuffled, unit) == assign(weighted((60, 30, 10)), unit)


def test_assignments_stay_what_they_are_across_processes_and_versions():
    told = "".join(assign(weighted((50, 30, 20)), f"customer-{number}").bundle_digest[0] for number in range(40))
    assert told == "aabbaabacbaaaacbcaabccacaabaabbaaabaaaab"


@few
@given(st.text(), st.integers(1, 4).flatmap(shares), st.lists(bundle_digests, min_size=4, max_size=4, unique=True))
def test_each_variant_answers_its_share_of_any_customers_under_any_salt(prefix: str, weights: tuple[int, ...], salts: list[str]):
    counts = Counter(drawn(weighted(weights, salts), prefix))
    for weight, salt in zip(weights, salts, strict=False):
        assert_share(counts[salt], weight / 100)


@few
@given(st.text(), shares(2), shares(2), st.lists(bundle_digests, min_size=2, max_size=2, unique=True))
def test_of_two_variants_no_more_customers_move_than_the_weights_do_and_all_one_way(
    prefix: str, before: tuple[int, ...], after: tuple[int, ...], salts: list[str]
):
    moves = Counter(zip(drawn(weighted(before, salts), prefix), drawn(weighted(after, salts), prefix), strict=True))
    grown = after[1] - before[1]
    one, other = salts
    there, back = (one, other), (other, one)
    assert moves[back if grown > 0 else there] == 0
    assert_share(moves[there] + moves[back], abs(grown) / 100)


@few
@given(st.text(), st.integers(3, 4).flatmap(lambda count: st.tuples(shares(count), shares(count))))
def test_of_more_variants_nobody_moves_to_one_that_has_not_grown_beside_the_one_it_leaves(
    prefix: str, weights: tuple[tuple[int, ...], tuple[int, ...]]
):
    before, after = ({v.bundle_digest: v.weight_percent for v in weighted(each)} for each in weights)
    for left, joined in zip(*(drawn(weighted(each), prefix) for each in weights), strict=True):
        assert left == joined or after[joined] * before[left] > after[left] * before[joined]


@few
@given(st.text(), shares(2), st.lists(bundle_digests, min_size=4, max_size=4, unique=True))
def test_under_other_salts_customers_are_drawn_anew(prefix: str, weights: tuple[int, ...], salts: list[str]):
    first, second = (drawn(weighted(weights, each), prefix) for each in (salts[:2], salts[2:]))
    twice = sum(one == salts[1] and other == salts[3] for one, other in zip(first, second, strict=True))
    assert_share(twice, (weights[1] / 100) ** 2)


@given(st.text())
def test_a_shadow_answers_nobody(unit: str):
    assert assign(weighted((0, 100)), unit).bundle_digest == DIGESTS[1]
    assert assign(weighted((50, 0, 50)), unit).bundle_digest != DIGESTS[1]


def test_a_variant_that_is_alone_answers_everybody_whatever_its_weight():
    assert assign(weighted((1,)), "anybody").bundle_digest == DIGESTS[0]
