"""Plans as text: one as a tree, two as what is different."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from stacks.record import Plan, Resource


def tree(plan: Plan) -> str:
    """Every resource below its parent, one a line, with the settings that are its own."""
    children: dict[str, list[Resource]] = {}
    for each in plan.resources:
        children.setdefault(each.parent, []).append(each)
    lines = [f"stack {plan.stack}: {len(plan.resources)} resources", *_branch("", children)]
    lines += ["outputs", *(f"  {name} = {_text(value)}" for name, value in sorted(plan.outputs.items()))]
    return "\n".join(lines) + "\n"


def _branch(parent: str, children: Mapping[str, list[Resource]], depth: int = 0) -> Iterator[str]:
    for each in sorted(children.get(parent, []), key=lambda each: (each.name, each.type)):
        yield "  ".join(["  " * depth + each.name, each.type.rpartition(":")[2], *_settings(each)])
        yield from _branch(each.key, children, depth + 1)


def _settings(resource: Resource) -> Iterator[str]:
    if resource.protect:
        yield "PROTECTED"
    for place, value in _flat({key: value for key, value in resource.inputs.items() if key != "tags"}):
        # Where a resource hangs is in the tree already, and what a policy says in its statements' names.
        if not (isinstance(value, str) and value.startswith("${")) and ".Statement[" not in place:
            yield f"{place}={_text(value)}"
        elif place.endswith(".Effect"):
            yield f"{place.split('[')[1].split(']')[0]}={value}"


def difference(before: Plan, after: Plan) -> str:
    """What is added (+), removed (-) and changed (~), with old and new values."""
    old, new = ({each.key: each for each in plan.resources} for plan in (before, after))
    lines = [f"+ {key}" for key in sorted(new.keys() - old.keys())]
    lines += [f"- {key}" for key in sorted(old.keys() - new.keys())]
    for key in sorted(old.keys() & new.keys()):
        if changes := list(_changes(_all(old[key]), _all(new[key]))):
            lines += [f"~ {key}", *changes]
    if changes := list(_changes(dict(_flat(before.outputs)), dict(_flat(after.outputs)))):
        lines += ["~ outputs", *changes]
    return "\n".join([f"stack {after.stack}" + ("" if lines else ": no change"), *lines]) + "\n"


def _all(resource: Resource) -> dict[str, Any]:
    options = {"protect": resource.protect, "retainOnDelete": resource.retain_on_delete, "parent": resource.parent}
    return {**dict(_flat(resource.inputs)), **{f"({name})": value for name, value in options.items()}}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for place in sorted(old.keys() | new.keys()):
        if old.get(place) != new.get(place):
            yield f"    {place}: {_text(old.get(place))} -> {_text(new.get(place))}"


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar with its place; what has a name in a list (Sid, id, name) is found by it rather than by its number."""
    if isinstance(value, dict):
        for key, each in cast("dict[str, Any]", value).items():
            yield from _flat(each, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for number, each in enumerate(cast("list[Any]", value)):
            yield from _flat(each, f"{place}[{_name(each) or number}]")
    else:
        yield place, value


def _name(value: Any) -> str | None:
    named = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    return next((named[key] for key in ("Sid", "id", "name") if key in named), None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
