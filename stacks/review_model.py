"""Two releases of a stack compared by the evidence that they carry: models in figures, customers in money."""

from collections.abc import Iterator

import msgspec

from app.release import Estimate, Evidence, Release, Variant

# Profit is told for as many customers, whatever the number of rows that the evidence rests on.
CUSTOMERS = 1000
# Figures without an interval.
EXACT = ("calibration_error", "parity_max_abs")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of the champion before and after; `gain`: whether more of it is better, if one can say so."""

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


class ModelReview(msgspec.Struct, frozen=True, kw_only=True):
    """What a release changes. The paired differences are on the same rows, and there if its evidence is against that before."""

    before: str | None
    after: str | None
    champion_changes: bool
    changes: tuple[str, ...]
    rows: tuple[Row, ...]
    subgroups: tuple[Row, ...]
    auc_difference: Estimate | None = None
    profit_difference_usd: Estimate | None = None
    decisions_changed: str | None = None

    @property
    def worse(self) -> bool:
        """Whether the champion is worse beyond chance: by the paired difference where there is one."""
        if not self.champion_changes:
            return False
        if self.auc_difference is not None:
            return self.auc_difference.high < 0
        return any(row.worse for row in self.rows if row.figure == "auc")


def compared(before: Release | None, after: Release | None) -> ModelReview | None:
    """What is different; None where both say the same, or neither is there."""
    if (before and before.digest) == (after and after.digest):
        return None
    old, new = (release.champion if release else None for release in (before, after))
    moved = (old and old.bundle_digest) != (new and new.bundle_digest)
    evidence = new.evidence if new else None
    paired = evidence if evidence and old and moved and evidence.compared_with == old.bundle_digest else None
    return ModelReview(
        before=old.version if old else None,
        after=new.version if new else None,
        champion_changes=moved,
        changes=tuple(_changes(before, after)),
        rows=tuple(_rows(before, after)),
        subgroups=tuple(_subgroups(old, new)),
        auc_difference=paired.auc_difference if paired else None,
        profit_difference_usd=_per_customers(paired) if paired else None,
        decisions_changed=_decisions(paired) if paired else None,
    )


def profit(release: Release) -> Estimate | None:
    """The champion's expected profit in USD a month for every thousand customers."""
    case, found = release.business_case, release.champion.evidence.metrics.get("profit_usd_per_customer")
    return _times(found, CUSTOMERS / case.horizon_months) if found else None


def _times(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(value=estimate.value * factor, low=estimate.low * factor, high=estimate.high * factor)


def _per_customers(evidence: Evidence) -> Estimate | None:
    found = evidence.profit_difference_usd_per_month
    return _times(found, CUSTOMERS / evidence.rows) if found else None


def _decisions(evidence: Evidence) -> str | None:
    count = evidence.decisions_changed_count
    return None if count is None else f"{count:,} of {evidence.rows:,} ({count / evidence.rows:.1%})"


def _changes(before: Release | None, after: Release | None) -> Iterator[str]:
    """All that decides what anybody is told, in words."""
    was, is_ = (_numbers(each) if each else dict[str, float]() for each in (before, after))
    yield from (f"{name}: {was[name]:g} -> {is_[name]:g}" for name in was if name in is_ and was[name] != is_[name])
    for name, (old, new) in {
        "variants": (_split(before), _split(after)),
        "offer from probability": (_threshold(before), _threshold(after)),
        "image": (_image(before), _image(after)),
    }.items():
        if old != new:
            yield f"{name}: {old} -> {new}"
    if after and after.rollback_of:
        yield f"a rollback to {after.rollback_of[:12]}"


def _numbers(release: Release) -> dict[str, float]:
    return msgspec.structs.asdict(release.business_case) | msgspec.structs.asdict(release.limits)


def _split(release: Release | None) -> str:
    if not release:
        return "none"
    return ", ".join(f"{v.role} {v.version} ({v.bundle_digest[:12]}) {v.weight_percent} %" for v in release.variants)


def _threshold(release: Release | None) -> str:
    return f"{release.champion.threshold:.3f}" if release else "none"


def _image(release: Release | None) -> str:
    return f"{release.image.repository}@{release.image.digest[:19]}" if release and release.image else "none"


def _rows(before: Release | None, after: Release | None) -> Iterator[Row]:
    yield Row(
        figure=f"expected profit, USD a month for {CUSTOMERS:,} customers",
        before=profit(before) if before else None,
        after=profit(after) if after else None,
    )
    old, new = (release.champion.evidence if release else None for release in (before, after))
    was, is_ = (_figures(each) if each else {} for each in (old, new))
    for name in {**was, **is_}:
        # Of a bias it is not less that is better, but what is nearer to nothing; without an interval nothing is beyond chance.
        gain = None if name in EXACT or name.endswith("bias") else not name.endswith("brier")
        if name != "profit_usd_per_customer":
            yield Row(figure=name, before=was.get(name), after=is_.get(name), gain=gain)


def _figures(evidence: Evidence) -> dict[str, Estimate]:
    exact = {name: getattr(evidence, name) for name in EXACT}
    return {**evidence.metrics, **{name: Estimate(value=value, low=value, high=value) for name, value in exact.items()}}


def _subgroups(old: Variant | None, new: Variant | None) -> Iterator[Row]:
    was, is_ = (each.evidence.subgroups if each else {} for each in (old, new))
    return (Row(figure=name, before=was.get(name), after=is_.get(name)) for name in {**was, **is_})
