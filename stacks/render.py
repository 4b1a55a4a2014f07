"""Plans as text: one as a tree, two as what is different."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

import yaml

from stacks.cost import Cost
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


def difference(before: Plan, after: Plan) -> Iterator[str]:
    """What is added (+), removed (-) and changed (~), with old and new values."""
    old, new = ({each.key: each for each in plan.resources} for plan in (before, after))
    yield from (f"+ {key}" for key in sorted(new.keys() - old.keys()))
    yield from (f"- {key}" for key in sorted(old.keys() - new.keys()))
    for key in sorted(old.keys() & new.keys()):
        is_, was = _all(new[key]), _all(old[key])
        if places := _changed(was, is_):
            yield f"~ {key}" + ("  REPLACED" if replaced(new[key].type, places) else "")
            yield from _changes(places, was, is_)
    was, is_ = dict(_flat(before.outputs)), dict(_flat(after.outputs))
    if places := _changed(was, is_):
        yield "~ outputs"
        yield from _changes(places, was, is_)


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


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [place for place in sorted(old.keys() | new.keys()) if old.get(place) != new.get(place)]


def _changes(places: list[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    return (f"    {place}: {_text(old.get(place))} -> {_text(new.get(place))}" for place in places)


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
