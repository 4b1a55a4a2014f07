"""Workflows of the project's repository: who may take which role, and what stays refused whatever else is allowed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from msgspec import Meta, field

from policies.access import READING, ROLE, ROLE_POLICY, Statement, rights
from policies.declared import Resource, Stack
from policies.rule import EachRule, Settings, StackRule, Text, Whole
from policies.statements import allowing, matches, sid, statements

GITHUB = "token.actions.githubusercontent.com"


class Repository(Settings, frozen=True, kw_only=True):
    """Whose workflows may take roles here, and which role pull requests may take, to read."""

    repository: Annotated[str, Meta(pattern=r"^[\w.-]+(@\d+)?/[\w.-]+(@\d+)?$", examples=["retention-team/churn"])]
    preview_roles: tuple[Annotated[str, Meta(examples=["delivery-preview"])], ...] = ()


def _subjects(role: Resource, settings: Repository) -> Iterator[str]:
    for statement in allowing(role["assumeRolePolicy"]):
        if not (statement["Principal"].value and "Federated" in str(statement["Principal"].value)):
            continue
        equals = statement["Condition"]["StringEquals"]
        if equals[f"{GITHUB}:aud"].known != "sts.amazonaws.com":
            yield f"{sid(statement)} takes tokens meant for others; give StringEquals {GITHUB}:aud sts.amazonaws.com"
        if not (subjects := equals[f"{GITHUB}:sub"].texts if equals[f"{GITHUB}:sub"].given else []):
            yield f"{sid(statement)} takes tokens of any workflow; give StringEquals {GITHUB}:sub"
        pinned = rf"repo:{re.escape(settings.repository)}:(ref:refs/heads/[^*?]+|environment:[^*?:]+)"
        reading = rf"repo:{re.escape(settings.repository)}:pull_request"
        for subject in subjects:
            if re.fullmatch(reading, subject) and role.name in settings.preview_roles:
                continue
            if not re.fullmatch(pinned, subject):
                yield f"{sid(statement)} takes {subject}; give repo:{settings.repository}:environment:<name>"


def _previews(stack: Stack, settings: Repository) -> Whole:
    """A pull request may come from anybody who can push a branch: its role reads."""
    for role in (each for each in stack.of(ROLE) if each.name in settings.preview_roles):
        documents = [*rights(role), *(each["policy"] for each in stack.of(ROLE_POLICY) if role.is_meant_by(each["role"]))]
        for statement in (each for policy in documents for each in allowing(policy)):
            for action in statement["Action"].texts:
                if not matches(READING, action):
                    yield role, f"{sid(statement)} lets pull requests do {action}; give actions that read"


class Refusals(Settings, frozen=True, kw_only=True):
    """Actions that must stay refused, by the statement that refuses them: what no other policy can then allow.

    What is `refused_where` its condition says, such as to other stacks' resources, cannot be refused without one.
    """

    refused: dict[Statement, tuple[Text, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    refused_where: dict[Statement, tuple[Text, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def _refusals(stack: Stack, settings: Refusals) -> Whole:
    # One with a condition or fewer resources refuses less.
    yield from _missing(stack, settings.refused, conditional=False)
    yield from _missing(stack, settings.refused_where, conditional=True)


def _missing(stack: Stack, wanted: Mapping[str, Sequence[str]], *, conditional: bool) -> Whole:
    found = {
        f"{policy.name}/{sid(each)}": set(each["Action"].texts)
        for policy in stack.of(ROLE_POLICY)
        if policy.name in {name.partition("/")[0] for name in wanted}
        for each in statements(policy["policy"])
        if each["Effect"].known == "Deny" and each["Condition"].given is conditional and each["Resource"].given
    }
    how = "where its condition says" if conditional else "without a condition"
    for name, actions in wanted.items():
        if missing := sorted(set(actions) - found.get(name, set())):
            yield None, f"{name} does not refuse {', '.join(missing)}; give a statement that does, {how}"


RULES = (
    EachRule(
        id="iam-workflow-subjects",
        why="A role that any branch or fork may take is taken by whoever opens one.",
        severity="critical",
        frameworks=("Well-Architected SEC03-BP07",),
        example="Workflows takes repo:retention-team/churn:*; give repo:retention-team/churn:environment:<name>",
        settings=Repository,
        types=(ROLE,),
        check=_subjects,
    ),
    StackRule(
        id="iam-previews-read",
        why="A pull request's workflow runs code that nobody has reviewed yet.",
        severity="critical",
        frameworks=("Well-Architected SEC03-BP02",),
        example="Preview lets pull requests do s3:PutObject; give actions that read",
        settings=Repository,
        check=_previews,
    ),
    StackRule(
        id="iam-refusals",
        why="Whoever deploys may change policies: what it must never do is refused, so that no policy can allow it.",
        severity="critical",
        frameworks=("Well-Architected SEC03-BP05",),
        example="deploy/NeverData does not refuse s3:GetObject*; give a statement that does, without a condition",
        settings=Refusals,
        check=_refusals,
    ),
)
