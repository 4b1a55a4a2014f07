"""The model gate on whole stacks: what is refused is what a release, or the pod that carries it, says of itself."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from app.release import Release, encode_release
from policies.pack import RULES
from policies.release import digest_of
from policies.rule import Facts
from tests.policies.scenes import OWN_IMAGE, STACKS, Scene, approved, carries, scene
from tests.releases import make_evidence, make_release, make_variant, successor
from tests.signing import make_key

MODEL = ("model-release", "model-gate", "model-image")


def refusals(found: Scene) -> list[str]:
    """What mandatory rules about the model say."""
    return [f"{each.rule}: {each.message}" for each in found.verdicts() if each.level == "mandatory" and each.rule in MODEL]


def with_release(stack: str, release: Release) -> Scene:
    """The stack with another release in place of its second one, which git does not have yet."""
    found = scene(stack)
    facts = replace(found.facts, committed=lambda: found.facts.committed()[1:])
    return replace(found, facts=facts).carrying(encode_release(release).decode())


@pytest.mark.parametrize("stack", STACKS)
def test_a_good_release_is_refused_on_no_stack(stack: str):
    assert [each for each in scene(stack).verdicts() if each.level == "mandatory"] == []


@pytest.mark.parametrize("again", [False, True], ids=["digest as it was", "re-digested"])
@pytest.mark.parametrize("stack", ["staging", "prod"])
def test_tampering_with_any_field_is_refused(stack: str, again: bool):
    release = scene(stack).release
    tampered = release | {"reason": "another"}
    tampered |= {"digest": digest_of(tampered)} if again else {}
    said = refusals(scene(stack).carrying(tampered))
    assert any("signature" in each if again else "digest" in each for each in said)


@pytest.mark.parametrize("at", range(0, 6000, 389))
def test_tampering_with_any_byte_is_refused(at: int):
    text = json.dumps(scene("dev").release, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    at %= len(text)
    other = " " if text[at] != " " else "\n"
    assert refusals(scene("dev").carrying(text[:at] + other + text[at + 1 :]))


def live(stack: str) -> Release:
    """What is there before."""
    return approved(make_release(stack=stack, image=OWN_IMAGE))


def stale(release: Release) -> Release:
    [variant] = release.variants
    old = msgspec.structs.replace(variant.evidence, evaluated_at=variant.evidence.evaluated_at.replace(year=2020))
    return successor(live("prod"), variants=(msgspec.structs.replace(variant, evidence=old),))


CHANGES: dict[str, tuple[Callable[[Release], Release], str]] = {
    "unsigned": (lambda release: msgspec.structs.replace(release, approval=None), "approval"),
    "stale": (lambda release: approved(stale(release)), "freshness"),
    "self-approved": (lambda _: approved(successor(live("prod"), created_by="bea@example.com")), "created the release"),
    "without a chain": (lambda _: approved(make_release(stack="prod", image=OWN_IMAGE, reason="other")), "chain"),
    "of another stack": (lambda _: approved(make_release(stack="staging", image=OWN_IMAGE)), "this stack is prod"),
    "of an older version": (
        lambda _: approved(successor(live("prod"), variants=(make_variant(version="0.9.0", bundle_digest="b" * 64),))),
        "version",
    ),
    "of another contract": (
        lambda _: approved(
            successor(
                live("prod"), variants=(make_variant(bundle_digest="b" * 64, evidence=make_evidence(contract_digest="e" * 64)),)
            )
        ),
        "contract",
    ),
}


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES)
def test_a_release_is_refused_on_prod(change: Callable[[Release], Release], said: str):
    release = msgspec.convert(scene("prod").release, Release, strict=False)
    assert any(said in each for each in refusals(with_release("prod", change(release))))


def test_a_signature_by_a_key_that_is_not_listed_is_refused(tmp_path: Any):
    stranger = approved(successor(live("prod")), key=make_key(tmp_path / "stranger"))
    assert any("not listed" in each for each in refusals(with_release("prod", stranger)))


def test_what_approves_a_release_changes_nothing_that_it_says():
    found = scene("prod")
    unapproved = [dict(each) | {"approval": None} for each in found.facts.committed()]
    facts = Facts(allowed_signers=found.facts.allowed_signers, committed=lambda: unapproved)
    assert refusals(replace(found, facts=facts)) == []


def pods(found: Scene, edit: Callable[[dict[str, Any]], object]) -> Scene:
    """The same with another pod template."""
    entries = json.loads(json.dumps(found.entries))
    [template] = [each["inputs"]["spec"]["template"] for each in entries if carries(each)]
    edit(template)
    return Scene(found.stack, tuple(entries), found.settings, found.facts)


PODS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "without a release": (lambda pod: pod["metadata"]["annotations"].pop("churn/release"), "annotation churn/release is missing"),
    "with half a release": (lambda pod: pod["metadata"]["annotations"].update({"churn/release": "{"}), "is no JSON"),
    "with a list": (lambda pod: pod["metadata"]["annotations"].update({"churn/release": "[]"}), "give the file"),
    "with another image": (
        lambda pod: pod["spec"]["containers"][0].update(image=f"{OWN_IMAGE.repository}@sha256:{'9' * 64}"),
        "give the release's own",
    ),
    "with another name": (lambda pod: pod["spec"]["containers"][0].update(name="other"), "no container is called inference"),
    "unknown": (lambda pod: pod["metadata"]["annotations"].update({"churn/release": "${other/thing.id}"}), "is not known"),
}


@pytest.mark.parametrize(("edit", "said"), PODS.values(), ids=PODS)
def test_a_pod_is_refused_on_prod(edit: Callable[[dict[str, Any]], object], said: str):
    assert any(said in each for each in refusals(pods(scene("prod"), edit)))


@pytest.mark.parametrize(("stack", "refused"), [("dev", True), ("local", False)])
def test_an_image_of_another_registry_is_refused_but_locally(stack: str, refused: bool):
    other = msgspec.structs.replace(OWN_IMAGE, repository="registry.example/churn")
    carrying = with_release(stack, make_release(stack=stack, image=other))
    found = pods(carrying, lambda pod: pod["spec"]["containers"][0].update(image=f"{other.repository}@{other.digest}"))
    assert any("own registry" in each for each in refusals(found)) == refused


def test_the_examples_of_the_gate_are_what_it_says():
    prod = scene("prod")
    named = prod.release | {"image": {"repository": "registry.example/churn", "digest": "sha256:1"}, "approval": None}
    other = pods(prod.carrying(named), lambda pod: pod["spec"]["containers"][0].update(image="other:1"))
    unsigned = with_release("prod", msgspec.structs.replace(approved(successor(live("prod"))), approval=None))
    bare = pods(prod, lambda pod: pod["metadata"]["annotations"].pop("churn/release"))
    said = [each.message for found in (other, unsigned, bare) for each in found.verdicts()]
    assert {RULES[rule].example for rule in MODEL} <= set(said)
