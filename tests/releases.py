"""Releases for tests: one that passes every gate on local, and a strategy for any that the schema allows."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st

from app.decide import break_even
from app.release import (
    AlertLimits,
    Approval,
    Behaviour,
    BusinessCase,
    Estimate,
    Evidence,
    Image,
    Release,
    Slice,
    Variant,
    encode_release,
    sealed,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CONTRACT = "c" * 64
IMAGE = Image(repository="registry.example/churn", digest="sha256:" + "1" * 64, contract_digest=CONTRACT, commit="2" * 40)


def estimate(value: float, spread: float = 0.02) -> Estimate:
    return Estimate(value=value, low=value - spread, high=value + spread)


BEHAVIOUR = Behaviour(
    slices={"contract=two-year": Slice(observed=estimate(0.03), predicted=0.035, required_fields_predicted=0.04)},
    invariance=dict.fromkeys(("batch", "customer_id", "null", "row_order"), 1e-7),
    direction={"contract": 0.0, "tenure_months": 0.005},
    functionality=dict.fromkeys(
        (
            "fiber without protection over none",
            "month-to-month over two-year",
            "new over six years",
            "new month-to-month over six years in two-year",
        ),
        0.3,
    ),
)


def make_evidence(**changes: Any) -> Evidence:
    good = Evidence(
        evaluated_at=NOW - timedelta(days=1),
        data_digest="d" * 64,
        contract_digest=CONTRACT,
        rows=1400,
        seed=7,
        threshold=break_even(BusinessCase()),
        metrics={"auc": estimate(0.845), "required_fields_auc": estimate(0.84)},
        subgroups={"gender=female": estimate(0.84), "contract=one-year": estimate(0.75, 0.05)},
        calibration_error=0.02,
        parity_max_abs=2e-7,
        behaviour=BEHAVIOUR,
    )
    return msgspec.structs.replace(good, **changes)


def compared_with(bundle_digest: str, **changes: Any) -> Evidence:
    figures = {"compared_with": bundle_digest, "auc_difference": estimate(0.001, 0.004), "relative_cost": 1.2}
    return make_evidence(**{**figures, **changes})


def make_variant(**changes: Any) -> Variant:
    good = Variant(
        role="champion",
        weight_percent=100,
        bundle_digest="a" * 64,
        version="1.0.0",
        threshold=break_even(BusinessCase()),
        evidence=make_evidence(),
    )
    return msgspec.structs.replace(good, **changes)


def make_release(**changes: Any) -> Release:
    good = Release(
        stack="local",
        created_at=NOW,
        created_by="ada@example.com",
        reason="first",
        image=None,
        variants=(make_variant(),),
        business_case=BusinessCase(),
    )
    return sealed(msgspec.structs.replace(good, **changes))


def successor(live: Release, **changes: Any) -> Release:
    """A better bundle as champion in place of the live one."""
    champion = make_variant(bundle_digest="b" * 64, version="1.0.1", evidence=compared_with(live.champion.bundle_digest))
    kept = {"stack": live.stack, "image": live.image, "created_at": live.created_at, "previous": live.digest}
    return make_release(**{"variants": (champion,), "reason": "better", **kept, **changes})


def plain(release: Release) -> dict[str, Any]:
    """What a reader of the file sees."""
    return json.loads(encode_release(release))


_hex = st.text("0123456789abcdef", min_size=64, max_size=64)
_finite = st.floats(allow_nan=False, allow_infinity=False)
_positive = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
_words = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1)
_moments = st.datetimes(timezones=st.just(UTC))
_estimates = st.tuples(_finite, _finite, _finite).map(lambda x: Estimate(value=x[1], low=min(x), high=max(x)))
_figures = st.dictionaries(_words, _estimates, max_size=3)
_whole = st.integers(0, 2**62)
_slices = st.builds(Slice, observed=_estimates, predicted=_finite, required_fields_predicted=_finite)
_behaviour = st.builds(
    Behaviour,
    slices=st.dictionaries(
        _words, st.builds(Slice, observed=_estimates, predicted=_finite, required_fields_predicted=_finite), max_size=3
    ),
    invariance=st.dictionaries(_words, st.floats(0, 1), max_size=3),
    direction=st.dictionaries(_words, st.floats(0, 1), max_size=3),
    functionality=st.dictionaries(_words, _finite, max_size=3),
)
_evidence = st.builds(
    Evidence,
    evaluated_at=_moments,
    data_digest=_hex,
    contract_digest=_hex,
    rows=st.integers(1, 2**62),
    seed=_whole,
    threshold=_finite,
    metrics=_figures,
    subgroups=_figures,
    calibration_error=st.floats(0, 1),
    parity_max_abs=st.floats(0, 1),
    relative_cost=st.none() | st.floats(0, 100),
    compared_with=st.none() | _hex,
    auc_difference=st.none() | _estimates,
    profit_difference_usd_per_month=st.none() | _estimates,
    decisions_changed_count=st.none() | _whole,
    behaviour=st.just(msgspec.UNSET) | _behaviour,
)
_variants = st.builds(
    Variant,
    role=st.sampled_from(["champion", "challenger", "shadow"]),
    weight_percent=st.integers(0, 100),
    bundle_digest=_hex,
    version=st.tuples(*[st.integers(0, 999)] * 3).map(lambda numbers: ".".join(map(str, numbers))),
    threshold=_finite,
    evidence=_evidence,
)
# Any release that the schema allows, sealed; most of them break some gate.
any_release = st.builds(
    Release,
    stack=st.sampled_from(["local", "dev", "staging", "prod"]),
    created_at=_moments,
    created_by=_words,
    reason=_words,
    image=st.none() | st.builds(lambda text: Image(**{**msgspec.to_builtins(IMAGE), "repository": text}), _words),
    variants=st.tuples(_variants.map(lambda v: msgspec.structs.replace(v, role="champion")))
    | st.tuples(_variants.map(lambda v: msgspec.structs.replace(v, role="champion")), _variants),
    business_case=st.builds(
        BusinessCase,
        offer_cost_usd=_positive,
        offer_acceptance=st.floats(0, 1, exclude_min=True),
        margin_usd_per_month=_positive,
        horizon_months=st.integers(1, 120),
    ),
    alert_limits=st.just(msgspec.UNSET)
    | st.builds(AlertLimits, drift_index_max=st.floats(0.05, 10), model_age_max_days=st.integers(1, 3650)),
    previous=st.none() | _hex,
    rollback_of=st.none() | _hex,
).map(sealed)
approvals = st.builds(Approval, approver=_words, signature=st.text(st.characters(exclude_categories=("Cs",))))
