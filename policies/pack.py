"""All rules, and what they say of a stack."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from policies import access, buckets, cluster, database, isolation, keys, model, network, pods, rbac, stack, workflows
from policies.declared import Resource, Stack
from policies.rule import Exemption, Facts, Finding, Rule, Settings

ROOT = Path(__file__).resolve().parents[1]
MODULES = (model, buckets, network, cluster, database, access, workflows, keys, pods, isolation, rbac, stack)
RULES: Mapping[str, Rule] = {rule.id: rule for module in MODULES for rule in module.RULES}
# How many commits of a release's file are looked through for the one before.
DEPTH = 50


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One finding of one rule; a mandatory one refuses the stack."""

    rule: str
    level: Literal["mandatory", "advisory", "exempted"]
    severity: str
    resource: str
    message: str


def verdicts(resources: Sequence[Resource], settings: Mapping[str, Settings], facts: Facts) -> list[Verdict]:
    """Everything that the rules find, in the order of the rules; what they refuse is `mandatory`."""
    declared = Stack(tuple(resources))
    counted = replace(facts, exemptions=sum(len(each.exemptions) for each in settings.values()))
    return [each for rule in RULES.values() for each in _of_rule(rule, declared, settings[rule.id], counted)]


def _of_rule(rule: Rule, declared: Stack, settings: Settings, facts: Facts) -> Iterator[Verdict]:
    if settings.enforcement_level == "disabled":
        return
    for finding in rule.findings(declared, settings, facts):
        exemption = spared(finding, settings, facts.today)
        level = "exempted" if exemption else settings.enforcement_level
        reason = f" (exempted until {exemption.last_day} by {exemption.owner}: {exemption.reason})" if exemption else ""
        key = finding.resource.key if finding.resource else "stack"
        yield Verdict(rule=rule.id, level=level, severity=rule.severity, resource=key, message=finding.message + reason)
    for exemption in outlived(settings, facts.today):
        yield Verdict(
            rule=rule.id,
            level=settings.enforcement_level,
            severity=rule.severity,
            resource=exemption.resource,
            message=over(exemption),
        )


def spared(finding: Finding, settings: Settings, today: date | None) -> Exemption | None:
    """The exemption that a finding has, until its last day is over."""
    running = (each for each in settings.exemptions if today is None or today <= each.last_day)
    return next((each for each in running if each.resource == finding.name), None)


def outlived(settings: Settings, today: date | None) -> list[Exemption]:
    """The exemptions whose last day is over; none where no day is given."""
    return [each for each in settings.exemptions if today is not None and today > each.last_day]


def over(exemption: Exemption) -> str:
    """What is said of an exemption that has outlived itself."""
    return f"its exemption ended on {exemption.last_day}; {exemption.owner} mends what was exempted and takes it out"


def facts_of(name: str, today: date | None) -> Facts:
    """What the rules are told of a stack beside its resources: who may approve, and what git has had as its release."""
    signers = ROOT / "releases" / "allowed_signers"
    return Facts(
        today=today,
        allowed_signers=signers.read_text() if signers.exists() else "",
        committed=cache(lambda: tuple(_committed(f"releases/{name}.json"))),
    )


def _committed(file: str) -> Iterator[Mapping[str, Any]]:
    """Every version of a release's file up to HEAD, newest first; what is no JSON object is left out."""
    for commit in _git("log", f"-{DEPTH}", "--format=%H", "--", file).decode().split():
        try:
            yield msgspec.json.decode(_git("cat-file", "blob", f"{commit}:{file}"), type=dict[str, Any])
        except msgspec.MsgspecError:
            continue


def _git(*arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)  # noqa: S603, S607 - the user's own git, no shell
    except FileNotFoundError:
        return b""
    return done.stdout if done.returncode == 0 else b""
