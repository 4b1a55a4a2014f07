"""Two releases of a stack compared by the evidence that they carry: models in figures, customers in money."""

from collections.abc import Iterator
from typing import get_args

import msgspec

from app.release import Estimate, Evidence, Release, Role, Variant

# Profit is told for as many customers, whatever the number of rows that the evidence rests on.
CUSTOMERS = 1000
PROFIT = f"expected profit, USD a month for {CUSTOMERS:,} customers"
# Figures without an interval.
EXACT = ("calibration_error", "parity_max_abs")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of two models, `after` of the one in question; `gain`: whether more of it is better, if one can say so."""

    figure: str
    before: Estimate | None
    after: Estimate | None
    gain: bool | None = True

    @property
    def worse(self) -> bool:
        """Whether the intervals lie apart, on the wrong side: less is chance."""
        if self.before is None or self.after is None or self.gain is None:
            return False
        return self.after.high < self.before.low if self.gain else self.after.low > self.before.high


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What one variant of a release serves, whom, and from which probability on it offers."""

    version: str
    bundle_digest: str
    weight_percent: int
    threshold: float


class VariantReview(msgspec.Struct, frozen=True, kw_only=True):
    """One variant that comes, goes or changes, beside the model that it has to beat.

    That is the champion before, of a challenger or shadow the champion now. The paired differences are on the same rows, and
    there if the evidence is against that model; `rows` and `subgroups` are there if the bundle is new.
    """

    role: Role
    before: Serving | None
    after: Serving | None
    rows: tuple[Row, ...] = ()
    subgroups: tuple[Row, ...] = ()
    auc_difference: Estimate | None = None
    profit_difference_usd: Estimate | None = None
    decisions_changed: str | None = None

    @property
    def worse(self) -> bool:
        """Whether customers get a worse model beyond chance, in AUC or in money: by paired differences where there are any."""
        if self.after is None or not self.after.weight_percent:
            return False
        paired = [each for each in (self.auc_difference, self.profit_difference_usd) if each]
        if paired:
            return any(each.high < 0 for each in paired)
        return any(row.worse for row in self.rows if row.figure in ("auc", PROFIT))


class ModelReview(msgspec.Struct, frozen=True, kw_only=True):
    """What a release changes; `champion` and `profit` are told whether they change or not."""

    champion: tuple[str | None, str | None]
    profit: Row
    changes: tuple[str, ...]
    variants: tuple[VariantReview, ...]

    @property
    def worse(self) -> bool:
        """Whether any customer gets a worse model."""
        return any(each.worse for each in self.variants)


def compared(before: Release | None, after: Release | None) -> ModelReview | None:
    """What is different; None where both say the same, or neither is there."""
    if (before and before.digest) == (after and after.digest):
        return None
    return ModelReview(
        champion=(before.champion.version if before else None, after.champion.version if after else None),
        profit=_profit(before, before and before.champion, after, after and after.champion),
        changes=tuple(_changes(before, after)),
        variants=tuple(_variants(before, after)),
    )


def _variants(before: Release | None, after: Release | None) -> Iterator[VariantReview]:
    old, new = _by_role(before), _by_role(after)
    for role, number in sorted({*old, *new}, key=lambda place: (get_args(Role).index(place[0]), place[1])):
        was, is_ = old.get((role, number)), new.get((role, number))
        told = VariantReview(role=role, before=_serving(was), after=_serving(is_))
        if told.before != told.after:
            yield _beside_rival(told, before if role == "champion" else after, after, is_) if is_ else told


def _by_role(release: Release | None) -> dict[tuple[Role, int], Variant]:
    """The variants by role, and those of one role by their order."""
    found = dict[tuple[Role, int], Variant]()
    for each in release.variants if release else ():
        found[each.role, sum(role == each.role for role, _ in found)] = each
    return found


def _beside_rival(told: VariantReview, former: Release | None, after: Release | None, new: Variant) -> VariantReview:
    """With the figures beside those of the champion of `former`."""
    rival = former.champion if former else None
    if not told.before or told.before.bundle_digest != new.bundle_digest:
        rows = (_profit(former, rival, after, new), *_rows(rival, new))
        told = msgspec.structs.replace(told, rows=rows, subgroups=tuple(_subgroups(rival, new)))
    if rival and rival.bundle_digest != new.bundle_digest and new.evidence.compared_with == rival.bundle_digest:
        return msgspec.structs.replace(
            told,
            auc_difference=new.evidence.auc_difference,
            profit_difference_usd=_per_customers(new.evidence),
            decisions_changed=_decisions(new.evidence),
        )
    return told


def _serving(variant: Variant | None) -> Serving | None:
    if variant is None:
        return None
    return Serving(
        version=variant.version,
        bundle_digest=variant.bundle_digest,
        weight_percent=variant.weight_percent,
        threshold=variant.threshold,
    )


def _profit(before: Release | None, was: Variant | None, after: Release | None, is_: Variant | None) -> Row:
    """The expected profit of two models, each in its release's business case; beside each other only within one case."""
    return Row(
        figure=PROFIT,
        before=_expected(before, was),
        after=_expected(after, is_),
        gain=True if before and after and before.business_case == after.business_case else None,
    )


def _expected(release: Release | None, variant: Variant | None) -> Estimate | None:
    found = variant.evidence.metrics.get("profit_usd_per_customer") if variant else None
    return _times(found, CUSTOMERS / release.business_case.horizon_months) if release and found else None


def _times(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(value=estimate.value * factor, low=estimate.low * factor, high=estimate.high * factor)


def _per_customers(evidence: Evidence) -> Estimate | None:
    found = evidence.profit_difference_usd_per_month
    return _times(found, CUSTOMERS / evidence.rows) if found else None


def _decisions(evidence: Evidence) -> str | None:
    count = evidence.decisions_changed_count
    return None if count is None else f"{count:,} of {evidence.rows:,} ({count / evidence.rows:.1%})"


def _changes(before: Release | None, after: Release | None) -> Iterator[str]:
    """What decides beside the variants, in words."""
    was, is_ = (_numbers(each) if each else dict[str, float]() for each in (before, after))
    yield from (f"{name}: {was[name]:g} -> {is_[name]:g}" for name in was if name in is_ and was[name] != is_[name])
    if (old := _image(before)) != (new := _image(after)):
        yield f"image: {old} -> {new}"
    if after and after.rollback_of:
        yield f"a rollback to {after.rollback_of[:12]}"


def _numbers(release: Release) -> dict[str, float]:
    return msgspec.structs.asdict(release.business_case) | msgspec.structs.asdict(release.limits)


def _image(release: Release | None) -> str:
    return f"{release.image.repository}@{release.image.digest[:19]}" if release and release.image else "none"


def _rows(old: Variant | None, new: Variant) -> Iterator[Row]:
    was, is_ = (_figures(each.evidence) if each else {} for each in (old, new))
    for name in {**was, **is_}:
        # Of a bias it is not less that is better, but what is nearer to nothing; without an interval nothing is beyond chance.
        gain = None if name in EXACT or name.endswith("bias") else not name.endswith("brier")
        if name != "profit_usd_per_customer":
            yield Row(figure=name, before=was.get(name), after=is_.get(name), gain=gain)


def _figures(evidence: Evidence) -> dict[str, Estimate]:
    exact = {name: getattr(evidence, name) for name in EXACT}
    return {**evidence.metrics, **{name: Estimate(value=value, low=value, high=value) for name, value in exact.items()}}


def _subgroups(old: Variant | None, new: Variant) -> Iterator[Row]:
    was, is_ = (each.evidence.subgroups if each else {} for each in (old, new))
    return (Row(figure=name, before=was.get(name), after=is_.get(name)) for name in {**was, **is_})
