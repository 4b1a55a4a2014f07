"""Plans as text: one as a tree, two as what is different."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, cast

import msgspec
import yaml

from stacks.cost import Cost, component_of
from stacks.record import CHART, Plan, Resource
from stacks.replacing import replaced

# What one looks for in an object at first; the whole of it is in its manifest.
OBJECT_SETTINGS = {
    "averageUtilization",
    "cpu",
    "host",
    "image",
    "maxReplicaCount",
    "maxReplicas",
    "maxUnavailable",
    "memory",
    "minAvailable",
    "minReplicaCount",
    "minReplicas",
    "replicas",
    "setWeight",
    "storage",
    "threshold",
}
CHART_SETTINGS = {"chart", "namespace", "version"}
LONGEST = 80


def tree(plan: Plan) -> Iterator[str]:
    """Every resource below its parent, one a line, with the settings that are its own."""
    children: dict[str, list[Resource]] = {}
    for each in plan.resources:
        children.setdefault(each.parent, []).append(each)
    yield from _branch("", children)
    yield "outputs"
    yield from (f"  {name} = {_text(value)}" for name, value in sorted(plan.outputs.items()))


def _branch(parent: str, children: Mapping[str, list[Resource]], depth: int = 0) -> Iterator[str]:
    for each in sorted(children.get(parent, []), key=lambda each: (each.name, each.type)):
        yield "  ".join(["  " * depth + each.name, each.type.rpartition(":")[2], *_settings(each)])
        yield from _branch(each.key, children, depth + 1)


def _settings(resource: Resource) -> Iterator[str]:
    if resource.protect:
        yield "PROTECTED"
    for place, value in _flat({key: value for key, value in resource.inputs.items() if key != "tags"}):
        # Where a resource hangs is in the tree already, and what a policy says in its statements' names.
        if ".Statement[" in place or place.endswith("olicy.Version"):
            if place.endswith(".Effect"):
                yield f"{place.split('[')[1].split(']')[0]}={value}"
        elif _matters(resource.type, place) and not (isinstance(value, str) and value.startswith("${")):
            yield f"{_near(place)}={_short(_text(value))}"


def _matters(kind: str, place: str) -> bool:
    key = place.rpartition(".")[2]
    if kind == CHART:
        return key in CHART_SETTINGS
    return not kind.startswith("kubernetes:") or (key in OBJECT_SETTINGS and ".initContainers[" not in place)


def _near(place: str) -> str:
    """The place without the levels that every object has."""
    return place.removeprefix("spec.").removeprefix("template.spec.")


def charts(plan: Plan) -> Iterator[str]:
    """Every chart with its version, where it is from, and the values that differ from its own."""
    for each in plan.resources:
        if each.type == CHART:
            where = each.inputs.get("repositoryOpts", {}).get("repo", "")
            yield f"chart {each.inputs['chart']} {each.inputs.get('version')} from {where}"
            values = yaml.safe_dump(each.inputs.get("values", {}), sort_keys=True, width=120)
            yield from (f"    {line}" for line in values.splitlines())


def total(cost: Cost) -> str:
    """The whole of it in words."""
    return f"{cost.usd:,.2f} USD a month, at most {cost.usd_most:,.2f}"


def costs(cost: Cost) -> Iterator[str]:
    """Components, the largest first, with what they are made of; then what is billed beside it."""
    yield f"cost: {total(cost)}"
    for component, usd in cost.by_component.items():
        yield f"  {usd:>10,.2f}  {component}"
        yield from _parts(cost, component)
    if cost.unpriced:
        yield "not in it"
        yield from (f"  {each}" for each in cost.unpriced)


def _parts(cost: Cost, component: str) -> Iterator[str]:
    mine = [line for line in cost.lines if line.component == component]
    for what in sorted({line.what for line in mine}):
        same = [line for line in mine if line.what == what]
        usd, most, quantity = (sum(getattr(line, name) for line in same) for name in ("usd", "usd_most", "quantity"))
        count = f"{len(same)} x " if len(same) > 1 else ""
        range_ = f", at most {most:,.2f}" if most > usd else ""
        unit = f"{same[0].unit}{'s' * (quantity != 1)}"
        yield f"  {usd:>12,.2f}  {count}{what}: {quantity:,g} {unit} at {same[0].unit_usd:g}{range_}"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What is different in one resource; `values` are the places that change, each with its old and new value."""

    kind: Literal["added", "removed", "changed"]
    component: str
    type: str
    name: str
    protect: bool
    replaced: bool = False
    values: tuple[tuple[str, Any, Any], ...] = ()

    def lines(self) -> Iterator[str]:
        """It as text, a place a line."""
        sign = {"added": "+", "removed": "-", "changed": "~"}[self.kind]
        yield f"{sign} {self.type} {self.name}" + ("  REPLACED" if self.replaced else "")
        yield from _values(self.values)


def changes(before: Plan, after: Plan) -> Iterator[Change]:
    """What is added, removed and changed, in this order, by the resource's name."""
    old, new = ({each.key: each for each in plan.resources} for plan in (before, after))
    yield from (_change("added", new[key], new) for key in sorted(new.keys() - old.keys()))
    yield from (_change("removed", old[key], old) for key in sorted(old.keys() - new.keys()))
    for key in sorted(old.keys() & new.keys()):
        if values := _changed(_all(old[key]), _all(new[key])):
            is_replaced = replaced(new[key].type, [place for place, _, _ in values])
            # Only what was protected stops an engine that is to delete it.
            change = _change("changed", new[key], new)
            yield msgspec.structs.replace(change, protect=old[key].protect, replaced=is_replaced, values=values)


def _change(kind: Literal["added", "removed", "changed"], of: Resource, among: dict[str, Resource]) -> Change:
    return Change(kind=kind, component=component_of(of, among), type=of.type, name=of.name, protect=of.protect)


def difference(before: Plan, after: Plan) -> Iterator[str]:
    """What is added (+), removed (-) and changed (~), with old and new values."""
    for each in changes(before, after):
        yield from each.lines()
    if values := _changed(dict(_flat(before.outputs)), dict(_flat(after.outputs))):
        yield "~ outputs"
        yield from _values(values)


def cost_difference(before: Cost, after: Cost) -> Iterator[str]:
    """What a change costs by the month, by component."""
    if before == after:
        return
    yield f"cost by month: {before.usd:,.2f} -> {after.usd:,.2f} USD ({after.usd - before.usd:+,.2f})"
    old, new = before.by_component, after.by_component
    for component in sorted(old.keys() | new.keys()):
        was, is_ = old.get(component, 0), new.get(component, 0)
        if was != is_:
            yield f"  {is_ - was:>+12,.2f}  {component}: {was:,.2f} -> {is_:,.2f}"
    if before.usd_most != after.usd_most:
        yield f"  at most: {before.usd_most:,.2f} -> {after.usd_most:,.2f}"


def _all(resource: Resource) -> dict[str, Any]:
    options = {
        "protect": resource.protect,
        "retainOnDelete": resource.retain_on_delete,
        "parent": resource.parent,
        "ignoreChanges": ", ".join(resource.ignores),
    }
    return {**dict(_flat(resource.inputs)), **{f"({name})": value for name, value in options.items()}}


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[tuple[str, Any, Any], ...]:
    return tuple((at, old.get(at), new.get(at)) for at in sorted(old.keys() | new.keys()) if old.get(at) != new.get(at))


def _values(changed: Iterable[tuple[str, Any, Any]]) -> Iterator[str]:
    return (f"    {place}: {_text(was)} -> {_text(is_)}" for place, was, is_ in changed)


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar with its place; what has a name in a list (Sid, id, name) is found by it rather than by its number."""
    if isinstance(value, dict):
        for key, each in cast("dict[str, Any]", value).items():
            yield from _flat(each, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        items = cast("list[Any]", value)
        names = [_name(each, place) for each in items]
        # A name that is given twice tells nothing.
        told = None not in names and len(set(names)) == len(items)
        for number, each in enumerate(items):
            yield from _flat(each, f"{place}[{names[number] if told else number}]")
    else:
        yield place, value


def _name(value: Any, place: str) -> str | None:
    # Actions and resources of a policy's statement: their order means nothing.
    if isinstance(value, str) and ".Statement[" in place:
        return value
    named = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    return next((named[key] for key in ("Sid", "id", "name") if key in named), None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) and "\n" not in value else json.dumps(value)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
