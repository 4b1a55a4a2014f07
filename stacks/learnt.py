"""What resources learn of themselves only when they are made, as references that stand for it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from inspect import signature
from typing import Any, ForwardRef, Union, cast, get_args, get_origin

import pulumi

# The packages whose resources AWS fills in; what a Kubernetes object becomes is what was asked for.
PACKAGES = {"aws": "pulumi_aws", "eks": "pulumi_eks"}


def reference(token: str, name: str) -> str:
    """Which resource is meant, in words of its type: `bucket/lake`."""
    kind = token.rpartition(":")[2]
    return f"{kind[:1].lower()}{kind[1:]}/{name}"


def learnt(token: str, name: str) -> dict[str, Any]:
    """Every text and number that a resource of the type must have once made, `${bucket/lake.arn}`, lists with one element."""
    made = reference(token, name)
    return {output: _standing(kind, f"{made}.{output}") for output, kind in _outputs(token)}


@cache
def _outputs(token: str) -> tuple[tuple[str, Any], ...]:
    package, module, kind = token.split(":")
    if package not in PACKAGES:
        return ()
    folder = module.partition("/")[0]
    declared: Any = getattr(import_module(PACKAGES[package] + (f".{folder}" if folder != "index" else "")), kind, None)
    if declared is None:
        return ()
    asked = signature(declared._internal_init).parameters  # noqa: SLF001 - the only list of inputs that there is
    # Settings in a structure are what the program gave, in the plan as on AWS; a text may be a name that AWS chose.
    return tuple((name, shape) for name, field, shape in _getters(declared) if shape is str or field not in asked)


def _getters(declared: type) -> Iterator[tuple[str, str, Any]]:
    """The properties of a generated class that a reference can stand for: name on the wire, in Python, and shape."""
    for field, each in vars(declared).items():
        getter = each.fget if isinstance(each, property) else None
        if getter and (shape := _shape(getter.__annotations__["return"], getter.__globals__)):
            yield getattr(getter, "_pulumi_name", field), field, shape


def _shape(declared: Any, names: Mapping[str, Any]) -> Any:
    """`str` for a text or number, a list or dict of shapes, or None for what no reference can stand for."""
    kind = declared
    if get_origin(kind) is pulumi.Output:
        [kind] = get_args(kind)
        # What may be absent is absent, unless the program gave it.
        if type(None) in get_args(kind):
            return None
    if get_origin(kind) is Union:
        kind = get_args(kind)[0]
    if isinstance(kind, ForwardRef):
        kind = _named(kind.__forward_arg__, names)
    if kind in {str, int}:
        return str
    if get_origin(kind) is Sequence:
        shape = _shape(get_args(kind)[0], names)
        return shape and [shape]
    if getattr(kind, "_pulumi_output_type", False):
        return {name: shape for name, _, shape in _getters(kind)}
    return None


def _named(path: str, names: Mapping[str, Any]) -> Any:
    """The class that a generated module means by `outputs.InstanceMasterUserSecret`; None for one of another package."""
    module, _, name = path.rpartition(".")
    return getattr(names.get(module), name, None) if module else names.get(name)


def _standing(shape: Any, place: str) -> Any:
    if isinstance(shape, dict):
        return {key: _standing(each, f"{place}.{key}") for key, each in cast("dict[str, Any]", shape).items()}
    if isinstance(shape, list):
        return [_standing(each, place) for each in cast("list[Any]", shape)]
    return f"${{{place}}}"
