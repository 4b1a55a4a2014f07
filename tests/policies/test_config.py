import json
from pathlib import Path
from typing import Any

import pytest

from policies import config
from policies.config import PolicyConfigError, load, read
from policies.pack import RULES
from stacks import addon_grants, pins, roles
from stacks.plan import values_of

STACKS = ("local", "dev", "staging", "prod")
ON_AWS = ("dev", "staging", "prod")


def given(stack: str) -> dict[str, Any]:
    return json.loads(config.path_of(stack).read_text())


@pytest.mark.parametrize("stack", STACKS)
def test_every_stack_has_settings_that_can_be_read(stack: str):
    assert load(stack, RULES).keys() == RULES.keys()


def test_no_stack_on_aws_turns_a_rule_off():
    levels = {each.enforcement_level for stack in ON_AWS for each in load(stack, RULES).values()}
    assert levels == {"mandatory"}


@pytest.mark.parametrize("stack", STACKS)
def test_there_are_few_exemptions(stack: str):
    settings = load(stack, RULES)
    assert sum(len(each.exemptions) for each in settings.values()) <= 3
    assert given(stack)["exemptions"]["most"] <= 3


BAD: dict[str, tuple[Any, str]] = {
    "no such rule": ({"bucket-colour": {}}, "odd.json: bucket-colour is no rule"),
    "no such setting": (
        {"exemptions": {"more": 3}},
        "exemptions.more is 3, but there is no such setting; give one of",
    ),
    "another type": ({"exemptions": {"most": "3"}}, 'exemptions.most is "3": expected int, got str; give 3'),
    "out of range": ({"kms-keys": {"deletionWindowDays": 3}}, "kms-keys.deletionWindowDays is 3: expected int >= 7; give 30"),
    "missing": ({}, "kms-keys.deletionWindowDays is missing; give 30"),
    "no level": ({"exemptions": {"enforcementLevel": "off"}}, 'exemptions.enforcementLevel is "off"'),
    "a level alone": ({"exemptions": "mandatory"}, 'exemptions.enforcementLevel is "mandatory" without its name'),
    "half an exemption": ({"tags": {"exemptions": [{"resource": "x"}]}}, '"lastDay": "2026-12-31"} for each'),
    "no object": ([], "odd.json is []; give an object"),
}


@pytest.mark.parametrize(("content", "said"), BAD.values(), ids=BAD)
def test_bad_settings_are_named_with_what_to_give(content: Any, said: str):
    with pytest.raises(PolicyConfigError) as caught:
        read(content, RULES, "odd.json")
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(config, "FOLDER", tmp_path)
    with pytest.raises(PolicyConfigError, match=r"config\.prod\.json cannot be read"):
        load("prod", RULES)


@pytest.mark.parametrize("stack", STACKS)
def test_charts_are_those_that_are_pinned(stack: str):
    pinned = {each.name: {"repository": each.repository, "version": each.version} for each in pins.CHARTS}
    assert given(stack)["charts-pinned"]["pinned"].items() <= pinned.items()


@pytest.mark.parametrize("stack", ON_AWS)
def test_add_ons_are_those_that_are_pinned(stack: str):
    assert given(stack)["eks-addons"]["pinned"] == {name: each.version for name, each in pins.ADDONS.items()}


@pytest.mark.parametrize("stack", ON_AWS)
def test_settings_agree_with_the_stacks_values(stack: str):
    values, settings = values_of(stack), given(stack)
    assert settings["budget"]["usdPerMonth"] == int(values["account:budgetUsdPerMonth"])
    assert settings["tags"]["required"]["stack"] == settings["model-gate"]["stack"] == stack
    assert settings["iam-workflow-subjects"]["repository"] == values["delivery:repository"]
    assert values["cluster:version"] in settings["eks-version"]["supported"]
    assert json.dumps(settings["data-protected"]["protected"]) == values["storage:protected"]
    assert f"ecr\\.{values['account:region']}\\." in settings["model-image"]["registry"]


@pytest.mark.parametrize("stack", ON_AWS)
def test_reasons_for_wide_statements_are_those_of_the_program(stack: str):
    reasons = addon_grants.ANY_RESOURCE | roles.ANY_RESOURCE
    for statement, reason in given(stack)["iam-least-privilege"]["anyResource"].items():
        assert reasons[statement.partition("/")[2]] == reason
