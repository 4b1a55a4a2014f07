"""The limits of what a model must do, on figures given by hand."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from app.release import Behaviour, Slice
from policies.behaviour import DIRECTION, FUNCTIONALITY, INVARIANCE
from policies.release import Limits, violations
from tests.releases import BEHAVIOUR, estimate, make_evidence, make_release, make_variant, plain, successor

CHAMPION = "champion 1.0.0 (aaaaaaaaaaaa)"
WITHOUT = make_release(variants=(make_variant(evidence=make_evidence(behaviour=msgspec.UNSET)),))


def messages(behaviour: Behaviour, rows: int = 1400, limits: Limits | None = None) -> list[str]:
    """What the gates say of a first release with this behaviour; whatever they say is about it."""
    release = make_release(variants=(make_variant(evidence=make_evidence(behaviour=behaviour, rows=rows)),))
    found = violations(plain(release), previous=None, allowed_signers="", limits=limits or Limits())
    assert {violation.rule for violation in found} <= {"behaviour"}
    return [violation.message for violation in found]


def changed(**families: Mapping[str, Any]) -> Behaviour:
    """The sound behaviour with some checks found otherwise."""
    return msgspec.structs.replace(BEHAVIOUR, **{name: {**getattr(BEHAVIOUR, name), **new} for name, new in families.items()})


def of_slice(**figures: float) -> Behaviour:
    [(name, sound)] = BEHAVIOUR.slices.items()
    return changed(slices={name: msgspec.structs.replace(sound, **figures)})


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (
            of_slice(predicted=0.0801),
            "slice 'contract=two-year': mean probability 0.0801 where 0.0300 churned; 0.0000 to 0.0800 is allowed: "
            "look at these rows, and train again",
        ),
        (
            of_slice(required_fields_predicted=0.0801),
            "slice 'contract=two-year' by required fields: mean probability 0.0801 where 0.0300 churned; 0.0000 to 0.0800 is "
            "allowed: look at these rows, and train again",
        ),
        (
            changed(slices={"g=x": Slice(observed=estimate(0.97), predicted=0.9199, required_fields_predicted=0.97)}),
            "slice 'g=x': mean probability 0.9199 where 0.9700 churned; 0.9200 to 1.0000 is allowed: "
            "look at these rows, and train again",
        ),
        *(
            (
                changed(invariance={name: 2.1e-6}),
                f"invariance {name}: it changes a probability by 2.1e-06; up to 2e-06 is allowed: "
                "the model reads what is no attribute of the customer",
            )
            for name in INVARIANCE
        ),
        *(
            (
                changed(direction={name: 0.0268}),
                f"direction {name}: with more of it the mean probability rises by 0.0268; up to 0.0267 (chance on 1400 rows) is "
                "allowed: look at the table's labels and at this field",
            )
            for name in DIRECTION
        ),
        *(
            (
                changed(functionality={name: found}),
                f"functionality {name}: the likelier one has {found:+.4f}; only above 0 is allowed: "
                "the model has not learned what everybody knows; look at the table",
            )
            for name in FUNCTIONALITY
            for found in (0.0, -0.1)
        ),
    ],
)
def test_a_check_beyond_its_limit_is_named_with_what_was_found_and_what_is_allowed(behaviour: Behaviour, message: str):
    assert messages(behaviour) == [f"{CHAMPION} fails {message}"]


@pytest.mark.parametrize(
    "behaviour",
    [
        BEHAVIOUR,
        of_slice(predicted=0.08, required_fields_predicted=0.0),
        changed(slices={"g=x": Slice(observed=estimate(0.5), predicted=0.45, required_fields_predicted=0.55)}),
        changed(invariance=dict.fromkeys(INVARIANCE, 2e-6)),
        changed(direction=dict.fromkeys(DIRECTION, 1 / math.sqrt(1400))),
        changed(functionality=dict.fromkeys(FUNCTIONALITY, 1e-9)),
    ],
    ids=["sound", "slice", "other slice", "invariance", "direction", "functionality"],
)
def test_a_check_on_its_limit_passes(behaviour: Behaviour):
    assert messages(behaviour) == []


def test_fewer_rows_leave_more_to_chance():
    rising = changed(direction={"tenure_months": 0.1})
    assert messages(rising, rows=100) == []
    assert "up to 0.0995 (chance on 101 rows)" in messages(rising, rows=101)[0]


def test_the_limits_of_slices_and_invariance_are_those_of_calibration_and_parity():
    strict = Limits(max_calibration_error=0.02, max_parity=2e-7)
    assert messages(of_slice(predicted=0.0699), limits=strict) == []
    [slice_fails] = messages(of_slice(predicted=0.0701), limits=strict)
    assert "0.0000 to 0.0700 is allowed" in slice_fails
    [changes] = messages(changed(invariance={"batch": 4.1e-7}), limits=strict)
    assert "up to 4e-07 is allowed" in changes


@pytest.mark.parametrize(
    ("family", "name"),
    [
        *(("invariance", name) for name in INVARIANCE),
        *(("direction", name) for name in DIRECTION),
        *(("functionality", name) for name in FUNCTIONALITY),
    ],
)
def test_a_check_that_nobody_ran_is_a_failure(family: str, name: str):
    without = {key: value for key, value in getattr(BEHAVIOUR, family).items() if key != name}
    missing = f"{family} {name}: it was not run; none that is missing is allowed: run `churn evaluate`"
    assert messages(msgspec.structs.replace(BEHAVIOUR, **{family: without})) == [f"{CHAMPION} fails {missing}"]


def test_without_slices_nothing_is_known_of_any():
    [found] = messages(msgspec.structs.replace(BEHAVIOUR, slices={}))
    assert found == f"{CHAMPION} fails slices: it was not run; none that is missing is allowed: run `churn evaluate`"


def test_a_new_variant_without_behaviour_is_refused():
    [found] = violations(plain(WITHOUT), previous=None, allowed_signers="")
    assert (found.rule, found.message) == (
        "behaviour",
        f"{CHAMPION} was not tested for its behaviour (slices, invariance, direction, functionality); run `churn evaluate`",
    )


def test_an_old_release_without_behaviour_goes_on_and_can_be_gone_back_to():
    year_later = successor(WITHOUT, variants=WITHOUT.variants, reason="another case")
    assert violations(plain(year_later), previous=plain(WITHOUT), allowed_signers="") == []
    better = successor(WITHOUT)
    assert violations(plain(better), previous=plain(WITHOUT), allowed_signers="") == []
    back = successor(better, variants=WITHOUT.variants, rollback_of=WITHOUT.digest)
    assert violations(plain(back), previous=plain(better), allowed_signers="") == []


def test_a_rollback_is_not_spared_a_failure_that_is_known():
    failing = make_variant(evidence=make_evidence(behaviour=changed(functionality={"new over six years": -0.1})))
    back = successor(WITHOUT, variants=(failing,), rollback_of="9" * 64)
    assert {found.rule for found in violations(plain(back), previous=plain(WITHOUT), allowed_signers="")} == {"behaviour"}
