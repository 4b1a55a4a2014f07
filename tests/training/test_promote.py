import math
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.bundle import BundleError
from app.contract import CONTRACT_DIGEST
from app.decide import break_even
from app.release import (
    AlertLimits,
    BusinessCase,
    Evidence,
    Image,
    Release,
    ReleaseError,
    Stack,
    decode_release,
    encode_release,
    sealed,
)
from tests.releases import compared_with, estimate, make_evidence
from tests.signing import make_key, public_key
from tests.training.released import COMMIT, IMAGE, add_bundle, commit, git, make_home, of_another_contract, write_evidence
from training.approve import approve
from training.history import current, releases
from training.home import Home
from training.promote import Request, draft, promote, rollback
from training.replace import Refused, replace


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home")


def two_releases(home: Home, stack: Stack = "local") -> tuple[Release, Release]:
    image = None if stack == "local" else IMAGE
    first = promote(home, Request(stack=stack, bundle=add_bundle(home, 1), image=image, commit=COMMIT))
    commit(home)
    better = add_bundle(home, 2, compared=first.champion.bundle_digest)
    return first, promote(home, Request(stack=stack, bundle=better))


def test_the_candidate_becomes_the_first_release(home: Home):
    digest = add_bundle(home, 1)
    release = promote(home, Request(stack="local"))
    assert home.release("local").read_bytes() == encode_release(release)
    assert home.past_release(str(release.digest)).read_bytes() == encode_release(release)
    assert release.previous is None
    assert release.created_by == "ada@example.com"
    assert release.reason == "champion 1.0.0"
    assert release.image is None
    assert release.business_case == BusinessCase()
    [variant] = release.variants
    assert (variant.role, variant.weight_percent, variant.bundle_digest, variant.version) == ("champion", 100, digest, "1.0.0")
    assert variant.threshold == break_even(BusinessCase())
    assert variant.evidence.metrics["auc"].value == 0.845


def test_the_next_release_replaces_the_first_and_keeps_its_image_and_business_case(home: Home):
    at = break_even(BusinessCase(offer_cost_usd=20, horizon_months=6))
    first = add_bundle(home, 1, threshold=at)
    case = {"offer_cost_usd": 20.0, "horizon_months": 6}
    one = promote(home, Request(stack="dev", image=IMAGE, commit=COMMIT, business_case=case, reason="start", created_by="bob"))
    assert (one.reason, one.created_by) == ("start", "bob")
    assert one.image == Image(
        repository="registry.example/churn", digest=f"sha256:{'1' * 64}", contract_digest=CONTRACT_DIGEST, commit=COMMIT
    )
    add_bundle(home, 2, compared=first, threshold=at)
    two = promote(home, Request(stack="dev"))
    assert (two.previous, two.image, two.business_case) == (one.digest, one.image, one.business_case)
    assert two.business_case == BusinessCase(offer_cost_usd=20, horizon_months=6)
    assert two.champion.threshold == break_even(two.business_case)


def test_promoting_twice_leaves_the_file_as_it_is(home: Home):
    add_bundle(home, 1)
    release = promote(home, Request(stack="local"))
    before = home.release("local").stat()
    write_evidence(
        home, release.champion.bundle_digest, make_evidence(evaluated_at=datetime.now(UTC), contract_digest=CONTRACT_DIGEST)
    )
    assert promote(home, Request(stack="local", reason="again")) == release
    after = home.release("local").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_another_business_case_needs_evidence_in_it(home: Home):
    live = promote(home, Request(stack="local", bundle=add_bundle(home, 1)))
    request = Request(stack="local", business_case={"offer_cost_usd": 84.0})
    with pytest.raises(
        Refused, match=r"^evidence-threshold: champion 1\.0\.0 .* from probability 0\.357.*, it makes them from 0\.5;"
    ):
        promote(home, request)
    write_evidence(home, live.champion.bundle_digest, evidence_against(live, threshold=0.5))
    changed = promote(home, request)
    assert (changed.previous, changed.champion.threshold) == (live.digest, 0.5)
    # What is restored is both.
    assert rollback(home, "local").variants == live.variants


@pytest.mark.parametrize(
    ("algorithm", "features", "version"),
    [("logistic", "f", "1.0.1"), ("forest", "f", "1.1.0"), ("logistic", "e", "1.1.0")],
    ids=["other data", "another algorithm", "other features"],
)
def test_the_version_says_what_changed(home: Home, algorithm: str, features: str, version: str):
    first = add_bundle(home, 1)
    promote(home, Request(stack="local"))
    add_bundle(home, 2, compared=first, algorithm=algorithm, features=features)
    assert promote(home, Request(stack="local")).champion.version == version


def test_another_contract_is_a_major_version(home: Home):
    promote(home, Request(stack="local", bundle=add_bundle(home, 1)))
    earlier = of_another_contract(home, "local")
    commit(home)
    # No customer is of both contracts, so that there is nothing to compare the two by.
    add_bundle(home, 2)
    assert promote(home, Request(stack="local")).champion.version == "2.0.0"
    assert rollback(home, "local").variants == earlier.variants


def test_no_version_is_ever_used_again_and_a_bundle_keeps_its_own(home: Home):
    first, second = two_releases(home)
    rollback(home, "local")
    third = promote(home, Request(stack="local", bundle=add_bundle(home, 3, compared=first.champion.bundle_digest)))
    assert [release.champion.version for release in (first, second, third)] == ["1.0.0", "1.0.1", "1.0.2"]
    write_evidence(home, second.champion.bundle_digest, evidence_against(third))
    with pytest.raises(
        Refused, match=r"^version: champion 1\.0\.1 .*older than the live champion; to go back run `churn rollback"
    ):
        promote(home, Request(stack="local", bundle=second.champion.bundle_digest))


def evidence_against(live: Release, **changes: Any) -> Evidence:
    now = {"evaluated_at": datetime.now(UTC), "contract_digest": CONTRACT_DIGEST}
    return compared_with(live.champion.bundle_digest, **now, **changes)


def test_a_live_bundle_that_is_gone_from_the_store_is_said_and_no_version_is_guessed(home: Home):
    first = add_bundle(home, 1)
    promote(home, Request(stack="local"))
    (home.var / "bundles" / first / "card.md").unlink()
    add_bundle(home, 2, compared=first)
    before = home.release("local").read_bytes()
    with pytest.raises(BundleError, match=rf"{first} is not a bundle: card.md is missing"):
        promote(home, Request(stack="local"))
    assert home.release("local").read_bytes() == before


def test_every_broken_gate_is_in_one_refusal_and_nothing_is_written(home: Home):
    add_bundle(home, 1, calibration_error=0.2, parity_max_abs=0.1)
    with pytest.raises(Refused) as caught:
        promote(home, Request(stack="dev"))
    assert [message.split(":")[0] for message in caught.value.messages] == ["image", "calibration", "parity"]
    assert str(caught.value) == "\n".join(caught.value.messages)
    assert not home.release("dev").exists()
    assert not (home.var / "releases").exists()


def test_a_model_that_is_worse_than_the_champion_is_refused(home: Home):
    first = add_bundle(home, 1)
    promote(home, Request(stack="local"))
    add_bundle(home, 2, compared=first, auc_difference=estimate(-0.02))
    with pytest.raises(Refused, match=rf"^auc: champion 1.0.1 .* has -0.0200 AUC against {first}"):
        promote(home, Request(stack="local"))


def test_staging_and_prod_are_written_unapproved(home: Home):
    first, second = two_releases(home, "prod")
    assert first.approval is second.approval is None
    assert current(home, "prod") == second


def test_a_challenger_takes_its_share_from_the_champion(home: Home):
    first = add_bundle(home, 1)
    promote(home, Request(stack="local"))
    other = add_bundle(home, 2, compared=first)
    promote(home, Request(stack="local", role="shadow"))
    third = add_bundle(home, 3, compared=first)
    release = promote(home, Request(stack="local", role="challenger", weight_percent=30))
    shares = [(v.role, v.bundle_digest, v.weight_percent, v.version) for v in release.variants]
    assert shares == [("champion", first, 70, "1.0.0"), ("shadow", other, 0, "1.0.1"), ("challenger", third, 30, "1.0.2")]
    # Another challenger takes the place of the first, and a champion ends the experiment.
    fourth = add_bundle(home, 4, compared=first)
    release = promote(home, Request(stack="local", role="challenger"))
    assert [v.bundle_digest for v in release.variants] == [first, other, fourth]
    assert [v.weight_percent for v in release.variants] == [90, 0, 10]
    # What was a shadow becomes the challenger.
    release = promote(home, Request(stack="local", bundle=other, role="challenger"))
    assert [(v.role, v.bundle_digest) for v in release.variants] == [("champion", first), ("challenger", other)]
    release = promote(home, Request(stack="local", bundle=other))
    assert [(v.role, v.bundle_digest, v.weight_percent) for v in release.variants] == [("champion", other, 100)]


@pytest.mark.parametrize("live", [False, True])
def test_a_challenger_needs_another_champion_beside_it(home: Home, *, live: bool):
    add_bundle(home, 1)
    if live:
        promote(home, Request(stack="local"))
    with pytest.raises(ReleaseError, match=r"^a challenger runs beside another bundle that is champion; promote that one first$"):
        promote(home, Request(stack="local", role="challenger"))


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys") / "bob")


def sign_off(home: Home, stack: Stack, key: Path) -> Release:
    home.allowed_signers.write_text(f"bob@example.com ssh-ed25519 {public_key(key)}\n")
    return approve(home, stack, key)


def test_prod_takes_over_what_staging_has_once_that_is_approved(home: Home, key: Path):
    case = {"offer_cost_usd": 84.0}
    add_bundle(home, 1, threshold=0.5)
    promote(home, Request(stack="staging", image=IMAGE, commit=COMMIT, business_case=case))
    with pytest.raises(Refused, match=r"^approval: staging needs an approval; run `churn approve --stack staging"):
        promote(home, Request(stack="prod", from_stack="staging"))
    assert not home.release("prod").exists()
    staging = sign_off(home, "staging", key)
    prod = promote(home, Request(stack="prod", from_stack="staging", reason="next"))
    assert (prod.image, prod.business_case, prod.variants) == (staging.image, staging.business_case, staging.variants)
    assert (prod.stack, prod.previous, prod.reason) == ("prod", None, "next")


def test_what_the_source_replaced_has_to_be_at_hand_for_its_gates(home: Home, key: Path):
    first, second = two_releases(home, "staging")
    sign_off(home, "staging", key)
    assert promote(home, Request(stack="prod", from_stack="staging")).champion.bundle_digest == second.champion.bundle_digest
    shutil.rmtree(home.root / ".git")
    home.past_release(str(first.digest)).unlink()
    with pytest.raises(ReleaseError, match=f"^the release {first.digest} is neither in git nor here; run `git fetch"):
        promote(home, Request(stack="prod", from_stack="staging", created_by="ada@example.com"))


def test_taking_over_prefers_later_evidence_against_this_stacks_own_champion_and_versions_of_this_stack(home: Home):
    first = add_bundle(home, 1)
    for stack in ("dev", "prod"):
        promote(home, Request(stack=stack, image=IMAGE, commit=COMMIT))
    commit(home)
    second = add_bundle(home, 2, compared=first)
    promote(home, Request(stack="dev"))
    third = add_bundle(home, 3, compared=second)
    carried = promote(home, Request(stack="dev")).champion.evidence
    own = evidence_against(releases(home, "prod")[0])
    for found in (carried, msgspec.structs.replace(own, evaluated_at=carried.evaluated_at)):
        write_evidence(home, third, found)
        with pytest.raises(
            Refused, match=rf"^comparison: champion 1.0.2 .* was compared with {second}, the live champion is {first}"
        ):
            promote(home, Request(stack="prod", from_stack="dev"))
    write_evidence(home, third, own)
    taken = promote(home, Request(stack="prod", from_stack="dev"))
    assert (taken.champion.bundle_digest, taken.champion.version, taken.champion.evidence) == (third, "1.0.2", own)


def test_taking_over_leaves_alone_what_was_found_against_another_champion(home: Home):
    first = add_bundle(home, 1)
    for stack in ("dev", "prod"):
        promote(home, Request(stack=stack, image=IMAGE, commit=COMMIT))
    commit(home)
    second = add_bundle(home, 2, compared=first)
    carried = promote(home, Request(stack="dev")).champion.evidence
    write_evidence(home, second, compared_with("9" * 64, evaluated_at=datetime.now(UTC), contract_digest=CONTRACT_DIGEST))
    assert promote(home, Request(stack="prod", from_stack="dev")).champion.evidence == carried
    # Where nothing is live, what it was compared with says nothing for or against it.
    later = promote(home, Request(stack="staging", from_stack="dev")).champion.evidence
    assert later.compared_with == "9" * 64
    home.evidence(second).unlink()
    home.release("staging").unlink()
    assert promote(home, Request(stack="staging", from_stack="dev")).champion.evidence == carried


TINY = ("offer_acceptance", "margin_usd_per_month")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(stack="local", bundle="b" * 63), "^the bundle is 'b+'; give its whole digest, 64 hex digits"),
        (Request(stack="local", bundle="../" * 22), "^the bundle is "),
        (Request(stack="local", image="registry.example/churn:latest"), r"^the image .* is wrong: .*digest"),
        (Request(stack="local", image=IMAGE, commit="main"), r"^the image .* is wrong: .*commit"),
        (Request(stack="local", image=IMAGE), r"^the image .* is wrong: .*commit"),
        (Request(stack="local", business_case={"offer_cost_usd": -1.0}), r"^the business case is wrong: .*offer_cost_usd"),
        (Request(stack="local", business_case={"offer_cost_usd": math.inf}), "^the business case is wrong: .*costs inf USD and"),
        (Request(stack="local", business_case={"offer_cost_usd": math.nan}), r"^the business case is wrong: .*offer_cost_usd"),
        (Request(stack="local", alert_limits={"drift_index_max": 0}), r"^an alert limit is wrong: .*drift_index_max"),
        (Request(stack="local", business_case={"margin_usd_per_month": math.inf}), "^the business case is wrong: .*brings inf"),
        (
            Request(stack="local", business_case=dict.fromkeys(TINY, 1e-300)),
            "^the business case is wrong: .*brings 0.0 USD; give",
        ),
        (
            Request(stack="local", weight_percent=30),
            "^--weight is 30, but only a challenger has a share to choose; leave it out$",
        ),
        (Request(stack="local", weight_percent=1, role="shadow"), "^--weight is 1, but only a challenger"),
        (Request(stack="prod", from_stack="staging", weight_percent=30), "^--weight is 30, but only a challenger"),
        (Request(stack="prod", from_stack="staging"), r"staging\.json is not there; run `churn promote --stack staging`$"),
        (Request(stack="prod", from_stack="prod"), "^--from takes all variants of another stack: leave out --bundle and --role"),
        (Request(stack="prod", from_stack="staging", bundle="b" * 64), "^--from takes all variants of another stack"),
        (Request(stack="prod", from_stack="staging", role="shadow"), "^--from takes all variants of another stack"),
    ],
)
def test_what_cannot_be_asked_for_is_said(home: Home, request_: Request, message: str):
    add_bundle(home, 1)
    with pytest.raises(ReleaseError, match=message):
        promote(home, request_)
    assert not home.release(request_.stack).exists()


def test_the_commit_is_that_of_the_checkout_unless_given(home: Home):
    (home.root / "releases" / "note").write_text("x")
    commit(home)
    add_bundle(home, 1)
    image = promote(home, Request(stack="dev", image=IMAGE)).image
    head = subprocess.run(["git", "-C", str(home.root), "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert image is not None
    assert image.commit == head.strip()


def test_missing_pieces_are_named_with_the_command_that_makes_them(home: Home, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(
        ReleaseError, match=r"candidate is not there: no bundle was trained yet; run `churn train TABLE`, or name a bundle$"
    ):
        promote(home, Request(stack="local"))
    digest = add_bundle(home, 1)
    home.candidate.write_bytes(b"\xff")
    with pytest.raises(ReleaseError, match=r"candidate is not UTF-8: .*; run `churn train TABLE` again, or name a bundle$"):
        promote(home, Request(stack="local"))
    home.candidate.write_text(digest)
    home.allowed_signers.write_bytes(b"\xff")
    with pytest.raises(ReleaseError, match=r"allowed_signers is not UTF-8: .*; restore it from git$"):
        promote(home, Request(stack="local"))
    home.allowed_signers.unlink()
    home.evidence(digest).write_text("{")
    with pytest.raises(ReleaseError, match=r"is not evidence: .*; run `churn evaluate` again$"):
        promote(home, Request(stack="local"))
    home.evidence(digest).unlink()
    with pytest.raises(ReleaseError, match=rf"is not there; run `churn evaluate --bundle {digest}`$"):
        promote(home, Request(stack="local"))
    add_bundle(home, 2)
    git(home.root, "config", "--unset", "user.email")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    with pytest.raises(
        ReleaseError, match=r"^nobody is named as the author; run `git config user.email you@example.com`, or give"
    ):
        promote(home, Request(stack="local"))
    assert promote(home, Request(stack="local", created_by="me")).created_by == "me"


def test_a_release_file_that_is_broken_or_unreadable_stops_everything(home: Home):
    add_bundle(home, 1)
    home.release("local").write_text("{}")
    with pytest.raises(ReleaseError, match=r"local\.json is not a release"):
        promote(home, Request(stack="local"))
    home.release("local").unlink()
    home.release("local").mkdir()
    with pytest.raises(ReleaseError, match=r"local\.json cannot be read: .*; give access to it$"):
        promote(home, Request(stack="local"))


def test_a_rollback_restores_the_release_before(home: Home):
    first, second = two_releases(home)
    back = rollback(home, "local")
    assert (back.variants, back.business_case, back.image) == (first.variants, first.business_case, first.image)
    assert (back.previous, back.rollback_of) == (second.digest, first.digest)
    assert (back.reason, back.created_by) == ("back to 1.0.0", "ada@example.com")
    assert current(home, "local") == back
    forth = rollback(home, "local", to="1.0.1", reason="no, it was good", created_by="bob")
    assert (forth.variants, forth.reason, forth.created_by) == (second.variants, "no, it was good", "bob")
    assert forth.rollback_of == second.digest


def test_limits_of_alerts_stay_as_they_are_live_and_come_back_with_the_release(home: Home):
    add_bundle(home, 1)
    first = promote(home, Request(stack="local", alert_limits={"drift_index_max": 0.5}))
    assert next_release(home, 2).limits == first.limits == AlertLimits(drift_index_max=0.5)
    changed = promote(home, Request(stack="local", alert_limits={"drift_index_max": 0.1, "model_age_max_days": 30}))
    assert changed.limits == AlertLimits(drift_index_max=0.1, model_age_max_days=30)
    assert rollback(home, "local", to="1.0.0").limits == first.limits


def next_release(home: Home, seed: int, stack: Stack = "local") -> Release:
    live = current(home, stack)
    assert live is not None
    return promote(home, Request(stack=stack, bundle=add_bundle(home, seed, compared=live.champion.bundle_digest)))


def test_rollbacks_in_a_row_go_further_back_and_never_to_what_was_undone(home: Home):
    first, second = two_releases(home)
    third = next_release(home, 3)
    backs = [rollback(home, "local"), rollback(home, "local")]
    assert [back.rollback_of for back in backs] == [second.digest, first.digest]
    there = ", ".join(f"{r.champion.version} ({str(r.digest)[:12]})" for r in (backs[0], third, second, first))
    with pytest.raises(ReleaseError) as caught:
        rollback(home, "local")
    assert str(caught.value) == (f"a release before the one that the live one restored is not in the history; there is: {there}")
    # Undone as well: what came after a way back is left by the same way, and then the one that it led to.
    next_release(home, 4)
    assert rollback(home, "local").variants == first.variants
    with pytest.raises(ReleaseError, match=r"^a release before the one that the live one restored"):
        rollback(home, "local")


def test_a_rollback_after_one_into_a_gap_goes_nowhere(home: Home):
    _, second = two_releases(home)
    next_release(home, 3)
    rollback(home, "local", to="1.0.0")
    shutil.rmtree(home.root / ".git")
    home.past_release(str(second.digest)).unlink()
    with pytest.raises(ReleaseError, match=f"; {second.digest} and older ones are neither in git nor here"):
        rollback(home, "local", created_by="ada@example.com")


@pytest.mark.parametrize("days", [15, 400])
def test_a_rollback_takes_evidence_however_old(home: Home, days: int):
    first, second = two_releases(home)
    old = msgspec.structs.replace(first.champion.evidence, evaluated_at=datetime.now(UTC) - timedelta(days=days))
    aged = sealed(msgspec.structs.replace(first, variants=(msgspec.structs.replace(first.champion, evidence=old),)))
    home.past_release(str(aged.digest)).write_bytes(encode_release(aged))
    later = sealed(msgspec.structs.replace(second, previous=aged.digest))
    home.release("local").write_bytes(encode_release(later))
    assert rollback(home, "local").champion.evidence == old


def test_a_rollback_goes_to_the_version_or_digest_that_it_is_told(home: Home):
    first, second = two_releases(home)
    third = promote(home, Request(stack="local", bundle=add_bundle(home, 3, compared=second.champion.bundle_digest)))
    assert rollback(home, "local", to="1.0.0").variants == first.variants
    assert rollback(home, "local", to=str(third.digest)[:8]).variants == third.variants
    assert rollback(home, "local", to=str(second.digest)).variants == second.variants
    for unknown in ("2.0.0", str(first.digest)[:7], "f" * 64):
        with pytest.raises(
            ReleaseError,
            match=rf"^{unknown} is not in the history; there is: 1.0.2 \({str(third.digest)[:12]}\), ".replace("1.0.2 ", ".*"),
        ):
            rollback(home, "local", to=unknown)


def test_a_rollback_to_what_is_live_writes_nothing(home: Home):
    first, _ = two_releases(home)
    back = rollback(home, "local")
    before = home.release("local").read_bytes()
    assert rollback(home, "local", to=first.champion.version) == back
    assert home.release("local").read_bytes() == before


def test_there_is_no_way_back_from_nothing_or_from_the_first_release(home: Home):
    with pytest.raises(
        ReleaseError, match=r"local\.json is not there, so nothing can be undone; run `churn promote --stack local`$"
    ):
        rollback(home, "local")
    add_bundle(home, 1)
    promote(home, Request(stack="local"))
    with pytest.raises(
        ReleaseError, match=r"^the live release of local is its first, .*; to take it off again, remove releases/local"
    ):
        rollback(home, "local")


def test_a_way_back_into_a_gap_is_named(home: Home):
    first, _ = two_releases(home)
    shutil.rmtree(home.root / ".git")
    home.past_release(str(first.digest)).unlink()
    with pytest.raises(ReleaseError, match=rf"there is: none; {first.digest} and older ones are neither in git nor here"):
        rollback(home, "local", created_by="ada@example.com")


def test_a_rollback_is_checked_by_the_gates(home: Home):
    first, second = two_releases(home)
    variants = (msgspec.structs.replace(first.champion, threshold=0.9),)
    edited = sealed(msgspec.structs.replace(first, variants=variants))
    home.past_release(str(edited.digest)).write_bytes(encode_release(edited))
    home.release("local").write_bytes(encode_release(sealed(msgspec.structs.replace(second, previous=edited.digest))))
    with pytest.raises(Refused, match=r"^threshold: "):
        rollback(home, "local")


def test_a_second_promotion_before_a_commit_replaces_the_draft(home: Home):
    _, live = two_releases(home, "prod")
    commit(home)
    draft_ = next_release(home, 3, "prod")
    other = add_bundle(home, 4, compared=live.champion.bundle_digest)
    release = promote(home, Request(stack="prod", bundle=other))
    assert draft_.previous == release.previous == live.digest
    assert draft_.champion.version == release.champion.version == "1.0.2"
    assert current(home, "prod") == release
    assert promote(home, Request(stack="prod", bundle=other)) == release == current(home, "prod")


def test_a_draft_is_taken_back_by_asking_for_what_is_committed(home: Home):
    _, live = two_releases(home, "staging")
    commit(home)
    before = home.release("staging").read_bytes()
    next_release(home, 3, "staging")
    assert promote(home, Request(stack="staging", bundle=live.champion.bundle_digest)) == live
    assert home.release("staging").read_bytes() == before
    home.release("staging").unlink()
    assert promote(home, Request(stack="staging", bundle=live.champion.bundle_digest)) == live
    assert home.release("staging").read_bytes() == before


def test_what_is_committed_stays_with_an_approval_that_is_not(home: Home, key: Path):
    live = promote(home, Request(stack="staging", bundle=add_bundle(home, 1), image=IMAGE, commit=COMMIT))
    commit(home)
    approved = sign_off(home, "staging", key)
    assert promote(home, Request(stack="staging", bundle=live.champion.bundle_digest)) == approved == current(home, "staging")


def test_a_rollback_replaces_what_is_committed_and_not_the_draft(home: Home):
    first, second = two_releases(home, "prod")
    with pytest.raises(ReleaseError, match=r"^the live release of prod is its first, "):
        rollback(home, "prod")
    commit(home)
    next_release(home, 3, "prod")
    back = rollback(home, "prod")
    assert (back.previous, back.rollback_of) == (second.digest, first.digest)
    assert rollback(home, "prod") == back == current(home, "prod")
    # The same draft on top of another release is another one.
    drafted = home.release("prod").read_bytes()
    home.release("prod").write_bytes(encode_release(second))
    third = next_release(home, 4, "prod")
    commit(home)
    home.release("prod").write_bytes(drafted)
    assert rollback(home, "prod", to="1.0.0").previous == third.digest


def test_there_is_no_way_back_from_a_draft(home: Home):
    promote(home, Request(stack="prod", bundle=add_bundle(home, 1), image=IMAGE, commit=COMMIT))
    with pytest.raises(ReleaseError, match=r"prod\.json is not committed, so nothing can be undone; remove it$"):
        rollback(home, "prod")


def test_outside_git_a_release_replaces_the_one_in_the_file(home: Home):
    shutil.rmtree(home.root / ".git")
    bundle, who = add_bundle(home, 1), "ada@example.com"
    first = promote(home, Request(stack="prod", bundle=bundle, image=IMAGE, commit=COMMIT, created_by=who))
    second = promote(home, Request(stack="prod", bundle=add_bundle(home, 2, compared=bundle), created_by=who))
    assert second.previous == first.digest
    assert rollback(home, "prod", created_by="ada@example.com").previous == second.digest


def test_a_committed_file_that_is_no_release_is_named(home: Home):
    home.release("prod").write_text("{}")
    commit(home)
    home.release("prod").unlink()
    add_bundle(home, 1)
    with pytest.raises(ReleaseError, match=r"^HEAD:\./releases/prod\.json is not a release"):
        promote(home, Request(stack="prod", image=IMAGE, commit=COMMIT))


def drafts(home: Home, count: int) -> tuple[Release, list[Release]]:
    """What is live, and releases that would each replace it."""
    live = promote(home, Request(stack="local", bundle=add_bundle(home, 0)))
    bundles = [add_bundle(home, seed, compared=live.champion.bundle_digest) for seed in range(1, count + 1)]
    requests = [Request(stack="local", bundle=digest, created_by=f"p{i}@example.com") for i, digest in enumerate(bundles)]
    return live, [draft(home, request, live) for request in requests]


def test_of_fifty_releases_of_the_same_moment_one_wins_and_the_others_hear_who(home: Home):
    live, made = drafts(home, 50)

    def attempt(release: Release) -> Release | Refused:
        try:
            replace(home, release, replaces=live.digest)
        except Refused as exc:
            return exc
        return release

    with ThreadPoolExecutor(50) as pool:
        outcomes = list(pool.map(attempt, made))
    [winner] = [outcome for outcome in outcomes if isinstance(outcome, Release)]
    assert releases(home, "local") == [winner, live]
    for loser in (outcome for outcome in outcomes if isinstance(outcome, Refused)):
        assert str(loser).startswith(f"chain: meanwhile {winner.created_by} released 1.0.1 on local at ")
        assert str(winner.digest) in str(loser)


RACE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from training.home import Home
from training.promote import Refused, Request, promote

def attempt(digest):
    try:
        return "won " + promote(Home(Path(sys.argv[1])), Request(stack="local", bundle=digest)).digest
    except Refused as exc:
        return "lost " + exc.messages[0].split(":")[0]

with ThreadPoolExecutor(10) as pool:
    print("\\n".join(pool.map(attempt, sys.argv[2:])))
"""


def test_of_fifty_promotions_in_five_processes_one_wins_and_the_chain_stays_whole(home: Home):
    live, made = drafts(home, 50)
    bundles = [release.champion.bundle_digest for release in made]
    command = [sys.executable, "-c", RACE, str(home.root)]
    running = [
        subprocess.Popen([*command, *bundles[i::5]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for i in range(5)
    ]
    said = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0] * 5, said
    outcomes = [line.split() for out, _ in said for line in out.splitlines()]
    assert Counter(outcome for outcome, _ in outcomes) == {"won": 1, "lost": 49}
    assert {why for outcome, why in outcomes if outcome == "lost"} <= {"chain", "comparison"}
    chain = releases(home, "local")
    assert chain[1:] == [live]
    assert ["won", chain[0].digest] in outcomes


def test_a_release_that_was_taken_away_meanwhile_is_not_written_over(home: Home):
    live, [release] = drafts(home, 1)
    home.release("local").unlink()
    with pytest.raises(Refused, match=r"^chain: meanwhile the release of local was taken away; look at it, then run this again$"):
        replace(home, release, replaces=live.digest)
    assert not home.release("local").exists()


# Ends itself by SIGKILL after the n-th call out of Python (write, fsync, rename ...) while it replaces the file, for every n.
KILLED = """
import os, signal, sys
from pathlib import Path
from app.release import decode_release
from training.home import Home
from training.replace import replace

WRITERS = {"replace.py", "files.py", "pathlib.py", "tempfile.py"}
home, replaces = Home(Path(sys.argv[1])), sys.argv[2]
release = decode_release(Path(sys.argv[3]).read_bytes(), "")
file, old = home.release("local"), home.release("local").read_bytes()
for step in range(1000):
    child = os.fork()
    if child == 0:
        left = step
        def look(frame, event, argument):
            global left
            left -= event == "c_return" and Path(frame.f_code.co_filename).name in WRITERS
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(look)
        replace(home, release, replaces=replaces)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    found = decode_release(file.read_bytes(), "").digest
    print(step, "done" if status == 0 else "killed", "new" if found == release.digest else "old" if found == replaces else found)
    if status == 0:
        break
    file.write_bytes(old)
"""


def test_killed_at_any_point_the_file_is_the_old_or_the_new_one_and_the_next_run_works(home: Home):
    live, [release] = drafts(home, 1)
    made = home.root / "made.json"
    made.write_bytes(encode_release(release))
    command = [sys.executable, "-c", KILLED, str(home.root), str(live.digest), str(made)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    outcomes = [tuple(line.split()[1:]) for line in said.splitlines()]
    assert set(outcomes[:-1]) <= {("killed", "old"), ("killed", "new")}
    assert outcomes.count(("killed", "old")) > 5
    assert outcomes[-1] == ("done", "new")
    assert releases(home, "local") == [release, live]
    assert [path.name for path in home.release("local").parent.iterdir()] == ["local.json"]


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
from training.cli import main
sys.argv[0] = "churn"
main()
"""


def test_on_a_full_disk_the_file_stays_and_the_message_says_so(home: Home):
    live, [release] = drafts(home, 1)
    before = home.release("local").read_bytes()
    command = [sys.executable, "-B", "-c", FULL, "--home", str(home.root), "promote", "--bundle", release.champion.bundle_digest]
    # Coverage has no room either.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=alone)
    assert done.returncode == 2
    assert re.fullmatch(r".*local\.json is as it was, because writing failed: .*File too large.*; make room .*\n", done.stderr)
    assert home.release("local").read_bytes() == before
    assert decode_release(before, "") == live
    assert [path.name for path in home.release("local").parent.iterdir()] == ["local.json"]
