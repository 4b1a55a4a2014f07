import copy
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.decide import break_even
from app.release import Approval, BusinessCase, Evidence, Release, Variant, release_digest, sealed
from policies.release import Limits, digest_of, violations
from tests.releases import (
    IMAGE,
    NOW,
    any_release,
    approvals,
    compared_with,
    estimate,
    make_evidence,
    make_release,
    make_variant,
    plain,
    successor,
)
from tests.signing import make_key, openssh_accepts, public_key, sign

Json = Any
LIMITS = {"drift_index_max": 0.5, "model_age_max_days": 30}
FIRST = make_release()
SECOND = successor(FIRST)
CHALLENGER = make_variant(
    role="challenger", weight_percent=10, bundle_digest="e" * 64, version="1.1.0", evidence=compared_with("a" * 64)
)


def broken(
    release: Release, previous: Release | None = None, allowed_signers: str = "", limits: Limits | None = None
) -> dict[str, str]:
    """The message by broken rule; more than one of a rule are joined."""
    live = None if previous is None else plain(previous)
    found = violations(plain(release), previous=live, allowed_signers=allowed_signers, limits=limits or Limits())
    return {rule: " | ".join(v.message for v in found if v.rule == rule) for rule in {v.rule for v in found}}


def with_evidence(**changes: Any) -> Release:
    return make_release(variants=(make_variant(evidence=make_evidence(**changes)),))


def two(champion_percent: int = 90, **changes: Any) -> tuple[Variant, ...]:
    return make_variant(weight_percent=champion_percent), msgspec.structs.replace(CHALLENGER, **changes)


def test_a_first_release_its_successor_and_an_experiment_pass_every_gate():
    assert broken(FIRST) == {}
    assert broken(SECOND, FIRST) == {}
    shadow = msgspec.structs.replace(CHALLENGER, role="shadow", weight_percent=0, bundle_digest="f" * 64, version="1.1.1")
    experiment = successor(FIRST, variants=(*two(), shadow))
    assert broken(experiment, FIRST) == {}


@given(any_release)
def test_the_gates_and_the_writer_of_releases_agree_on_the_digest_though_they_share_no_code(release: Release):
    assert digest_of(plain(release)) == release_digest(release) == release.digest


@given(any_release, st.none() | approvals, any_release)
def test_whatever_the_writer_can_write_has_the_form_that_the_gates_ask_for(
    release: Release, approval: Approval | None, previous: Release
):
    approved = msgspec.structs.replace(release, approval=approval)
    assert not {"shape", "digest", "stack"} & broken(approved).keys()
    assert "chain" in broken(approved, previous)


def test_the_digest_is_of_what_is_said_and_not_of_the_order_that_it_is_said_in():
    release = plain(FIRST)
    turned = {
        name: dict(reversed(value.items())) if isinstance(value, dict) else value for name, value in reversed(release.items())
    }
    assert digest_of(turned) == digest_of(release)
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of({"threshold": float("nan")})


# What anybody could put in place of a value, or of a whole release.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just(10**400) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def places(value: Json, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


@given(st.data(), json_values)
def test_a_release_with_any_one_value_replaced_or_left_out_or_added_is_refused(data: st.DataObject, value: Json):
    good = plain(SECOND)
    path = data.draw(st.sampled_from(places(good)[1:]))
    changed = copy.deepcopy(good)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    change = data.draw(st.sampled_from(["replace", "leave out", "add"]))
    if change == "replace":
        holder[path[-1]] = value
    elif change == "leave out":
        del holder[path[-1]]
    elif isinstance(holder, dict):
        holder[f"{path[-1]}x"] = value
    else:
        holder.append(value)
    found = violations(changed, previous=plain(FIRST), allowed_signers="")
    same = json.dumps(changed, sort_keys=True) == json.dumps(good, sort_keys=True)
    # An approval is not covered by the digest; on local nobody needs one.
    assert same or path[0] == "approval" or found
    for violation in found:
        assert violation.message.isprintable()


@given(json_values.map(lambda value: value if isinstance(value, dict) else {"stack": value}), json_values)
def test_noise_in_place_of_a_release_is_refused_and_never_raises(release: dict[str, Json], previous: Json):
    assert violations(release, previous=None, allowed_signers="")
    assert violations(plain(SECOND), previous={"stack": previous}, allowed_signers="")


@given(json_values.filter(lambda value: not isinstance(value, dict) and value is not None))
@example([])
def test_what_is_not_even_an_object_is_refused(value: Json):
    [found] = violations(value, previous=None, allowed_signers="")
    assert found.rule == "shape"
    assert found.message.endswith("; give an object")
    assert found.message.startswith("the release is ")


def metrics(release: Json) -> Json:
    return release["variants"][0]["evidence"]["metrics"]


MISFITS: list[tuple[str, Callable[[Json], object], str]] = [
    ("nan", lambda r: r["variants"][0].update(threshold=float("nan")), "variants[0].threshold is nan; give a finite number"),
    ("true", lambda r: r["variants"][0].update(threshold=True), "variants[0].threshold is True; give a finite number"),
    ("huge", lambda r: r["variants"][0].update(threshold=10**400), "variants[0].threshold is a int; give a finite number"),
    ("text", lambda r: r["variants"][0].update(threshold="0.5"), "variants[0].threshold is '0.5'; give a finite number"),
    ("half", lambda r: r["variants"][0].update(weight_percent=0.5), "variants[0].weight_percent is 0.5; give a whole number"),
    ("above", lambda r: r["variants"][0].update(weight_percent=101), "variants[0].weight_percent is 101; give 0 to 100"),
    ("below", lambda r: r["variants"][0].update(weight_percent=-1), "variants[0].weight_percent is -1; give 0 to 100"),
    ("role", lambda r: r["variants"][0].update(role="king"), "role is 'king'; give one of champion, challenger, shadow"),
    ("number", lambda r: r.update(created_by=5), "created_by is 5; give text"),
    ("blank", lambda r: r.update(created_by="  "), "created_by is '  '; give one line of text"),
    ("lines", lambda r: r.update(created_by="a\nb"), "created_by is 'a\\nb'; give one line of text"),
    ("reason", lambda r: r.update(reason=" \n"), "reason is ' \\n'; give some text"),
    ("surrogate", lambda r: r.update(reason="\ud800"), "reason is '\\ud800'; give text"),
    ("long", lambda r: r.update(digest="f" * 71), f"digest is '{'f' * 67}...'; give a sha256 in hex"),
    ("line's length", lambda r: r.update(digest="f" * 70), f"digest is '{'f' * 70}'; give a sha256 in hex"),
    ("newline", lambda r: r.update(digest="f" * 64 + "\n"), f"digest is '{'f' * 64}\\n'; give a sha256 in hex"),
    ("null", lambda r: r.update(digest=None), "digest is null; give text"),
    ("version", lambda r: r.update(schema_version=2), "schema_version is 2; give 1"),
    ("zone", lambda r: r.update(created_at="2026-03-02T12:00:00"), "a time with its zone, such as 2026-01-31T12:00:00Z"),
    ("no time", lambda r: r.update(created_at="today"), "created_at is 'today'; give a time with its zone"),
    ("missing", lambda r: r.pop("reason"), "reason is missing; every field of a release is written out"),
    ("deep", lambda r: r["business_case"].pop("horizon_months"), "business_case.horizon_months is missing;"),
    ("unknown", lambda r: r["business_case"].update(luck=1), "business_case.'luck' is not a field of a release; leave it out"),
    ("not text", lambda r: r.update({5: 1}), "5 is not a field of a release; leave it out"),
    ("no variant", lambda r: r.update(variants=[]), "variants is a list; give at least one variant"),
    ("no list", lambda r: r.update(variants={}), "variants is a dict; give a list"),
    ("no object", lambda r: r.update(image=[]), "image is a list; give an object"),
    ("no map", lambda r: r["variants"][0]["evidence"].update(metrics=[]), "metrics is a list; give an object"),
    ("item", lambda r: r["variants"].append(None), "variants[1] is null; give an object"),
    ("name", lambda r: metrics(r).update({"\ud800": metrics(r)["auc"]}), "metrics has the name '\\ud800'; give text"),
    ("metric", lambda r: metrics(r).update(auc=None), "evidence.metrics['auc'] is null; give an object"),
    ("interval", lambda r: metrics(r)["auc"].update(low=2.0), "give an interval whose low is not above its high"),
    ("semver", lambda r: r["variants"][0].update(version="1.02.0"), "version is '1.02.0'; give a version such as 1.4.2"),
    ("acceptance", lambda r: r["business_case"].update(offer_acceptance=1.1), "is 1.1; give a number above 0 and up to 1"),
    ("no acceptance", lambda r: r["business_case"].update(offer_acceptance=0.0), "is 0.0; give a number above 0 and up to 1"),
    ("cost", lambda r: r["business_case"].update(offer_cost_usd=0.0), "offer_cost_usd is 0.0; give a number above 0"),
    ("limits", lambda r: r.update(alert_limits={"drift_index_max": 0.5}), "alert_limits.model_age_max_days is missing;"),
    ("no limits", lambda r: r.update(alert_limits=None), "alert_limits is null; give an object"),
    ("index", lambda r: r.update(alert_limits=LIMITS | {"drift_index_max": 11}), "drift_index_max is 11; give 0.05 to 10"),
    ("small index", lambda r: r.update(alert_limits=LIMITS | {"drift_index_max": 0.01}), "is 0.01; give 0.05 to 10"),
    ("days", lambda r: r.update(alert_limits=LIMITS | {"model_age_max_days": 3651}), "is 3651; give 1 to 3650"),
    ("no days", lambda r: r.update(alert_limits=LIMITS | {"model_age_max_days": 0}), "is 0; give 1 to 3650"),
    ("months", lambda r: r["business_case"].update(horizon_months=121), "horizon_months is 121; give 1 to 120"),
    ("no months", lambda r: r["business_case"].update(horizon_months=0), "horizon_months is 0; give 1 to 120"),
    ("rows", lambda r: r["variants"][0]["evidence"].update(rows=0), "rows is 0; give a whole number from 1 up"),
    ("seed", lambda r: r["variants"][0]["evidence"].update(seed=-1), "seed is -1; give a whole number from 0 up"),
    ("offers", lambda r: r["variants"][0]["evidence"].update(threshold=None), "threshold is null; give a finite number"),
    ("parity", lambda r: r["variants"][0]["evidence"].update(parity_max_abs=-1.0), "is -1.0; give a number from 0 up"),
    ("large rows", lambda r: r["variants"][0]["evidence"].update(rows=2**63), "rows is a int; give a whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), [misfit[1:] for misfit in MISFITS], ids=[misfit[0] for misfit in MISFITS])
def test_a_value_of_another_form_is_named_with_its_place_and_what_to_give(change: Callable[[Json], object], message: str):
    release = plain(FIRST)
    change(release)
    [found] = violations(release, previous=None, allowed_signers="")
    assert found.rule == "shape"
    assert message in found.message
    assert not found.message.startswith(".")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            {"digest": "1" * 64},
            "image.digest is '1111111111111111111111111111111111111111111111111111111111111111'; give sha256: and",
        ),
        ({"commit": "main"}, "image.commit is 'main'; give a full commit id of 40 hex digits"),
        ({"repository": ""}, "image.repository is ''; give one line of text"),
        ({"contract_digest": None}, "image.contract_digest is null; give text"),
    ],
)
def test_an_image_is_named_exactly(image: dict[str, Json], message: str):
    release = plain(make_release(image=IMAGE))
    release["image"].update(image)
    [found] = violations(release, previous=None, allowed_signers="")
    assert message in found.message


def test_the_release_that_is_replaced_is_judged_in_the_same_way():
    previous = plain(FIRST)
    del previous["reason"]
    [found] = violations(plain(SECOND), previous=previous, allowed_signers="")
    assert found.rule == "shape"
    assert found.message.startswith("in the release that it replaces, reason is missing")


def test_a_release_that_was_edited_is_refused_with_both_digests():
    edited = msgspec.structs.replace(FIRST, reason="other")
    assert broken(edited) == {
        "digest": f"the file carries digest {FIRST.digest}, its content has {release_digest(edited)}; "
        "restore it, or promote again"
    }


def test_a_stack_has_a_known_name_and_succeeds_itself():
    unknown = plain(FIRST) | {"stack": "moon"}
    unknown["digest"] = digest_of(unknown)
    [found] = [v for v in violations(unknown, previous=None, allowed_signers="") if v.rule == "stack"]
    assert found.message == "the stack is 'moon'; give one of local, dev, staging, prod"
    moved = broken(successor(FIRST, stack="dev", image=IMAGE), FIRST)
    assert moved == {"stack": "it is for dev, but the release that it replaces is for local; promote with --stack"}


def test_a_release_replaces_exactly_what_is_live():
    assert broken(SECOND) == {"chain": f"it replaces {FIRST.digest}, but nothing is live; promote again on what is live"}
    assert broken(FIRST, SECOND)["chain"].startswith(f"it replaces nothing, but {SECOND.digest} is live")
    assert "chain" in broken(successor(FIRST, previous="f" * 64), FIRST)
    assert "chain" in broken(SECOND, msgspec.structs.replace(FIRST, reason="edited", digest=FIRST.digest))


def test_a_release_is_not_older_than_what_it_replaces():
    early = broken(successor(FIRST, created_at=NOW - timedelta(seconds=1)), FIRST)
    assert early == {
        "chain": "it was created at 2026-03-02T11:59:59Z, before the release that it replaces (2026-03-02T12:00:00Z); "
        "set the clock and promote again"
    }


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        (
            (make_variant(role="shadow", weight_percent=0),),
            "there are 0 champions; give exactly one variant that role | "
            "champion and challengers have 0 percent together; give them 100",
        ),
        (
            (make_variant(weight_percent=50), msgspec.structs.replace(CHALLENGER, role="champion", weight_percent=50)),
            "there are 2 champions; give exactly one variant that role",
        ),
        (two(80), "champion and challengers have 90 percent together; give them 100"),
        (two(100), "champion and challengers have 110 percent together; give them 100"),
        (two(100, weight_percent=0), "challenger 1.1.0 (eeeeeeeeeeee) has 0 percent; a shadow has 0, every other at least 1"),
        (two(0, weight_percent=100), "champion 1.0.0 (aaaaaaaaaaaa) has 0 percent; a shadow has 0, every other at least 1"),
        (two(100, role="shadow"), "shadow 1.1.0 (eeeeeeeeeeee) has 10 percent; a shadow has 0, every other at least 1"),
        (two(90, bundle_digest="a" * 64, version="1.0.0"), "a bundle is there twice; give each bundle one role"),
    ],
    ids=["none", "two champions", "too few", "too many", "idle challenger", "idle champion", "busy shadow", "twice"],
)
def test_weights_make_a_hundred_and_roles_are_kept(variants: tuple[Variant, ...], message: str):
    found = broken(successor(FIRST, variants=variants), FIRST)
    assert found == {"weights": message}


@pytest.mark.parametrize("off", [2e-9, -2e-9])
def test_a_threshold_is_the_break_even_of_the_business_case(off: float):
    at = break_even(BusinessCase())
    evidence = make_evidence(threshold=at + off)
    assert broken(make_release(variants=(make_variant(threshold=at + off, evidence=evidence),))) == {
        "threshold": f"champion 1.0.0 (aaaaaaaaaaaa) has threshold {at + off!r}, "
        f"the business case breaks even at {at!r}; give that"
    }
    rounded = make_variant(threshold=at + off * 0.4)
    assert broken(make_release(variants=(rounded,))) == {}


@pytest.mark.parametrize("off", [2e-9, -2e-9])
def test_evidence_counts_as_offered_whom_the_release_makes_the_offer(off: float):
    at = break_even(BusinessCase())
    evidence = make_evidence(threshold=at + off)
    message = (
        f"champion 1.0.0 (aaaaaaaaaaaa) was evaluated for offers from probability {at + off!r}, it makes them from {at!r}; "
        "run `churn evaluate TABLE` with the same business case"
    )
    assert broken(make_release(variants=(make_variant(evidence=evidence),))) == {"evidence-threshold": message}
    back = successor(FIRST, variants=(make_variant(evidence=evidence),), rollback_of="9" * 64)
    assert broken(back, FIRST) == {"evidence-threshold": message}
    assert broken(with_evidence(threshold=at + off * 0.4)) == {}


@pytest.mark.parametrize(
    ("case", "at"),
    [
        (BusinessCase(offer_cost_usd=168), "1"),
        (BusinessCase(offer_cost_usd=1000), "5.95238"),
        (BusinessCase(margin_usd_per_month=1e-300, offer_acceptance=1e-300), "inf"),
        (BusinessCase(margin_usd_per_month=1e308), "0"),
    ],
)
def test_a_case_that_leaves_no_decision_is_refused(case: BusinessCase, at: str):
    found = broken(make_release(business_case=case))["threshold"]
    assert found.startswith(f"the business case breaks even at probability {at}, so that no decision is left; change the case")


@pytest.mark.parametrize("stack", ["dev", "staging", "prod"])
def test_only_local_does_without_an_image(stack: str):
    assert broken(make_release(stack=stack))["image"].startswith(
        "there is no image, which only local may do without; give --image"
    )
    assert "image" not in broken(make_release(stack=stack, image=IMAGE))


def test_image_and_evidence_are_of_one_contract():
    other = msgspec.structs.replace(IMAGE, contract_digest="9" * 64)
    assert broken(make_release(image=other)) == {
        "contract": "champion 1.0.0 (aaaaaaaaaaaa) was evaluated under contract cccccccccccc, the image has 999999999999; "
        "use bundles and an image of one contract"
    }
    mixed = two(90, evidence=compared_with("a" * 64, contract_digest="9" * 64))
    found = broken(successor(FIRST, variants=mixed), FIRST)
    assert "contract 999999999999, the first variant cccccccccccc" in found["contract"]


@pytest.mark.parametrize(
    "evidence",
    [
        make_evidence(),
        compared_with("f" * 64),
        compared_with("a" * 64, auc_difference=None),
        compared_with("a" * 64, relative_cost=None),
    ],
    ids=["not at all", "with another", "without AUC", "without cost"],
)
def test_a_new_bundle_has_been_compared_with_the_live_champion(evidence: Evidence):
    for variants in (two(90, evidence=evidence), (make_variant(bundle_digest="b" * 64, version="1.0.1", evidence=evidence),)):
        found = broken(successor(FIRST, variants=variants), FIRST)
        assert found.keys() == {"comparison"}
        assert f"the live champion is {'a' * 64}; run `churn evaluate` against it" in found["comparison"]
    missing = "nothing" if evidence.compared_with is None else evidence.compared_with
    assert f"was compared with {missing}, " in found["comparison"]


def test_a_bundle_of_another_contract_than_the_live_champions_is_compared_with_nothing():
    of_another = make_evidence(contract_digest="9" * 64)
    second = make_variant(bundle_digest="b" * 64, version="2.0.0", evidence=of_another)
    assert broken(successor(FIRST, variants=(second,)), FIRST) == {}
    # It takes the champion's place: beside it, one of the two would not fit the image.
    beside = two(90, version="2.0.0", evidence=of_another)
    assert broken(successor(FIRST, variants=beside), FIRST).keys() == {"contract"}


def test_a_variant_that_goes_on_needs_no_new_evidence():
    live = successor(FIRST, variants=two())
    months_later = NOW + timedelta(days=90)
    fresh = compared_with("a" * 64, evaluated_at=months_later)
    wider = successor(live, created_at=months_later, variants=two(80, weight_percent=20))
    assert broken(wider, live) == {}
    promoted = successor(
        live, created_at=months_later, variants=(msgspec.structs.replace(CHALLENGER, role="champion", weight_percent=100),)
    )
    assert broken(promoted, live).keys() == {"freshness"}
    looked_at_again = msgspec.structs.replace(CHALLENGER, role="champion", weight_percent=100, evidence=fresh)
    assert broken(successor(live, created_at=months_later, variants=(looked_at_again,)), live) == {}


def test_the_live_champion_itself_needs_no_comparison_in_another_role():
    live = SECOND
    beside = make_variant(role="shadow", weight_percent=0, bundle_digest="b" * 64, version="1.0.1", evidence=make_evidence())
    back = make_variant(version="1.1.0", bundle_digest="d" * 64, evidence=compared_with("b" * 64))
    assert broken(successor(live, variants=(back, beside)), live) == {}


def test_a_release_after_one_without_champion_cannot_have_been_compared():
    shadow = make_variant(role="shadow", weight_percent=0)
    live = make_release(variants=(shadow,))
    assert "comparison" in broken(successor(FIRST, previous=live.digest), live)


@pytest.mark.parametrize(
    ("changes", "rule", "message"),
    [
        ({"metrics": {}}, "auc", "champion 1.0.0 (aaaaaaaaaaaa) has no metric auc; run `churn evaluate`"),
        ({"metrics": {"auc": estimate(0.52)}}, "auc", "has AUC 0.5200 from 0.5000 up; above 0.5 is needed"),
        (
            {"auc_difference": estimate(-0.0051), "compared_with": "9" * 64},
            "auc",
            f"has -0.0051 AUC against {'9' * 64}; down to -0.005 is",
        ),
        (
            {"calibration_error": 0.0568},
            "calibration",
            "champion 1.0.0 (aaaaaaaaaaaa) has calibration error 0.0568 on 1400 rows; up to 0.03, and 0.0267 for chance on so "
            "many rows, is allowed: train again",
        ),
        ({"calibration_error": 0.131, "rows": 100}, "calibration", "on 100 rows; up to 0.03, and 0.1000 for chance"),
        ({"subgroups": {}}, "subgroups", "was measured on no subgroup; run `churn evaluate`"),
        (
            {"subgroups": {"g=x": estimate(0.6, 0.09)}},
            "subgroups",
            "has AUC 0.8450, but at most 0.6900 for 'g=x'; a gap up to 0.15 is",
        ),
        ({"parity_max_abs": 1.1e-6}, "parity", "answers up to 1.1e-06 off the fitted model; 1e-06 is allowed: bundle again"),
        ({"relative_cost": 3.01}, "relative-cost", "costs 3.01 times the champion's time per row; up to 3.0 is allowed"),
        (
            {"evaluated_at": NOW + timedelta(seconds=1)},
            "freshness",
            "was evaluated at 2026-03-02T12:00:01Z, the release was created at",
        ),
        ({"evaluated_at": NOW - timedelta(days=14, seconds=1)}, "freshness", "0 to 14 days are allowed: run `churn evaluate`"),
    ],
)
def test_evidence_beyond_a_limit_breaks_that_rule_alone(changes: dict[str, Any], rule: str, message: str):
    found = broken(with_evidence(**changes))
    assert found.keys() == {rule}
    assert message in found[rule]


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": {"auc": estimate(0.53)}, "subgroups": {"g=x": estimate(0.6)}},
        {"auc_difference": estimate(-0.005)},
        {"calibration_error": 0.0567},
        {"calibration_error": 0.13, "rows": 100},
        {"calibration_error": 1.03, "rows": 1},
        {"subgroups": {"g=x": estimate(0.6, 0.1)}},
        {"parity_max_abs": 1e-6},
        {"relative_cost": 3.0},
        {"evaluated_at": NOW},
        {"evaluated_at": NOW - timedelta(days=14)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_evidence_on_the_limit_passes(changes: dict[str, Any]):
    assert broken(with_evidence(**changes)) == {}


def test_limits_can_be_set_and_each_governs_its_rule():
    strict = Limits(
        auc_margin=-1,
        min_auc=0.9,
        max_calibration_error=-1,
        max_subgroup_auc_gap=-1,
        max_parity=0,
        max_relative_cost=0,
        max_evidence_age=timedelta(hours=1),
    )
    found = broken(SECOND, FIRST, limits=strict)
    assert found.keys() == {"auc", "calibration", "subgroups", "behaviour", "parity", "relative-cost", "freshness"}
    assert " | " in found["auc"]


@pytest.mark.parametrize("version", ["0.9.9", "1.1.10", "1.2.2"])
def test_a_champion_is_not_older_than_the_one_before(version: str):
    live = make_release(variants=(make_variant(version="1.2.3"),))
    champion = msgspec.structs.replace(SECOND.champion, version=version)
    assert broken(successor(live, variants=(champion,)), live) == {
        "version": f"champion {version} (bbbbbbbbbbbb) is older than the live champion; "
        f"to go back run `churn rollback --to {version}`"
    }
    beside = (make_variant(version="1.2.3", weight_percent=90), msgspec.structs.replace(CHALLENGER, version=version))
    assert broken(successor(live, variants=beside), live) == {}


@pytest.mark.parametrize("changes", [{"bundle_digest": "b" * 64}, {"version": "1.0.1"}], ids=["two bundles", "two versions"])
def test_a_version_is_of_one_bundle_and_a_bundle_of_one_version(changes: dict[str, Any]):
    champion = make_variant(evidence=compared_with("a" * 64), **changes)
    assert broken(successor(FIRST, variants=(champion,)), FIRST) == {
        "version": "a version names two bundles, or a bundle has two versions; give each bundle one version of its own"
    }


def test_a_rollback_is_spared_age_version_and_comparison_and_nothing_else():
    year = timedelta(days=365)
    worse = make_evidence(compared_with="9" * 64, auc_difference=estimate(-0.1))
    back = successor(SECOND, created_at=NOW + year, variants=(make_variant(evidence=worse),), rollback_of=FIRST.digest)
    assert broken(back, SECOND) == {}
    assert broken(sealed(msgspec.structs.replace(back, rollback_of=None)), SECOND).keys() == {
        "comparison",
        "auc",
        "freshness",
        "version",
    }
    bad = make_evidence(
        metrics={"auc": estimate(0.4)}, threshold=0.2, calibration_error=1.0, parity_max_abs=1.0, relative_cost=9.0, subgroups={}
    )
    variants = (make_variant(evidence=bad, weight_percent=99, threshold=0.1, version="1.0.1"),)
    worst = msgspec.structs.replace(successor(FIRST, stack="prod", variants=variants, rollback_of="9" * 64), digest="8" * 64)
    assert broken(worst, SECOND).keys() == {
        *("digest", "stack", "chain", "weights", "threshold", "evidence-threshold", "image", "auc", "calibration"),
        *("subgroups", "parity", "relative-cost", "version", "approval"),
    }


def test_a_first_release_cannot_call_itself_a_rollback_to_be_spared():
    found = broken(make_release(rollback_of="9" * 64))
    assert found == {"chain": "it is a rollback where nothing was live; promote instead"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: make_key(folder / name) for name in ("ada", "bob", "eve")}


@pytest.fixture
def signers(keys: dict[str, Path]) -> str:
    return "".join(f"{name}@example.com ssh-ed25519 {public_key(keys[name])}\n" for name in ("ada", "bob"))


def approved(release: Release, key: Path, approver: str) -> Release:
    signature = sign(key, str(release.digest))
    return msgspec.structs.replace(release, approval=Approval(approver=approver, signature=signature))


def made_for(stack: str, **changes: Any) -> Release:
    return make_release(stack=stack, image=IMAGE, **changes)


@pytest.mark.parametrize("stack", ["local", "dev"])
def test_local_and_dev_need_no_approval(stack: str):
    assert broken(made_for(stack)) == {}


@pytest.mark.parametrize("stack", ["staging", "prod"])
def test_staging_and_prod_need_the_signature_of_a_listed_key(stack: str, keys: dict[str, Path], signers: str):
    release = made_for(stack)
    assert broken(release, allowed_signers=signers) == {
        "approval": f"{stack} needs an approval; run `churn approve --stack {stack} --key ~/.ssh/id_ed25519`"
    }
    assert broken(approved(release, keys["bob"], "bob@example.com"), allowed_signers=signers) == {}
    assert broken(approved(release, keys["eve"], "eve@example.com"), allowed_signers=signers) == {
        "approval": "'eve@example.com' is not listed with the key that signed; add the line to releases/allowed_signers"
    }
    assert broken(approved(release, keys["eve"], "bob@example.com"), allowed_signers=signers).keys() == {"approval"}
    assert broken(approved(release, keys["bob"], "bob@example.com")).keys() == {"approval"}


def test_openssh_itself_accepts_what_the_gate_accepts(keys: dict[str, Path], signers: str, tmp_path: Path):
    release = approved(made_for("prod"), keys["bob"], "bob@example.com")
    assert release.approval is not None
    told = {"text": str(release.digest), "allowed_signers": signers, "folder": tmp_path}
    assert openssh_accepts(release.approval.signature, approver="bob@example.com", **told)
    assert not openssh_accepts(release.approval.signature, approver="ada@example.com", **told)


def test_a_changed_release_with_its_digest_worked_out_again_does_not_pass(keys: dict[str, Path], signers: str):
    release = approved(made_for("prod"), keys["bob"], "bob@example.com")
    forged = sealed(msgspec.structs.replace(release, reason="a better one"))
    forged = msgspec.structs.replace(forged, approval=release.approval)
    assert broken(forged, allowed_signers=signers) == {"approval": "the signature is not of this release's digest: sign it again"}


@pytest.mark.parametrize("author", ["bob@example.com", "BOB@Example.com", " bob@example.com "])
def test_in_prod_nobody_approves_what_is_their_own(author: str, keys: dict[str, Path], signers: str):
    own = approved(made_for("prod", created_by=author), keys["bob"], "bob@example.com")
    assert broken(own, allowed_signers=signers) == {
        "approval": f"{author!r} created the release and the key that approves it is theirs; prod needs somebody else's"
    }
    assert broken(approved(made_for("staging", created_by=author), keys["bob"], "bob@example.com"), allowed_signers=signers) == {}


@pytest.mark.parametrize("listed", ["ada@example.com", "ADA@example.com", "*@example.com"])
def test_in_prod_a_key_that_is_also_the_authors_does_not_approve(listed: str, keys: dict[str, Path]):
    signers = f"bob@example.com,{listed} ssh-ed25519 {public_key(keys['bob'])}\n"
    release = approved(made_for("prod", created_by=" ada@example.com"), keys["bob"], "bob@example.com")
    assert broken(release, allowed_signers=signers).keys() == {"approval"}
