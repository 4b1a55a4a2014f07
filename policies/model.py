"""The model gate: the release that the inference workload carries, and that what runs is what was released."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, cast

from msgspec import Meta

from policies.declared import Resource, UnreadableError, shown
from policies.pods import SERVING, WORKLOAD, containers, template
from policies.release import digest_of, violations
from policies.rule import EachRule, Facts, Settings

ANNOTATION = "churn/release"
# How `churn promote` names the rule about the release before, which only stacks whose releases are in git can keep.
CHAIN = "chain"


class Gate(Settings, frozen=True, kw_only=True):
    """Which stack a release must be of, and whether git has the one that it replaces."""

    stack: Annotated[str, Meta(examples=["prod"])]
    chained: Annotated[bool, Meta(examples=[True])]


class Registry(Settings, frozen=True, kw_only=True):
    """Where the project's own images are; without it a release may name any, as on a cluster of one's own."""

    registry: Annotated[str, Meta(examples=[r"[0-9]{12}\.dkr\.ecr\.eu-west-1\.amazonaws\.com/[a-z0-9][a-z0-9/._-]*"])] = ""


def released(workload: Resource) -> Mapping[str, Any] | None:
    """The release in a workload's annotation; None for a workload without one. Raises UnreadableError."""
    annotation = template(workload)["metadata"]["annotations"][ANNOTATION]
    if not annotation.given:
        return None
    try:
        release = json.loads(annotation.text)
    except (ValueError, RecursionError) as exc:
        raise UnreadableError(f"{annotation.place} is no JSON ({exc}); give the file that `churn promote` wrote") from exc
    if not isinstance(release, dict):
        raise UnreadableError(f"{annotation.place} is {shown(release)}; give the file that `churn promote` wrote")
    return cast("dict[str, Any]", release)


def _carried(workload: Resource, _: Settings) -> Iterator[str]:
    if workload["metadata"]["name"].known != WORKLOAD:
        return
    release = released(workload)
    if release is None:
        yield f"annotation {ANNOTATION} is missing, so that nobody can say which model answers; give the release's file"
        return
    annotation = template(workload)["metadata"]["annotations"][ANNOTATION]
    # Another spelling of the same release would have the same digest: what pods read is what was approved, byte by byte.
    if json.dumps(release, sort_keys=True, indent=2, ensure_ascii=False) + "\n" != annotation.text:
        yield f"annotation {ANNOTATION} is not as `churn promote` writes it; restore the file from git"


class ReleaseRule(EachRule):
    """Runs the gates that `churn promote` runs, on what would be deployed and with what git says was live before."""

    def judge(self, resource: Resource, settings: Gate, facts: Facts) -> Iterator[str]:
        """What is wrong with the release that a workload carries."""
        release = released(resource)
        if release is None:
            return
        if release.get("stack") != settings.stack:
            yield f"the release is for {shown(release.get('stack'))}, this stack is {settings.stack}; promote to {settings.stack}"
        previous = _replaced(release, facts) if settings.chained else None
        for found in violations(release, previous=previous, allowed_signers=facts.allowed_signers):
            if settings.chained or found.rule != CHAIN:
                yield f"{found.rule}: {found.message}"


def _replaced(release: Mapping[str, Any], facts: Facts) -> Mapping[str, Any] | None:
    """What git had in the file before this release; approving it changes the file, but not what it says."""
    return next((each for each in facts.committed() if digest_of(each) != digest_of(release)), None)


def _image(workload: Resource, settings: Registry) -> Iterator[str]:
    release = released(workload)
    image = (release or {}).get("image")
    if not isinstance(image, dict):
        return
    named = cast("dict[str, Any]", image)
    repository, digest = str(named.get("repository")), str(named.get("digest"))
    if settings.registry and not re.fullmatch(settings.registry, repository):
        yield f"the release names an image of {repository}; give one of the project's own registry"
    own = [each for each in containers(workload) if each["name"].known == WORKLOAD]
    if not own:
        yield f"no container is called {WORKLOAD}; give the one that answers that name"
    for container in own:
        if container["image"].text != f"{repository}@{digest}":
            yield f"{container.place}.image is {shown(container['image'].value)}; give the release's own, {repository}@{digest}"


RULES = (
    EachRule(
        id="model-release",
        why="Which model answers, and on what evidence, is said by the pods themselves.",
        severity="critical",
        frameworks=("Well-Architected Machine Learning Lens",),
        example=f"annotation {ANNOTATION} is missing, so that nobody can say which model answers; give the release's file",
        types=SERVING,
        check=_carried,
    ),
    ReleaseRule(
        id="model-gate",
        why="A model without fresh, sufficient and approved evidence decides about customers' money on nobody's word.",
        severity="critical",
        frameworks=("Well-Architected Machine Learning Lens",),
        example="approval: prod needs an approval; run `churn approve --stack prod --key ~/.ssh/id_ed25519`",
        settings=Gate,
        types=SERVING,
        check=lambda _workload, _settings: iter(()),
    ),
    EachRule(
        id="model-image",
        why="The evidence is about one contract and one image: another image is another service.",
        severity="critical",
        frameworks=("CIS EKS 1.7.0 5.1.4",),
        example='spec.template.spec.containers[0].image is "other:1"; give the release\'s own, registry.example/churn@sha256:1',
        settings=Registry,
        types=SERVING,
        check=_image,
    ),
)
