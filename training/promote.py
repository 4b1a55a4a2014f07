"""From a bundle, or from another stack, to a stack's release file; and back again."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from app.bundle import Manifest, fetch_bundle
from app.contract import CONTRACT_DIGEST
from app.decide import break_even
from app.release import BusinessCase, Evidence, Image, Release, ReleaseError, Role, Stack, Variant, sealed
from training.history import current, git, releases
from training.home import Home
from training.publish import Refused, check, publish

__all__ = ["Refused", "Request", "draft", "promote", "rollback"]

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to release. Image and business case stay as they are live, or come from `from_stack`, unless they are given.

    `bundle` is a digest, the bundle trained last unless given; `weight_percent` is a challenger's; `image` is
    `repository@sha256:...`; `business_case` holds the values to change, by field.
    """

    stack: Stack
    bundle: str | None = None
    from_stack: Stack | None = None
    role: Role = "champion"
    weight_percent: int = 10
    image: str | None = None
    commit: str | None = None
    business_case: Mapping[str, float] = field(default_factory=dict[str, float])
    created_by: str | None = None
    reason: str | None = None


def promote(home: Home, request: Request) -> Release:
    """The release now in the stack's file: the one that was there, if it already answers in the same way.

    Raises Refused by a gate, ReleaseError or BundleError for what cannot be read; then nothing was written.
    """
    live = current(home, request.stack)
    release = draft(home, request, live)
    if live is not None and _answers(release) == _answers(live):
        return live
    check(home, release, live, approved=False)
    publish(home, release, replaces=release.previous)
    return release


def rollback(
    home: Home, stack: Stack, to: str | None = None, created_by: str | None = None, reason: str | None = None
) -> Release:
    """The release now in the stack's file: it restores the one before, or that of version or digest `to`. Raises as promote."""
    chain = releases(home, stack)
    if not chain:
        raise ReleaseError(f"{home.release(stack)} is not there, so nothing can be undone; run `churn promote --stack {stack}`")
    live, restored = chain[0], _wanted(chain, to)
    if _answers(restored) == _answers(live):
        return live
    release = sealed(
        msgspec.structs.replace(
            restored,
            created_at=datetime.now(UTC),
            created_by=created_by or _author(home),
            reason=reason or f"back to {restored.champion.version}",
            previous=live.digest,
            rollback_of=restored.digest,
        )
    )
    check(home, release, live, approved=False)
    publish(home, release, replaces=live.digest)
    return release


def draft(home: Home, request: Request, live: Release | None) -> Release:
    """The release that the request asks for on top of `live`, sealed and not yet judged."""
    history = releases(home, request.stack)
    source = _source(home, request)
    kept = source or live
    stated = msgspec.to_builtins(kept.business_case if kept else BusinessCase())
    case = _typed({**stated, **request.business_case}, BusinessCase, "the business case")
    variants = _taken_over(home, source, history) if source else _joined(live, _variant(home, request, history))
    return sealed(
        Release(
            stack=request.stack,
            created_at=datetime.now(UTC),
            created_by=request.created_by or _author(home),
            reason=request.reason or ", ".join(f"{variant.role} {variant.version}" for variant in variants),
            image=_image(home, request, kept),
            variants=tuple(msgspec.structs.replace(variant, threshold=break_even(case)) for variant in variants),
            business_case=case,
            previous=live.digest if live else None,
        )
    )


def restores(release: Release, restored: Release) -> bool:
    """Whether a rollback answers as the release that it says it goes back to."""
    return _answers(release) == _answers(restored)


def _answers(release: Release) -> tuple[object, ...]:
    """All that decides what customers are told: neither who, when and why, nor evidence taken anew."""
    variants = [(v.role, v.weight_percent, v.bundle_digest, v.version, v.threshold) for v in release.variants]
    return release.image, release.business_case, variants


def _source(home: Home, request: Request) -> Release | None:
    if request.from_stack is None:
        return None
    if request.bundle is not None or request.from_stack == request.stack or request.role != "champion":
        raise ReleaseError("--from takes all variants of another stack: leave out --bundle and --role, and name another stack")
    source = current(home, request.from_stack)
    if source is None:
        raise ReleaseError(f"{home.release(request.from_stack)} is not there; run `churn promote --stack {request.from_stack}`")
    return source


def _taken_over(home: Home, source: Release, history: Sequence[Release]) -> list[Variant]:
    known = _versions(history)
    return [
        msgspec.structs.replace(
            variant,
            version=known.get(variant.bundle_digest, variant.version),
            # A later evaluation, against this stack's own champion, tells more than the one that came along.
            evidence=_evidence(home, variant.bundle_digest) or variant.evidence,
        )
        for variant in source.variants
    ]


def _variant(home: Home, request: Request, history: Sequence[Release]) -> Variant:
    digest = request.bundle or _candidate(home)
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ReleaseError(f"the bundle is {digest!a}; give its whole digest, 64 hex digits as `churn bundle` prints them")
    manifest = fetch_bundle(home.bundles_url, digest).manifest
    evidence = _evidence(home, digest)
    if evidence is None:
        raise ReleaseError(f"{home.evidence(digest)} is not there; run `churn evaluate --bundle {digest}`")
    return Variant(
        role=request.role,
        weight_percent={"champion": 100, "challenger": request.weight_percent, "shadow": 0}[request.role],
        bundle_digest=digest,
        version=_versions(history).get(digest) or _next_version(home, history, manifest),
        threshold=0.0,
        evidence=evidence,
    )


def _joined(live: Release | None, new: Variant) -> list[Variant]:
    """The new variant among the live ones: a champion ends every experiment, others replace what had their role."""
    if new.role == "champion":
        return [new]
    if live is None or live.champion.bundle_digest == new.bundle_digest:
        raise ReleaseError(f"a {new.role} runs beside another bundle that is champion; promote that one first")
    stay = [v for v in live.variants if v.role not in ("champion", new.role) and v.bundle_digest != new.bundle_digest]
    rest_percent = 100 - new.weight_percent - sum(variant.weight_percent for variant in stay)
    return [msgspec.structs.replace(live.champion, weight_percent=rest_percent), *stay, new]


def _versions(history: Sequence[Release]) -> dict[str, str]:
    return {variant.bundle_digest: variant.version for release in history for variant in release.variants}


def _next_version(home: Home, history: Sequence[Release], manifest: Manifest) -> str:
    """Major for another contract, minor for another algorithm or other features, patch for other data."""
    if not history:
        return "1.0.0"
    major, minor, patch = max(tuple(map(int, version.split("."))) for version in _versions(history).values())
    champion = history[0].champion
    if champion.evidence.contract_digest != manifest.contract_digest:
        return f"{major + 1}.0.0"
    live = fetch_bundle(home.bundles_url, champion.bundle_digest).manifest
    if (live.algorithm, live.features_digest) != (manifest.algorithm, manifest.features_digest):
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"


def _candidate(home: Home) -> str:
    try:
        return home.candidate.read_text().strip()
    except FileNotFoundError:
        raise ReleaseError(f"{home.candidate} is not there; run `churn train` first, or give --bundle") from None


def _evidence(home: Home, bundle_digest: str) -> Evidence | None:
    try:
        return msgspec.json.decode(home.evidence(bundle_digest).read_bytes(), type=Evidence)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ReleaseError(f"{home.evidence(bundle_digest)} is not evidence: {exc}; run `churn evaluate` again") from exc


def _image(home: Home, request: Request, kept: Release | None) -> Image | None:
    if request.image is None:
        return kept.image if kept else None
    repository, _, digest = request.image.partition("@")
    commit = request.commit or git(home.root, "rev-parse", "HEAD").decode().strip()
    stated = {"repository": repository, "digest": digest, "contract_digest": CONTRACT_DIGEST, "commit": commit}
    return _typed(stated, Image, "the image (--image repository@sha256:<64 hex digits>, --commit <40 hex digits>)")


def _typed(stated: Mapping[str, object], kind: type[_T], name: str) -> _T:
    try:
        return msgspec.convert(stated, kind)
    except msgspec.ValidationError as exc:
        raise ReleaseError(f"{name} is wrong: {exc}") from exc


def _author(home: Home) -> str:
    if email := git(home.root, "config", "user.email").decode().strip():
        return email
    raise ReleaseError("nobody is named as the author; run `git config user.email you@example.com`, or give --created-by")


def _wanted(chain: Sequence[Release], to: str | None) -> Release:
    """The newest release before the live one that `to` names: by version, or by the beginning of its digest."""
    past = chain[1:]
    for release in past:
        if to is None or release.champion.version == to or (len(to) >= 8 and str(release.digest).startswith(to)):  # noqa: PLR2004  # as git's short ids
            return release
    there = ", ".join(f"{release.champion.version} ({str(release.digest)[:12]})" for release in past) or "none"
    gap = (
        f"; {chain[-1].previous} and older ones are neither in git nor here (`git fetch --unshallow`)"
        if chain[-1].previous
        else ""
    )
    raise ReleaseError(f"{to or 'a release before the live one'} is not in the history; there is: {there}{gap}")
