"""The rules as the Pulumi engine asks them: its resources as rules read them, and what it does not know yet from a plan.

In a first preview whole documents are unknown, a bucket's policy with the bucket's ARN in it. `make preview` records a plan just
before, in which they are there with references for what AWS gives later; without that plan they are refused. An `up` asks again
with what has become known, before it makes a resource.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

from policies.config import mistakes, settings_of
from policies.declared import Node, Resource, Stack, Unknown, recorded
from policies.pack import ROOT, RULES, facts_of, outlived, over, spared
from policies.rule import EachRule, Finding, Rule, Settings

PLANS = ROOT / "var" / "plans"
Report = Callable[[str, str | None], None]
FIRST = next(rule.id for rule in RULES.values() if isinstance(rule, EachRule))


class Options(Protocol):
    """What the engine says of how a resource is kept."""

    protect: bool
    parent: str | None


class Provider(Protocol):
    """What the engine says of a resource's provider."""

    resource_type: str
    name: str
    props: Mapping[str, Any]


class Declared(Protocol):
    """A resource as the engine hands it over; the properties raise where one is read that is not known yet."""

    resource_type: str
    name: str
    urn: str
    props: Mapping[str, Any]
    opts: Options
    provider: Provider | None


class Linked(Declared, Protocol):
    """One of all resources of a stack, with those that its inputs come from."""

    property_dependencies: Mapping[str, list[Any]]


class One(Declared, Protocol):
    """What a rule about single resources is asked with."""

    def get_config(self) -> Mapping[str, Any] | None:
        """The settings of the rule."""
        ...


class All(Protocol):
    """What a rule about a stack is asked with."""

    resources: list[Any]

    def get_config(self) -> Mapping[str, Any] | None:
        """The settings of the rule."""
        ...


@dataclass
class Pack:
    """Answers the engine; `unknown` is what its properties raise."""

    unknown: type[Exception]
    today: date
    plans: Path = PLANS
    # The engine gives each rule its own settings alone, and the same each time: they are gathered as rules are asked.
    settings: dict[str, Settings] = field(default_factory=dict[str, Settings])
    # Of every resource, as rules about single ones are asked about them before any about the stack is.
    inputs: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])

    def asked(self, rule: Rule) -> Callable[..., None]:
        """What the engine asks of a rule."""
        return self._one(rule) if isinstance(rule, EachRule) else self._all(rule)

    def _one(self, rule: EachRule) -> Callable[[One, Report], None]:
        def validate(args: One, report: Report) -> None:
            if rule.id == FIRST:
                self.inputs[args.urn] = cast("Mapping[str, Any]", self._plain(args.props))
            if args.resource_type in rule.types:
                resource = self._filled(self._resource(args), args.urn)
                self._judge(rule, args.get_config(), Stack((resource,)), {resource.key: args.urn}, report)
            else:
                # Whether there is anything for it to judge or not, its exemptions count.
                self._settings(rule, args.get_config())

        return validate

    def _all(self, rule: Rule) -> Callable[[All, Report], None]:
        def validate(args: All, report: Report) -> None:
            names = self._names(args.resources)
            resources = tuple(self._filled(self._linked(each, names), each.urn) for each in args.resources)
            urns = {found.key: each.urn for found, each in zip(resources, args.resources, strict=True)}
            self._judge(rule, args.get_config(), Stack(resources), urns, report)

        return validate

    def _resource(self, given: Declared) -> Resource:
        maker = given.provider
        return Resource(
            type=given.resource_type,
            name=given.name,
            inputs=Node(self._plain(given.props)),
            protect=bool(given.opts.protect),
            parent=_key(given.opts.parent or ""),
            provider=Resource(type=maker.resource_type, name=maker.name, inputs=Node(self._plain(maker.props)))
            if maker
            else None,
        )

    def _linked(self, given: Linked, names: Mapping[str, set[str]]) -> Resource:
        """The same as part of a stack, with the resource that an unknown input comes from where it is one."""
        resource = self._resource(given)
        # At the end the engine shows what came of the inputs, which in a preview may be nothing at all.
        values = {**cast("Mapping[str, Any]", resource.inputs.value), **self.inputs.get(given.urn, {})}
        for name, sources in given.property_dependencies.items():
            if isinstance(values.get(name), Unknown) and len(sources) == 1:
                values[name] = Unknown(f"{self._resource(sources[0]).reference}.")
        return replace(resource, inputs=Node(values), known_as=frozenset(names.get(given.urn, ())))

    def _names(self, given: Iterable[Linked]) -> dict[str, set[str]]:
        """By URN what others are given of a resource, such as the id that AWS gave it, which the engine does not show."""
        names: dict[str, set[str]] = {}
        for each in given:
            for name, sources in each.property_dependencies.items():
                value = self.inputs.get(each.urn, {}).get(name)
                if len(sources) == 1 and isinstance(value, str):
                    names.setdefault(sources[0].urn, set()).add(value)
        return names

    def _plain(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            given = cast("Mapping[str, Any]", value)
            return {key: self._at(given, key) for key in given}
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [self._at(value, i) for i in range(len(cast("Sequence[Any]", value)))]
        # Numbers travel as floats.
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def _at(self, within: Any, place: Any) -> Any:
        try:
            return self._plain(within[place])
        except self.unknown:
            return Unknown()

    def _filled(self, resource: Resource, urn: str) -> Resource:
        planned = _plan(self.plans / f"{_stack(urn)}.json").get(resource.key)
        return replace(resource, inputs=Node(_fill(resource.inputs.value, planned.inputs.value))) if planned else resource

    def _settings(self, rule: Rule, given: Mapping[str, Any] | None) -> list[str]:
        """Keeps the settings of a rule; what is wrong with them."""
        if rule.id in self.settings:
            return []
        own = self._plain(given or {})
        if found := mistakes(own, rule):
            return [*found, "run with --policy-pack-config policies/config.<stack>.json"]
        self.settings[rule.id] = settings_of(own, rule)
        return []

    def _judge(self, rule: Rule, given: Mapping[str, Any] | None, stack: Stack, urns: Mapping[str, str], report: Report) -> None:
        if wrong := self._settings(rule, given):
            report("; ".join(wrong), None)
            return
        settings = self.settings[rule.id]
        name = _stack(next(iter(urns.values()), ""))
        facts = replace(_facts(name, self.today), exemptions=sum(len(each.exemptions) for each in self.settings.values()))
        for finding in rule.findings(stack, settings, facts):
            if not spared(finding, settings, self.today):
                report(f"{finding.name}: {finding.message}", urns.get(finding.resource.key) if finding.resource else None)
        names = {Finding(resource=each, message="").name for each in stack.resources} | {"stack"}
        for exemption in outlived(settings, self.today):
            if exemption.resource in names:
                report(f"{exemption.resource}: {over(exemption)}", None)


def _stack(urn: str) -> str:
    return urn.split("::", maxsplit=1)[0].rpartition(":")[2]


def _key(urn: str) -> str:
    if not urn or "::pulumi:pulumi:Stack::" in urn:
        return ""
    chain, name = urn.split("::")[2:]
    return f"{chain.rpartition('$')[2]} {name}"


def _fill(value: Any, planned: Any) -> Any:
    """The value with what a plan has in place of what is unknown."""
    if isinstance(value, Unknown):
        return value if planned is None else planned
    filled: Any = value
    if isinstance(value, dict) and isinstance(planned, dict):
        others = cast("dict[str, Any]", planned)
        filled = {key: _fill(each, others.get(key)) for key, each in cast("dict[str, Any]", value).items()}
    elif (
        isinstance(value, list) and isinstance(planned, list) and len(cast("list[Any]", value)) == len(cast("list[Any]", planned))
    ):
        filled = [_fill(*both) for both in zip(cast("list[Any]", value), cast("list[Any]", planned), strict=True)]
    return filled


@cache
def _plan(path: Path) -> Mapping[str, Resource]:
    """The resources of a recorded plan by key; none without a file."""
    try:
        plans: dict[str, dict[str, Iterable[Mapping[str, Any]]]] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return {each.key: each for plan in plans.values() for each in recorded(plan["resources"])}


_facts = cache(facts_of)
