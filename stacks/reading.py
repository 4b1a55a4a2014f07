"""Typed sections out of the flat strings that a stack's configuration is; every mistake is collected, none raised."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from ipaddress import IPv4Network
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
import pulumi

Section = TypeVar("Section", bound=msgspec.Struct)
# What is written as YAML's own, and how an error calls it; the engine hands it over as JSON.
STRUCTURES: dict[object, str] = {tuple: "list", UnionType: "map"}
UNITS = ("Days", "Gib", "Mib", "Millicores", "Milliseconds", "Percent", "RequestsPerSecond", "Seconds", "UsdPerMonth")


class ConfigError(pulumi.RunError):
    """Every mistake of one stack's configuration; the engine prints it without a traceback."""

    def __init__(self, stack: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        count = f"{len(self.problems)} mistake{'s' * (len(self.problems) != 1)}"
        super().__init__("\n  ".join([f"the configuration of stack {stack} has {count}:", *self.problems]))


@dataclass(frozen=True, kw_only=True)
class Key:
    """One value of a configuration: `name` is as in the file, `network:vpcCidr`."""

    section: str
    attribute: str
    name: str
    type: Any
    required: bool

    @property
    def example(self) -> str:
        """A value that would do, as one writes it in the file."""
        [meta] = (part for part in get_args(self.type) if isinstance(part, msgspec.Meta))
        [example] = meta.examples or []
        return _written(example)

    def parse(self, text: str) -> Any:
        """The typed value. Raises ValueError saying what is wrong with it."""
        plain = get_args(self.type)[0]
        structure = STRUCTURES.get(get_origin(plain))
        given = _structure(text, structure) if structure else text
        return msgspec.convert(given, self.type, strict=False, dec_hook=_special)


@dataclass
class Reader:
    """Reads sections from `values` (as the engine hands them over: lists and maps are JSON) and keeps what it finds wrong."""

    values: Mapping[str, str]
    found: dict[str, Any] = field(default_factory=dict[str, Any])
    problems: list[str] = field(default_factory=list[str])

    def read(self, keys: Iterable[Key]) -> None:
        """Parse every key; one that is not declared is a mistake as well."""
        known = {key.name: key for key in keys}
        for name in sorted(self.values.keys() - known.keys()):
            # What stands below pulumi: is read by the engine, not by the program.
            if not name.startswith("pulumi:"):
                self.problems.append(_unknown(name, self.values[name], list(known)))
        for key in known.values():
            self._parse(key)

    def _parse(self, key: Key) -> None:
        if key.name not in self.values:
            if key.required:
                self.problems.append(f"{key.name} is missing; give a value such as {key.example}")
            return
        text = self.values[key.name]
        try:
            self.found[key.name] = key.parse(text)
        except (ValueError, msgspec.MsgspecError) as exc:
            # A value to give says more than a pattern.
            reason = re.sub("str matching regex '.*'", "text of another form", str(exc).replace("`", ""))
            self.problems.append(f"{key.name} is {text or 'empty'}: {reason[0].lower() + reason[1:]}; {self._advice(key, text)}")

    def check(self, rule: Callable[..., Iterable[str]], *names: str) -> None:
        """Run a rule about several keys, if each of them could be read."""
        if all(name in self.found for name in names):
            self.problems.extend(rule(*(self.found[name] for name in names)))

    def section(self, name: str, declared: type[Section]) -> Section:
        """The typed section, once `problems` is empty."""
        return declared(**{key.attribute: self.found[key.name] for key in keys_of(name, declared) if key.name in self.found})

    @staticmethod
    def _advice(key: Key, text: str) -> str:
        plain = get_args(key.type)[0]
        if isinstance(plain, type) and issubclass(plain, Enum):
            near = get_close_matches(text, [str(each.value) for each in plain], n=1, cutoff=0)
            return f"give one that there is, such as {near[0]}"
        if get_origin(plain) is Literal:
            return f"give one of: {', '.join(map(str, get_args(plain)))}"
        if plain is int:
            return f"give the number alone, the key says its unit, such as {key.example}"
        return f"give a value such as {key.example}"


def keys_of(section: str, declared: type[msgspec.Struct]) -> list[Key]:
    """The keys that a struct of settings declares, each with its type and an example."""
    return [
        Key(section=section, attribute=each.name, name=f"{section}:{each.encode_name}", type=each.type, required=each.required)
        for each in msgspec.structs.fields(declared)
    ]


def _structure(text: str, kind: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise ValueError(f"no {kind}") from None


def _special(wanted: type[IPv4Network], value: str) -> IPv4Network:
    """The one type of ours that msgspec does not know."""
    return wanted(value)


def _written(value: object) -> str:
    return msgspec.json.encode(value).decode().strip('"')


def _unknown(name: str, text: str, known: list[str]) -> str:
    for unit in UNITS:
        if f"{name}{unit}" in known:
            return f"{name} is {text}, which has no unit; give {name}{unit}"
    near = get_close_matches(name, known, n=1, cutoff=0.7)
    return f"{name} is {text}, but no such key is read; {f'give {near[0]}' if near else 'take it out'}"
