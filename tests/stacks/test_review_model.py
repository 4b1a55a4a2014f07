"""What a changed release means, by the evidence in it."""

import msgspec
import pytest

from app.release import BusinessCase, Release, Variant
from stacks.review_compare import Money, Review, StackReview
from stacks.review_contract import ContractReview
from stacks.review_model import ModelReview, compared
from stacks.review_page import page
from stacks.review_preview import Previews
from tests.releases import compared_with, estimate, make_evidence, make_release, make_variant, successor

LIVE = make_release()
CHAMPION = LIVE.champion.bundle_digest
BETTER = compared_with(CHAMPION)


def challenger(weight_percent: int = 10, **changes: object) -> Variant:
    given = {"role": "challenger", "bundle_digest": "b" * 64, "version": "1.1.0", "evidence": BETTER, **changes}
    return make_variant(weight_percent=weight_percent, **given)


def beside(*others: Variant) -> Release:
    """The live release with further variants, the champion having what they leave."""
    left = 100 - sum(each.weight_percent for each in others)
    return make_release(variants=(make_variant(weight_percent=left), *others))


def reviewed(before: Release | None, after: Release | None) -> ModelReview:
    found = compared(before, after)
    assert found
    return found


def shown(model: ModelReview) -> str:
    nothing = Money(before=1, after=1)
    stack = StackReview(stack="dev", state="changed", refused=False, cost=nothing, cost_at_most=nothing, model=model)
    contract = ContractReview(before="0", after="0", differences=(), consequence="none")
    return page(Review(base="1", head="2", stacks=(stack,), contract=contract, previews=Previews()))


def cell(model: ModelReview) -> str:
    """What the first table says of the model."""
    [row] = [line for line in shown(model).splitlines() if line.startswith("| **dev**")]
    return row.split(" | ")[4]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (LIVE, beside(challenger()), "1.0.0, 100 → 90 %; challenger 1.1.0 is new for 10 %, AUC +0.0010 (-0.0030 to +0.0050)"),
        (beside(challenger()), LIVE, "1.0.0, 90 → 100 %; challenger 1.1.0 goes"),
        (
            beside(challenger()),
            beside(challenger(50)),
            "1.0.0, 90 → 50 %; challenger 1.1.0, 10 → 50 %, AUC +0.0010 (-0.0030 to +0.0050)",
        ),
        (
            beside(challenger(threshold=0.1)),
            beside(challenger(threshold=0.2)),
            "1.0.0; challenger 1.1.0, offers from 0.100 → 0.200, AUC +0.0010 (-0.0030 to +0.0050)",
        ),
        (LIVE, make_release(variants=(make_variant(threshold=0.5),)), "1.0.0, offers from 0.357 → 0.500"),
        (LIVE, beside(challenger(0, role="shadow", evidence=make_evidence())), "1.0.0; shadow 1.1.0 is new for 0 %"),
        (LIVE, make_release(variants=(make_variant(bundle_digest="e" * 64),)), "1.0.0, another bundle"),
        (LIVE, successor(LIVE), "1.0.0 → 1.0.1, AUC +0.0010 (-0.0030 to +0.0050)"),
        (None, LIVE, "1.0.0 is new"),
        (LIVE, None, "champion 1.0.0 goes"),
        (LIVE, make_release(reason="another"), "1.0.0"),
    ],
    ids=[
        "a challenger comes",
        "a challenger goes",
        "a challenger gets more",
        "a challenger offers to fewer",
        "the champion offers to fewer",
        "a shadow comes",
        "a bundle of the same version",
        "a champion is replaced",
        "the first release",
        "no release any more",
        "another reason alone",
    ],
)
def test_every_variant_that_changes_is_told(before: Release | None, after: Release | None, said: str):
    assert cell(reviewed(before, after)) == said


def test_a_new_challenger_is_told_in_figures_beside_the_champion():
    evidence = compared_with(CHAMPION, profit_difference_usd_per_month=estimate(140.0, 14.0), decisions_changed_count=70)
    text = shown(reviewed(LIVE, beside(challenger(evidence=evidence))))
    own = "| challenger | - | 1.1.0 `bbbbbbbbbbbb`, 10 %, offers from 0.357 | +0.0010 (-0.0030 to +0.0050) |"
    assert f"{own} +100 (+90 to +110) | 70 of 1,400 (5.0%) |" in text
    assert "| challenger | champion | after | |" in text
    assert "| challenger, AUC within | champion | after | |" in text
    assert "| champion | before | after | |" not in text, "the champion is the same"


def test_a_challenger_in_place_of_the_champion_is_told_beside_the_one_before():
    [champion, *_] = reviewed(beside(challenger()), successor(LIVE)).variants
    assert champion.auc_difference == BETTER.auc_difference


def test_evidence_against_another_model_is_no_comparison():
    [_, other] = reviewed(LIVE, beside(challenger(evidence=compared_with("9" * 64)))).variants
    assert (other.auc_difference, other.profit_difference_usd, other.decisions_changed) == (None, None, None)
    assert other.rows


LOSS = {"profit_difference_usd_per_month": estimate(-900.0, 100.0)}
DOUBT = {"profit_difference_usd_per_month": estimate(-900.0, 1000.0)}


@pytest.mark.parametrize(
    ("figures", "worse"),
    [
        ({}, False),
        ({"auc_difference": estimate(-0.05, 0.01)}, True),
        ({"auc_difference": estimate(-0.05, 0.06)}, False),
        (LOSS, True),
        (DOUBT, False),
        ({**LOSS, "auc_difference": None}, True),
    ],
    ids=["better", "AUC", "AUC within chance", "profit at a better AUC", "profit within chance", "profit alone"],
)
@pytest.mark.parametrize("weight_percent", [100, 10, 0], ids=["champion", "challenger", "shadow"])
def test_a_model_is_worse_if_it_ranks_or_earns_worse_beyond_chance_for_some_customer(
    figures: dict[str, object], weight_percent: int, worse: bool
):
    evidence = compared_with(CHAMPION, **figures)
    if weight_percent == 100:
        after = successor(LIVE, variants=(make_variant(bundle_digest="b" * 64, version="1.0.1", evidence=evidence),))
    else:
        after = beside(challenger(weight_percent, role="challenger" if weight_percent else "shadow", evidence=evidence))
    assert reviewed(LIVE, after).worse == (worse and weight_percent > 0)


@pytest.mark.parametrize(
    ("metrics", "case", "worse"),
    [
        ({"auc": estimate(0.7)}, BusinessCase(), True),
        ({"profit_usd_per_customer": estimate(1.0, 0.1)}, BusinessCase(), True),
        ({"profit_usd_per_customer": estimate(1.0, 0.1)}, BusinessCase(offer_cost_usd=90), False),
        ({"auc": estimate(0.83), "profit_usd_per_customer": estimate(1.95, 0.1)}, BusinessCase(), False),
    ],
    ids=["AUC", "profit", "profit in another business case", "within chance"],
)
def test_models_that_were_never_compared_are_worse_if_their_intervals_lie_apart(
    metrics: dict[str, object], case: BusinessCase, worse: bool
):
    before = {"auc": estimate(0.845), "profit_usd_per_customer": estimate(2.0, 0.1)}
    old, new = (make_evidence(metrics=figures) for figures in (before, before | metrics))
    live = make_release(variants=(make_variant(evidence=old),))
    after = make_release(variants=(make_variant(bundle_digest="b" * 64, evidence=new),), business_case=case)
    assert reviewed(live, after).worse == worse


def test_a_release_of_the_same_content_is_no_change():
    assert compared(LIVE, msgspec.structs.replace(LIVE)) is None
    assert compared(None, None) is None
