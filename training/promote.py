"""From a bundle, or from another stack, to a stack's release file; and back again."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from app.bundle import Manifest, fetch_bundle
from app.contract import CONTRACT_DIGEST
from app.decide import break_even, value_of_a_saved_customer_usd
from app.release import AlertLimits, BusinessCase, Evidence, Image, Release, ReleaseError, Role, Stack, Variant, sealed
from policies.release import NEEDS_APPROVAL
from training.history import base, chain, current, git, released, replaced, wanted
from training.home import Home
from training.replace import Refused, check, replace

__all__ = ["Refused", "Request", "business_case", "draft", "promote", "rollback"]

CHALLENGER_PERCENT = 10
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to release. Image, business case and alert limits stay as they are live, or come from `from_stack`, unless given.

    `bundle` is a digest, the bundle trained last unless given; `weight_percent` is a challenger's, 10 unless given; `image` is
    `repository@sha256:...`; `business_case` and `alert_limits` hold the values to change, by field.
    """

    stack: Stack
    bundle: str | None = None
    from_stack: Stack | None = None
    role: Role = "champion"
    weight_percent: int | None = None
    image: str | None = None
    commit: str | None = None
    business_case: Mapping[str, float] = field(default_factory=dict[str, float])
    alert_limits: Mapping[str, float] = field(default_factory=dict[str, float])
    created_by: str | None = None
    reason: str | None = None


def promote(home: Home, request: Request) -> Release:
    """The release now in the stack's file: the one that was there, if it already answers in the same way.

    Raises Refused by a gate, ReleaseError or BundleError for what cannot be read; then nothing was written.
    """
    file = current(home, request.stack)
    live = base(home, request.stack, file)
    return _put(home, draft(home, request, live), live, file)


def rollback(
    home: Home, stack: Stack, to: str | None = None, created_by: str | None = None, reason: str | None = None
) -> Release:
    """The release now in the stack's file: it restores the one before, or that of version or digest `to`. Raises as promote."""
    file = current(home, stack)
    live = base(home, stack, file)
    if live is None:
        found, remedy = ("committed", "remove it") if file else ("there", f"run `churn promote --stack {stack}`")
        raise ReleaseError(f"{home.release(stack)} is not {found}, so nothing can be undone; {remedy}")
    restored = wanted(chain(home, stack, live), to)
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
    return _put(home, release, live, file)


def _put(home: Home, release: Release, live: Release | None, file: Release | None) -> Release:
    """The release now in the file, which held `file`: this one, unless what is live, or a draft on top of it, says the same."""
    drafted = file if file and file.previous == release.previous else None
    for there in filter(None, (live, drafted)):
        if _answers(there) == _answers(release):
            release = there
            break
    else:
        check(home, release, live, approved=False)
    if file is None or file.digest != release.digest:
        replace(home, release, replaces=file.digest if file else None)
    return release


def draft(home: Home, request: Request, live: Release | None) -> Release:
    """The release that the request asks for on top of `live`, sealed and not yet judged."""
    if request.weight_percent is not None and request.role != "challenger":
        raise ReleaseError(f"--weight is {request.weight_percent}, but only a challenger has a share to choose; leave it out")
    history = chain(home, request.stack, live)
    source = _source(home, request)
    kept = source or live
    case = business_case(kept.business_case if kept else BusinessCase(), request.business_case)
    limits = {**msgspec.to_builtins(kept.limits if kept else AlertLimits()), **request.alert_limits}
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
            alert_limits=_typed(limits, AlertLimits, "an alert limit"),
            previous=live.digest if live else None,
        )
    )


def business_case(kept: BusinessCase, changes: Mapping[str, float]) -> BusinessCase:
    """The case with some values changed, by field. Raises ReleaseError for a case that nothing can be reckoned with."""
    case = _typed({**msgspec.to_builtins(kept), **changes}, BusinessCase, "the business case")
    gain_usd = case.offer_acceptance * value_of_a_saved_customer_usd(case)
    if not (0 < gain_usd < math.inf and case.offer_cost_usd < math.inf):
        raise ReleaseError(
            f"the business case is wrong: an accepted offer costs {case.offer_cost_usd} USD and brings {gain_usd} USD; "
            "give amounts above 0 that can be reckoned with"
        )
    return case


def restores(release: Release, restored: Release) -> bool:
    """Whether a rollback answers as the release that it says it goes back to."""
    return _answers(release) == _answers(restored)


def _answers(release: Release) -> tuple[object, ...]:
    """All that decides what anybody is told: neither who, when and why, nor evidence taken anew."""
    variants = [(v.role, v.weight_percent, v.bundle_digest, v.version, v.threshold) for v in release.variants]
    return release.image, release.business_case, release.limits, variants


def _source(home: Home, request: Request) -> Release | None:
    if request.from_stack is None:
        return None
    if request.bundle is not None or request.from_stack == request.stack or request.role != "champion":
        raise ReleaseError("--from takes all variants of another stack: leave out --bundle and --role, and name another stack")
    there = chain(home, request.from_stack, released(home, request.from_stack))
    if request.from_stack in NEEDS_APPROVAL:
        check(home, there[0], replaced(there), approved=True)
    return there[0]


def _taken_over(home: Home, source: Release, history: Sequence[Release]) -> list[Variant]:
    known, champion = _versions(history), history[0].champion.bundle_digest if history else None
    return [
        msgspec.structs.replace(
            variant,
            version=known.get(variant.bundle_digest, variant.version),
            evidence=_later_evidence(home, variant, champion) or variant.evidence,
        )
        for variant in source.variants
    ]


def _later_evidence(home: Home, variant: Variant, champion: str | None) -> Evidence | None:
    """What was found here after what the variant carries, against this stack's own champion, and so tells more."""
    found = _evidence(home, variant.bundle_digest)
    if found is None or found.evaluated_at <= variant.evidence.evaluated_at or (champion and found.compared_with != champion):
        return None
    return found


def _variant(home: Home, request: Request, history: Sequence[Release]) -> Variant:
    digest = request.bundle or last_trained(home)
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ReleaseError(f"the bundle is {digest!a}; give its whole digest, 64 hex digits as `churn bundle` prints them")
    manifest = fetch_bundle(home.bundles_url, digest).manifest
    evidence = _evidence(home, digest)
    if evidence is None:
        raise ReleaseError(f"{home.evidence(digest)} is not there; run `churn evaluate --bundle {digest}`")
    return Variant(
        role=request.role,
        weight_percent={"champion": 100, "challenger": request.weight_percent or CHALLENGER_PERCENT, "shadow": 0}[request.role],
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


def last_trained(home: Home) -> str:
    """The digest of the bundle that was trained last. Raises ReleaseError where there is none."""
    try:
        return home.candidate.read_text().strip()
    except FileNotFoundError:
        raise ReleaseError(
            f"{home.candidate} is not there: no bundle was trained yet; run `churn train TABLE`, or name a bundle"
        ) from None
    except UnicodeDecodeError as exc:
        raise ReleaseError(f"{home.candidate} is not UTF-8: {exc}; run `churn train TABLE` again, or name a bundle") from exc


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
