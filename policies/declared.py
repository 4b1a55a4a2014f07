"""What a stack declares, as rules read it: plain values, one word for what only AWS will say, and no way to overlook it."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

# `${bucket/lake.arn}` stands in a recorded plan for what AWS gives later; `${aws:username}` is IAM's own and means itself.
_REFERENCE = re.compile(r"\$\{([^}:]+)\}")
SECRET = "[secret]"  # noqa: S105 - what a plan has in place of one


@dataclass(frozen=True)
class Unknown:
    """A value that is there but not known yet; `of` says whose output it is, `bucket/lake.arn`, where that can be told."""

    of: str = ""


class UnreadableError(ValueError):
    """A place that a rule cannot read: not known yet, or of another form. Whatever cannot be read is refused."""


@dataclass(frozen=True)
class Node:
    """A value in its place. What is missing reads as None; what is unknown or of another form can only be refused."""

    value: Any
    place: str = ""

    def __getitem__(self, key: str) -> "Node":
        place = f"{self.place}.{key}" if self.place else key
        found = self.known
        if found is None:
            return Node(None, place)
        if not isinstance(found, dict):
            raise UnreadableError(f"{self.place} is {shown(self.value)}; give an object")
        return Node(cast("dict[str, Any]", found).get(key), place)

    def __iter__(self) -> Iterator["Node"]:
        if self.known is None:
            return iter(())
        if not isinstance(self.known, list):
            raise UnreadableError(f"{self.place} is {shown(self.known)}; give a list")
        return (Node(each, f"{self.place}[{i}]") for i, each in enumerate(cast("list[Any]", self.value)))

    @property
    def known(self) -> Any:
        """The plain value, None if missing. Raises UnreadableError where it is not known yet."""
        if isinstance(self.value, Unknown):
            raise UnreadableError(
                f"{self.place} is not known before the resource is made; give a plain value, or run `make preview`"
            )
        return self.value

    @property
    def given(self) -> bool:
        """Whether there is something, known or not."""
        return self.value not in (None, "", [], {})

    @property
    def names(self) -> tuple[str, ...]:
        """The keys of an object."""
        self[""]
        return tuple(cast("Mapping[str, Any]", self.value or {}))

    @property
    def items(self) -> Iterator[tuple[str, "Node"]]:
        """Every key of an object with its value."""
        return ((name, self[name]) for name in self.names)

    @property
    def texts(self) -> list[str]:
        """The texts of a list, or the one text that stands for a list of one."""
        if isinstance(self.value, str):
            return [self.value]
        return [each.text for each in self]

    @property
    def text(self) -> str:
        """A text; empty where there is none."""
        if not isinstance(self.known or "", str):
            raise UnreadableError(f"{self.place} is {shown(self.value)}; give text")
        return self.value or ""

    @property
    def number(self) -> float:
        """A number; 0 where there is none."""
        if isinstance(self.known, bool) or not isinstance(self.known or 0, int | float):
            raise UnreadableError(f"{self.place} is {shown(self.value)}; give a number")
        return self.value or 0

    @property
    def document(self) -> "Node":
        """The structure that a text spells in JSON; a recorded plan has it as structure already."""
        if not isinstance(self.known, str):
            return self
        try:
            return Node(json.loads(self.value), self.place)
        except ValueError as exc:
            raise UnreadableError(f"{self.place} is no JSON ({exc}); give a document") from exc

    @property
    def leaves(self) -> Iterator["Node"]:
        """Every scalar below, itself included."""
        if isinstance(self.value, dict):
            inner: Iterable[Node] = (each for _, each in self.items)
        elif isinstance(self.value, list):
            inner = self
        else:
            yield self
            return
        for each in inner:
            yield from each.leaves


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One declared resource; `provider` is None for components and for providers themselves."""

    type: str
    name: str
    inputs: Node
    protect: bool = False
    parent: str = ""
    provider: "Resource | None" = None
    # What others are given of it.
    known_as: frozenset[str] = frozenset()

    def __getitem__(self, key: str) -> Node:
        return self.inputs[key]

    @property
    def key(self) -> str:
        """How messages call it."""
        return f"{self.type} {self.name}"

    @cached_property
    def reference(self) -> str:
        """How a reference calls it: `bucket/lake`."""
        kind = self.type.rpartition(":")[2]
        return f"{kind[:1].lower()}{kind[1:]}/{self.name}"

    def is_meant_by(self, node: Node) -> bool:
        """Whether the value is an output of this resource: by reference before it is made, by its name or id afterwards."""
        if isinstance(node.value, Unknown):
            return node.value.of.startswith(f"{self.reference}.")
        if not isinstance(node.value, str) or not node.value:
            return False
        return node.value in self.known_as or any(node.value == self[own].value for own in ("id", "name", "bucket", "arn"))


@dataclass(frozen=True)
class Stack:
    """Everything that is declared."""

    resources: tuple[Resource, ...]
    _by_type: dict[str, list[Resource]] = field(default_factory=dict[str, list[Resource]])

    def __post_init__(self) -> None:
        for each in self.resources:
            self._by_type.setdefault(each.type, []).append(each)

    def of(self, *types: str) -> list[Resource]:
        """The resources of these types."""
        return [each for kind in types for each in self._by_type.get(kind, [])]

    def one_for(self, target: Resource, kind: str, key: str) -> Resource | None:
        """The resource of a kind whose `key` names the target."""
        return next((each for each in self.of(kind) if target.is_meant_by(each[key])), None)


def recorded(entries: Iterable[Mapping[str, Any]]) -> tuple[Resource, ...]:
    """The resources of a plan's JSON."""
    listed = list(entries)
    by_key = {f"{each['type']} {each['name']}": each for each in listed}
    return tuple(_resource(each, by_key.get(each["provider"])) for each in listed)


def _resource(entry: Mapping[str, Any], provider: Mapping[str, Any] | None) -> Resource:
    return Resource(
        type=entry["type"],
        name=entry["name"],
        inputs=Node(without_references(entry["inputs"])),
        protect=entry["protect"],
        parent=entry["parent"],
        provider=_resource(provider, None) if provider else None,
    )


def without_references(value: Any) -> Any:
    """The value with Unknown for each text that is a reference and nothing else; parts of a longer text stay as they are."""
    if isinstance(value, dict):
        return {key: without_references(each) for key, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [without_references(each) for each in cast("list[Any]", value)]
    if value == SECRET:
        return Unknown()
    whole = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return Unknown(whole[1]) if whole else value


def shown(value: object) -> str:
    """The value for a message: short, on one line."""
    if isinstance(value, Unknown):
        return "not known yet"
    text = "missing" if value is None else json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - about a line
