"""Every rule on a stack that keeps it, and on every change of that stack that its cases list."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from policies.config import settings_of
from policies.declared import Node, Resource, Stack, Unknown
from policies.model import RULES as MODEL
from policies.pack import RULES, verdicts
from policies.rule import EachRule, Facts, Settings
from tests.policies.cases import CASES, GONE, Case, Change, steps

BREAKING = [pytest.param(case, change, id=f"{case.rule}-{i}") for case in CASES.values() for i, change in enumerate(case.bad)]
PLACED = [
    pytest.param(case, change, id=f"{case.rule}-{i}")
    for case in CASES.values()
    for i, change in enumerate(case.bad)
    if change[1] not in ("", "protect")
]
LAST = date(2026, 12, 31)
OFF = Settings(enforcement_level="disabled")


def judged(case: Case, resources: tuple[Resource, ...], today: date | None = None, **settings: Any) -> list[tuple[str, str]]:
    """What the case's rule says, by level."""
    rule = RULES[case.rule]
    own = settings_of({**case.settings, **settings}, rule)
    found = verdicts(resources, dict.fromkeys(RULES, OFF) | {rule.id: own}, Facts(today=today))
    return [(each.level, each.message) for each in found]


def refused(case: Case, resources: tuple[Resource, ...]) -> bool:
    return any(level == "mandatory" for level, _ in judged(case, resources))


def test_every_rule_has_a_case():
    # The gate's own are in test_model.py.
    assert CASES.keys() == RULES.keys() - {each.id for each in MODEL}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_rule_says_nothing_of_a_stack_that_keeps_it(case: Case):
    assert judged(case, case.resources()) == []


@pytest.mark.parametrize(("case", "change"), BREAKING)
def test_a_rule_refuses_what_breaks_it(case: Case, change: Change):
    assert refused(case, case.resources(change))


@pytest.mark.parametrize("case", [each for each in CASES.values() if each.bad], ids=lambda case: case.rule)
def test_the_example_of_a_rule_is_what_it_says(case: Case):
    assert RULES[case.rule].example in [message for _, message in judged(case, case.resources(case.bad[0]))]


@pytest.mark.parametrize(("case", "change"), PLACED)
def test_a_value_that_is_not_known_yet_is_refused_by_rules_that_need_it(case: Case, change: Change):
    name, place, _ = change
    unknown = case.resources((name, place, Unknown()))
    assert refused(case, unknown) or place in case.may_be_unknown or RULES[case.rule].needs == "presence"


@pytest.mark.parametrize(("case", "change"), PLACED)
def test_what_is_missing_is_refused_unless_its_absence_is_as_good(case: Case, change: Change):
    name, place, _ = change
    try:
        without = case.resources((name, place, GONE))
    except (KeyError, IndexError):
        without = case.resources()
    assert refused(case, without) != (place in case.may_be_missing)


@pytest.mark.parametrize(("case", "change"), PLACED)
@pytest.mark.parametrize("odd", [7, "odd", [], ["odd"], {}, {"odd": "odd"}, None, True], ids=repr)
def test_a_rule_survives_whatever_it_finds(case: Case, change: Change, odd: Any):
    name, place, _ = change
    for length in range(1, len(steps(place)) + 1):
        judged(case, case.resources((name, steps(place)[:length], odd)))


@pytest.mark.parametrize("case", [each for each in CASES.values() if each.bad], ids=lambda case: case.rule)
def test_an_exemption_spares_one_resource_until_its_last_day(case: Case):
    broken = case.resources(case.bad[0])
    found = RULES[case.rule].findings(Stack(broken), settings_of(case.settings, RULES[case.rule]), Facts())
    named = [{"resource": each.name, "reason": "r", "owner": "o", "lastDay": str(LAST)} for each in found]
    spared = judged(case, broken, today=LAST, exemptions=named)
    assert {level for level, _ in spared} == {"exempted"}
    late = judged(case, broken, today=LAST.replace(year=2027), exemptions=named)
    assert {level for level, _ in late} == {"mandatory"}
    assert any("its exemption ended on 2026-12-31" in message for _, message in late)


def test_an_outlived_exemption_is_refused_where_it_spares_nothing_any_more():
    case = CASES["kms-keys"]
    named = [{"resource": "gone", "reason": "r", "owner": "o", "lastDay": "2026-01-01"}]
    [(level, message)] = judged(case, case.resources(), today=LAST, exemptions=named)
    assert level == "mandatory"
    assert "o mends what was exempted" in message


def test_an_advisory_rule_refuses_nothing():
    case = CASES["kms-keys"]
    said = judged(case, case.resources(case.bad[0]), enforcementLevel="advisory")
    assert [level for level, _ in said] == ["advisory"]


def test_more_exemptions_than_a_stack_may_have_are_refused():
    named = [{"resource": str(i), "reason": "r", "owner": "o", "lastDay": "2026-12-31"} for i in range(4)]
    case = CASES["kms-keys"]
    settings = dict.fromkeys(RULES, OFF) | {
        "kms-keys": settings_of({**case.settings, "exemptions": named}, RULES["kms-keys"]),
        "exemptions": settings_of({}, RULES["exemptions"]),
    }
    [verdict] = verdicts(case.resources(), settings, Facts())
    assert verdict.message == RULES["exemptions"].example


def test_users_are_refused_whatever_they_are():
    case = CASES["iam-no-users"]
    key = Resource(type="aws:iam/accessKey:AccessKey", name="key", inputs=Node({}))
    assert judged(case, (key,)) == [("mandatory", RULES["iam-no-users"].example)]


def test_what_a_stack_does_not_ask_for_is_not_demanded():
    protection = CASES["data-protected"]
    assert judged(protection, protection.resources(protection.bad[0]), protected=False) == []
    standby = CASES["database-multi-zone"]
    assert judged(standby, standby.resources(standby.bad[0]), multiZone=False) == []
    clients = CASES["pod-clients"]
    assert judged(clients, clients.resources(clients.bad[0]), tokens=False) == []


def test_tokens_are_asked_for_where_customers_are_answered_alone():
    clients = CASES["pod-clients"]
    name, place, value = clients.bad[0]
    [workload] = clients.resources((name, place, value))
    other = replace(workload, inputs=Node({**workload.inputs.value, "metadata": {"name": "mlflow"}}))
    assert judged(clients, (other,)) == []


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_rule_looks_at_its_types_alone(case: Case):
    renamed = tuple(replace(each, type="aws:other/thing:Thing") for each in case.resources(case.bad[0] if case.bad else None))
    assert not isinstance(RULES[case.rule], EachRule) or judged(case, renamed) == []
