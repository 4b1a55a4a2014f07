"""The gates: rules that a release file must pass before it is written, approved or deployed.

Plain functions over parsed JSON that share no code with what writes releases. Whatever is missing or of another type is itself
a violation, so that a rule never passes for want of a value.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from policies import shape
from policies.behaviour import Check, checks
from policies.signature import may_belong_to, principals_of, signing_key

STACKS = ("local", "dev", "staging", "prod")
NEEDS_APPROVAL = ("staging", "prod")
APPROVAL = "approval"
_UNDIGESTED = ("digest", "approval")
_THRESHOLD_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far from the ideal a release may be."""

    # About two standard errors of a paired AUC difference on 1,400 rows: an equal model passes nineteen times in twenty, one
    # that is worse by twice the margin is refused as often.
    auc_margin: float = 0.005
    # No better than a coin within its 95 % interval is no model, whatever it is compared with.
    min_auc: float = 0.5
    # What is tolerated beyond chance, in each slice as well: with it the worth of an average offer is off by less than a tenth.
    # By chance alone a calibrated model shows an error over ten deciles of up to about 1 / sqrt(rows), which the gate adds:
    # seen were 0.02 on 1,400 rows, 0.05 to 0.08 on 200 and 0.10 on 80.
    max_calibration_error: float = 0.03
    # Within groups that a strong attribute defines, such as those by contract, 0.10 less than overall is in the nature of AUC.
    max_subgroup_auc_gap: float = 0.15
    # Ten steps of float32 near 1: more is another model, or another customer, not rounding.
    max_parity: float = 1e-6
    max_relative_cost: float = 3.0
    max_evidence_age: timedelta = timedelta(days=14)


@dataclass(frozen=True)
class Violation:
    """A rule that is broken, by its stable name, and a message that says where, what was found and what to do."""

    rule: str
    message: str


@dataclass(frozen=True)
class _Case:
    release: shape.Release
    previous: shape.Release | None
    allowed_signers: str
    limits: Limits

    @property
    def named(self) -> Iterator[tuple[str, shape.Variant]]:
        """Each variant, and how a message calls it."""
        for variant in self.release["variants"]:
            yield f"{variant['role']} {variant['version']} ({variant['bundle_digest'][:12]})", variant

    @property
    def entering(self) -> Iterator[tuple[str, shape.Variant]]:
        """The variants that were not live in the same role before. That one which was has grown old is an alert's business."""
        live = self.previous["variants"] if self.previous else []
        before = {(variant["role"], variant["bundle_digest"]) for variant in live}
        return ((name, v) for name, v in self.named if (v["role"], v["bundle_digest"]) not in before)

    @property
    def is_rollback(self) -> bool:
        return self.release["rollback_of"] is not None


def violations(
    release: Mapping[str, object],
    *,
    previous: Mapping[str, object] | None,
    allowed_signers: str,
    limits: Limits = Limits(),
) -> list[Violation]:
    """Every rule that a release breaks as the successor of `previous` (None where nothing is live). Raises nothing."""
    misfits = list(shape.misfits(release, shape.Release, ""))
    if previous is not None:
        misfits += [f"in the release that it replaces, {found}" for found in shape.misfits(previous, shape.Release, "")]
    if misfits:
        return [Violation("shape", found) for found in misfits]
    case = _Case(cast(shape.Release, release), cast("shape.Release | None", previous), allowed_signers, limits)
    return [Violation(rule, message) for rule, check in _RULES.items() for message in check(case)]


def digest_of(release: Mapping[str, object]) -> str:
    """sha256 of the canonical JSON of a release, its digest and approval left out."""
    content = {name: value for name, value in release.items() if name not in _UNDIGESTED}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _digest(case: _Case) -> Iterator[str]:
    if (found := case.release["digest"]) != (expected := digest_of(case.release)):
        yield f"the file carries digest {found}, its content has {expected}; restore it, or promote again"


def _stack(case: _Case) -> Iterator[str]:
    if (stack := case.release["stack"]) not in STACKS:
        yield f"the stack is {stack!a}; give one of {', '.join(STACKS)}"
    if case.previous and case.previous["stack"] != stack:
        yield f"it is for {stack}, but the release that it replaces is for {case.previous['stack']}; promote with --stack"


def _chain(case: _Case) -> Iterator[str]:
    found = case.release["previous"]
    expected = digest_of(case.previous) if case.previous else None
    if found != expected:
        yield f"it replaces {found or 'nothing'}, but {expected or 'nothing'} is live; promote again on what is live"
    if case.previous is None and case.is_rollback:
        yield "it is a rollback where nothing was live; promote instead"
    # Without this order a creation date in the past would pass old evidence for fresh.
    if case.previous and _moment(case.release["created_at"]) < _moment(case.previous["created_at"]):
        yield (
            f"it was created at {case.release['created_at']}, before the release that it replaces "
            f"({case.previous['created_at']}); set the clock and promote again"
        )


def _weights(case: _Case) -> Iterator[str]:
    variants = case.release["variants"]
    if (champions := sum(variant["role"] == "champion" for variant in variants)) != 1:
        yield f"there are {champions} champions; give exactly one variant that role"
    if (total := sum(variant["weight_percent"] for variant in variants if variant["role"] != "shadow")) != 100:  # noqa: PLR2004  # percent
        yield f"champion and challengers have {total} percent together; give them 100"
    for name, variant in case.named:
        if (variant["weight_percent"] == 0) != (variant["role"] == "shadow"):
            yield f"{name} has {variant['weight_percent']} percent; a shadow has 0, every other at least 1"
    if len({variant["bundle_digest"] for variant in variants}) != len(variants):
        yield "a bundle is there twice; give each bundle one role"


def _threshold(case: _Case) -> Iterator[str]:
    money = case.release["business_case"]
    gain_usd = money["offer_acceptance"] * money["margin_usd_per_month"] * money["horizon_months"]
    break_even = money["offer_cost_usd"] / gain_usd if gain_usd else float("inf")
    if not 0 < break_even < 1:
        yield f"the business case breaks even at probability {break_even:.6g}, so that no decision is left; change the case"
    for name, variant in case.named:
        if not abs(variant["threshold"] - break_even) <= _THRESHOLD_TOLERANCE:
            yield f"{name} has threshold {variant['threshold']!r}, the business case breaks even at {break_even!r}; give that"


def _evidence_threshold(case: _Case) -> Iterator[str]:
    for name, variant in case.named:
        measured, decided = variant["evidence"]["threshold"], variant["threshold"]
        if not abs(measured - decided) <= _THRESHOLD_TOLERANCE:
            yield (
                f"{name} was evaluated for offers from probability {measured!r}, it makes them from {decided!r}; "
                "run `churn evaluate TABLE` with the same business case"
            )


def _image(case: _Case) -> Iterator[str]:
    if case.release["image"] is None and case.release["stack"] != "local":
        yield "there is no image, which only local may do without; give --image repository@sha256:... and --commit"


def _contract(case: _Case) -> Iterator[str]:
    image = case.release["image"]
    expected = image["contract_digest"] if image else case.release["variants"][0]["evidence"]["contract_digest"]
    for name, variant in case.named:
        if (found := variant["evidence"]["contract_digest"]) != expected:
            yield (
                f"{name} was evaluated under contract {found[:12]}, {'the image has' if image else 'the first variant'} "
                f"{expected[:12]}; use bundles and an image of one contract"
            )


def _comparison(case: _Case) -> Iterator[str]:
    if case.previous is None or case.is_rollback:
        return
    champion = next((each for each in case.previous["variants"] if each["role"] == "champion"), None)
    live = champion and champion["bundle_digest"]
    for name, variant in case.entering:
        evidence = variant["evidence"]
        # No rows are of both contracts: what a new one brings has to pass the other gates, and to be approved.
        if champion and champion["evidence"]["contract_digest"] != evidence["contract_digest"]:
            continue
        compared = evidence["auc_difference"] is not None and evidence["relative_cost"] is not None
        if variant["bundle_digest"] != live and (evidence["compared_with"] != live or not compared):
            yield (
                f"{name} was compared with {evidence['compared_with'] or 'nothing'}, the live champion is {live}; "
                "run `churn evaluate` against it (AUC difference and relative cost are needed)"
            )


def _auc(case: _Case) -> Iterator[str]:
    for name, variant in case.named:
        auc, difference = variant["evidence"]["metrics"].get("auc"), variant["evidence"]["auc_difference"]
        if auc is None:
            yield f"{name} has no metric auc; run `churn evaluate`"
        elif not auc["low"] > case.limits.min_auc:
            yield f"{name} has AUC {auc['value']:.4f} from {auc['low']:.4f} up; above {case.limits.min_auc} is needed"
        # The point and not the interval: with few rows the interval's end would refuse every equal model, or pass any.
        if difference and not case.is_rollback and difference["value"] < -case.limits.auc_margin:
            yield (
                f"{name} has {difference['value']:+.4f} AUC against {variant['evidence']['compared_with']}; "
                f"down to {-case.limits.auc_margin} is allowed: train a better one, or keep what is live"
            )


def _calibration(case: _Case) -> Iterator[str]:
    for name, variant in case.named:
        found, rows = variant["evidence"]["calibration_error"], variant["evidence"]["rows"]
        if found > case.limits.max_calibration_error + (chance := 1 / math.sqrt(rows)):
            yield (
                f"{name} has calibration error {found:.4f} on {rows} rows; up to {case.limits.max_calibration_error}, and "
                f"{chance:.4f} for chance on so many rows, is allowed: train again"
            )


def _subgroups(case: _Case) -> Iterator[str]:
    for name, variant in case.named:
        overall, groups = variant["evidence"]["metrics"].get("auc"), variant["evidence"]["subgroups"]
        if not groups:
            yield f"{name} was measured on no subgroup; run `churn evaluate`"
        for group, auc in groups.items():
            # The upper end of its interval, as the worst of many small groups is far below the rest by chance alone.
            if overall and overall["value"] - auc["high"] > case.limits.max_subgroup_auc_gap:
                yield (
                    f"{name} has AUC {overall['value']:.4f}, but at most {auc['high']:.4f} for {group!a}; "
                    f"a gap up to {case.limits.max_subgroup_auc_gap} is allowed: look at that group's rows"
                )


def checked(evidence: shape.Evidence, limits: Limits = Limits()) -> list[Check]:
    """Every check of the behaviour that evidence has, with its limit; none where it has no behaviour."""
    if "behaviour" not in evidence:
        return []
    # Two answers that are each as near as that to the fitted model's are at most twice as far from each other.
    gap, change = limits.max_calibration_error, 2 * limits.max_parity
    return list(checks(evidence["behaviour"], rows=evidence["rows"], max_slice_gap=gap, max_change=change))


def _behaviour(case: _Case) -> Iterator[str]:
    for name, variant in case.named:
        for check in checked(variant["evidence"], case.limits):
            if not check.passed:
                yield f"{name} fails {check}"
    # What is live, or was, may be from before there were checks.
    for name, variant in () if case.is_rollback else case.entering:
        if "behaviour" not in variant["evidence"]:
            yield f"{name} was not tested for its behaviour (slices, invariance, direction, functionality); run `churn evaluate`"


def _parity(case: _Case) -> Iterator[str]:
    for name, variant in case.named:
        if (found := variant["evidence"]["parity_max_abs"]) > case.limits.max_parity:
            yield f"{name} answers up to {found:.2g} off the fitted model; {case.limits.max_parity} is allowed: bundle again"


def _cost(case: _Case) -> Iterator[str]:
    for name, variant in case.named:
        found = variant["evidence"]["relative_cost"]
        if found is not None and found > case.limits.max_relative_cost:
            yield f"{name} costs {found:.2f} times the champion's time per row; up to {case.limits.max_relative_cost} is allowed"


def _freshness(case: _Case) -> Iterator[str]:
    for name, variant in () if case.is_rollback else case.entering:
        age = _moment(case.release["created_at"]) - _moment(variant["evidence"]["evaluated_at"])
        if not timedelta() <= age <= case.limits.max_evidence_age:
            yield (
                f"{name} was evaluated at {variant['evidence']['evaluated_at']}, the release was created at "
                f"{case.release['created_at']}; 0 to {case.limits.max_evidence_age.days} days are allowed: run `churn evaluate`"
            )


def _version(case: _Case) -> Iterator[str]:
    live = case.previous["variants"] if case.previous else []
    bundles = {(variant["version"], variant["bundle_digest"]) for variant in (*live, *case.release["variants"])}
    if len({version for version, _ in bundles}) < len(bundles) or len({bundle for _, bundle in bundles}) < len(bundles):
        yield "a version names two bundles, or a bundle has two versions; give each bundle one version of its own"
    before = [_numbers(variant) for variant in live if variant["role"] == "champion"]
    for name, variant in () if case.is_rollback else case.named:
        if variant["role"] == "champion" and any(_numbers(variant) < numbers for numbers in before):
            yield f"{name} is older than the live champion; to go back run `churn rollback --to {variant['version']}`"


def _approval(case: _Case) -> Iterator[str]:
    stack, approval, author = case.release["stack"], case.release["approval"], case.release["created_by"]
    if stack not in NEEDS_APPROVAL:
        return
    if approval is None:
        yield f"{stack} needs an approval; run `churn approve --stack {stack} --key ~/.ssh/id_ed25519`"
        return
    try:
        key = signing_key(approval["signature"], digest_of(case.release))
    except ValueError as exc:
        yield str(exc)
        return
    if approval["approver"] not in principals_of(key, case.allowed_signers):
        yield f"{approval['approver']!a} is not listed with the key that signed; add the line to releases/allowed_signers"
    if stack == "prod" and may_belong_to(key, author.strip(), case.allowed_signers):
        yield f"{author!a} created the release and the key that approves it is theirs; prod needs somebody else's"


def _moment(value: str) -> datetime:
    return datetime.fromisoformat(value)


def _numbers(variant: shape.Variant) -> tuple[int, ...]:
    return tuple(map(int, variant["version"].split(".")))


_RULES: dict[str, Callable[[_Case], Iterator[str]]] = {
    "digest": _digest,
    "stack": _stack,
    "chain": _chain,
    "weights": _weights,
    "threshold": _threshold,
    "evidence-threshold": _evidence_threshold,
    "image": _image,
    "contract": _contract,
    "comparison": _comparison,
    "auc": _auc,
    "calibration": _calibration,
    "subgroups": _subgroups,
    "behaviour": _behaviour,
    "parity": _parity,
    "relative-cost": _cost,
    "freshness": _freshness,
    "version": _version,
    APPROVAL: _approval,
}
