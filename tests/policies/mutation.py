"""`python -m tests.policies.mutation`: what is declared, changed in every place, and how much of it the rules notice.

Operators walk every leaf of every resource and of the release in each stack's plan, and make of it what somebody could write by
mistake or on purpose. A mutant that no rule catches must be listed in policies/harmless.toml, one kind of field an entry, with
the reason why it may pass; an entry that nothing needs is a failure too.
"""

import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

from policies.config import FOLDER
from policies.declared import Resource, Stack, recorded
from policies.model import ANNOTATION
from policies.pack import RULES
from policies.release import digest_of
from policies.rule import EachRule
from tests.policies.scenes import STACKS, Scene, carries, scene

HARMLESS = FOLDER / "harmless.toml"
OPPOSITES = {
    "Allow": "Deny",
    "Enabled": "Suspended",
    "IMMUTABLE": "MUTABLE",
    "required": "optional",
    "enabled": "disabled",
    "true": "false",
    "ALL": "REJECT",
    "internal": "internet-facing",
    "ClusterIP": "LoadBalancer",
    "restricted": "privileged",
    "API": "CONFIG_MAP",
    "aws:kms": "AES256",
    "ON_DEMAND": "SPOT",
    "RuntimeDefault": "Unconfined",
}
OPPOSITES |= {value: key for key, value in OPPOSITES.items()}
# Where a wildcard means everything.
WIDENED = ("Action", "Resource", "Principal", "AWS", "Service", "verbs", "resources", "apiGroups", "inbound-cidrs")
GONE = object()
UNDIGESTED = ("digest", "approval")
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Mutant:
    """One change of one place; `field` is the kind of place, without numbers and names of its own."""

    type: str
    name: str
    field: str
    operator: str
    # Which of the resources it is in, and what is there instead; None for nothing.
    at: int
    entry: Mapping[str, Any] | None

    @property
    def kind(self) -> str:
        return f"{self.type} {self.field} {self.operator}"


def changes(value: Any, place: Place, others: Mapping[str, list[str]]) -> Iterator[tuple[str, Any]]:
    """Each way to change a leaf, by name, into something that would be taken; `others` are the outputs of other resources."""
    key = next((each for each in reversed(place) if isinstance(each, str)), "")
    yield "drop", GONE
    if isinstance(value, bool):
        yield "flip", not value
    elif isinstance(value, int | float):
        yield "age", 1 if value > 1 else 0
        yield "widen", value * 100 + 1
    elif isinstance(value, str):
        if value in OPPOSITES:
            # A refusal that becomes a permission allows more; the other way round, less.
            yield "widen" if value == "Deny" else "flip", OPPOSITES[value]
        if re.fullmatch(r"[0-9a-f.:]+/\d+", value):
            yield "widen", "0.0.0.0/0"
        elif key in WIDENED and value != "*":
            yield "widen", "*"
        if other := next((each for each in others.get(output_of(value), ()) if each != value), None):
            yield "re-point", other


def output_of(value: str) -> str:
    """Of which kind of resource, and which output, a reference is: `bucket.arn`."""
    found = re.fullmatch(r"\$\{([^/}]+)/[^}]+?\.([^.}]+)\}", value)
    return f"{found[1]}.{found[2]}" if found else ""


def outputs(entries: tuple[Mapping[str, Any], ...]) -> dict[str, list[str]]:
    """All references in a plan, by what they are of."""
    found: dict[str, list[str]] = {}
    for value in sorted({value for each in entries for _, value in leaves(each["inputs"]) if isinstance(value, str)}):
        if kind := output_of(value):
            found.setdefault(kind, []).append(value)
    return found


@cache
def required(kind: str) -> frozenset[str]:
    """The inputs without which the SDK makes no resource of the type."""
    package, module, name = kind.split(":")
    if package != "aws":
        # What they are is their type; without a name other objects would be meant.
        return frozenset({"apiVersion", "kind", "metadata"})
    declared = import_module(f"pulumi_aws.{module.partition('/')[0]}")
    parameters = signature(getattr(declared, f"{name}Args").__init__).parameters.values()
    return frozenset(camel(each.name) for each in parameters if each.default is Parameter.empty)


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.title() for each in rest)


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from leaves(each, (*place, key))
    elif isinstance(value, list) and value:
        for i, each in enumerate(value):
            yield from leaves(each, (*place, i))
    else:
        yield place, value


def changed(value: Any, place: Place, new: Any) -> Any:
    """The value with another one in a place; a copy where it differs."""
    first, *rest = place
    copied: Any = dict(value) if isinstance(value, dict) else list(value)
    if rest:
        copied[first] = changed(value[first], tuple(rest), new)
    elif new is GONE:
        del copied[first]
    else:
        copied[first] = new
    return copied


def field_of(place: Place) -> str:
    """Numbers are places in a list; what follows another name is one of a kind."""
    return re.sub(r"\.\[\]", "[]", ".".join("[]" if isinstance(each, int) else str(each) for each in place))


def of_resources(found: Scene, once: bool) -> Iterator[Mutant]:
    """Every change of every leaf, and of what is kept; with `once` a kind of change only where it first is."""
    seen: set[str] = set()
    others = outputs(found.entries)
    for i, entry in enumerate(found.entries):
        # Components are judged by what they make, which is in the plan as well.
        if entry["type"].startswith(("churn:", "eks:index:")):
            continue
        mutants = [Mutant(entry["type"], entry["name"], "(resource)", "drop", i, None)]
        if entry["protect"]:
            mutants.append(Mutant(entry["type"], entry["name"], "(protect)", "flip", i, {**entry, "protect": False}))
        for place, value in leaves(entry["inputs"]):
            if place and ANNOTATION not in place and not identity(entry["type"], place):
                field = field_of(place)
                for operator, new in changes(value, place, others):
                    if operator == "drop" and len(place) == 1 and place[0] in required(entry["type"]):
                        continue
                    inputs = changed(entry["inputs"], place, new)
                    mutants.append(Mutant(entry["type"], entry["name"], field, operator, i, {**entry, "inputs": inputs}))
        for mutant in mutants:
            if not once or mutant.kind not in seen:
                seen.add(mutant.kind)
                yield mutant


def identity(kind: str, place: Place) -> bool:
    """Whether a place says what a Kubernetes object is: another value is another object, and the SDK demands one."""
    return kind.startswith("kubernetes:") and place in (("apiVersion",), ("kind",), ("metadata", "name"))


def of_release(found: Scene) -> Iterator[Mutant]:
    """Every change of every leaf of the release, with the digest as it was and recomputed; and of single bytes."""
    [at] = [i for i, each in enumerate(found.entries) if carries(each)]
    release = found.release
    for place, value in leaves(release):
        for operator, new in changes(value, place, {}):
            tampered = changed(release, place, new)
            yield Mutant("release", found.stack, field_of(place), operator, at, found.carrying(tampered).entries[at])
            if place[0] not in UNDIGESTED:
                tampered |= {"digest": digest_of(tampered)}
                name = f"{operator} re-digested"
                yield Mutant("release", found.stack, field_of(place), name, at, found.carrying(tampered).entries[at])
    text = json.dumps(release, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    for i in range(0, len(text), 97):
        torn = found.carrying(f"{text[:i]}~{text[i + 1 :]}").entries[at]
        yield Mutant("release", found.stack, "(byte)", "flip", at, torn)


def caught(found: Scene, resources: tuple[Resource, ...], mutant: Mutant) -> bool:
    """Whether a mandatory rule says something; those about single resources are asked about the changed one alone."""
    [entry] = recorded([{**mutant.entry, "provider": ""}]) if mutant.entry else [None]
    if entry:
        entry = replace(entry, provider=resources[mutant.at].provider)
    changed_one = () if entry is None else (entry,)
    whole = Stack((*resources[: mutant.at], *changed_one, *resources[mutant.at + 1 :]))
    alone = Stack(changed_one)
    return any(
        next(iter(rule.findings(alone if isinstance(rule, EachRule) else whole, found.settings[rule.id], found.facts)), None)
        for rule in RULES.values()
        if found.settings[rule.id].enforcement_level == "mandatory"
    )


@dataclass(frozen=True)
class Entry:
    """One kind of field that may change unnoticed, in all of its ways and on all stacks unless some are named."""

    type: str
    field: str
    operators: tuple[str, ...]
    stacks: tuple[str, ...]

    def covers(self, mutant: Mutant, stack: str) -> bool:
        return (
            (not self.stacks or stack in self.stacks)
            and fnmatchcase(mutant.type, self.type)
            and fnmatchcase(mutant.field, self.field.replace("[]", "[[][]]"))
            and (not self.operators or mutant.operator in self.operators)
        )


def harmless() -> list[Entry]:
    listed = tomllib.loads(HARMLESS.read_text())["harmless"]
    return [
        Entry(each["type"], each["field"], tuple(each.get("operators", ())), tuple(each.get("stacks", ()))) for each in listed
    ]


def survey(once: bool, stacks: tuple[str, ...] = STACKS) -> tuple[Counter[str], Counter[str], list[Entry]]:
    """Mutants by outcome, those uncaught and unlisted by kind, and entries that covered nothing."""
    entries = harmless()
    outcome, unlisted = Counter[str](), Counter[str]()
    used: set[Entry] = set()
    for stack in stacks:
        found = scene(stack)
        resources = found.resources
        for mutants in (of_resources(found, once), of_release(found)):
            for mutant in mutants:
                if caught(found, resources, mutant):
                    outcome["caught"] += 1
                elif covering := [each for each in entries if each.covers(mutant, stack)]:
                    outcome["harmless"] += 1
                    used.update(covering[:1])
                else:
                    outcome["unlisted"] += 1
                    unlisted[mutant.kind] += 1
    return outcome, unlisted, [each for each in entries if each not in used]


def main() -> int:
    """Print the counts and what is neither caught nor listed; 1 if there is any."""
    outcome, unlisted, unused = survey(once="--once" in sys.argv)
    for kind, count in sorted(unlisted.items()):
        sys.stdout.write(f"{count:5} {kind}\n")
    for entry in unused:
        sys.stdout.write(f"harmless.toml covers nothing: {entry.type} {entry.field}\n")
    sys.stdout.write(
        f"{sum(outcome.values())} mutants: {outcome['caught']} caught, {outcome['harmless']} harmless by "
        f"{len(harmless())} entries, {outcome['unlisted']} neither\n"
    )
    return 1 if unlisted or unused else 0


if __name__ == "__main__":
    sys.exit(main())
