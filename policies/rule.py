"""What a rule is: plain functions over declared resources, with what people need to know of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from policies.declared import Resource, Stack, UnreadableError

Severity = Literal["low", "medium", "high", "critical"]
# value: what is not known yet is refused. presence: it is enough that something is given, which is always known.
Needs = Literal["value", "presence"]
Text = Annotated[str, Meta(min_length=1)]


class Exemption(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One resource that one rule spares until a day; a rule about the whole stack knows the resource `stack`."""

    resource: Text
    reason: Text
    owner: Text
    last_day: date


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What one stack sets for a rule; rules with parameters extend it."""

    enforcement_level: Literal["mandatory", "advisory", "disabled"] = "mandatory"
    exemptions: tuple[Exemption, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What rules are told beside the resources. Without a day no exemption outlives itself."""

    today: date | None = None
    allowed_signers: str = ""
    # The releases that git has had in the stack's file, newest first; asked for only where there is a release to judge.
    committed: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    exemptions: int = 0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is wrong, and with which resource; None for the stack as a whole."""

    resource: Resource | None
    message: str

    @property
    def name(self) -> str:
        """What an exemption calls the resource."""
        return self.resource.name if self.resource else "stack"


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """What every rule says of itself; `example` is a message of it, word for word."""

    id: str
    why: str
    severity: Severity
    frameworks: tuple[str, ...]
    needs: Needs = "value"
    example: str
    settings: type[Settings] = Settings

    @abstractmethod
    def findings(self, stack: Stack, settings: Any, facts: Facts) -> Iterator[Finding]:
        """Everything that breaks the rule."""


@dataclass(frozen=True, kw_only=True)
class EachRule(Rule):
    """A rule about single resources of some types: the engine asks it before it makes or changes one."""

    types: tuple[str, ...]
    check: Callable[[Resource, Any], Iterator[str]]

    def judge(self, resource: Resource, settings: Any, facts: Facts) -> Iterator[str]:  # noqa: ARG002 - for rules that need them
        """What is wrong with one resource."""
        return self.check(resource, settings)

    def findings(self, stack: Stack, settings: Any, facts: Facts) -> Iterator[Finding]:
        """Everything that breaks the rule."""
        for resource in stack.of(*self.types):
            try:
                for message in self.judge(resource, settings, facts):
                    yield Finding(resource=resource, message=message)
            except UnreadableError as exc:
                yield Finding(resource=resource, message=str(exc))


Whole = Iterator[tuple[Resource | None, str]]


@dataclass(frozen=True, kw_only=True)
class StackRule(Rule):
    """A rule about what must be there beside what, over all resources of a stack."""

    check: Callable[[Stack, Any], Whole]

    def judge(self, stack: Stack, settings: Any, facts: Facts) -> Whole:  # noqa: ARG002 - for rules that need them
        """What is wrong with the stack."""
        return self.check(stack, settings)

    def findings(self, stack: Stack, settings: Any, facts: Facts) -> Iterator[Finding]:
        """Everything that breaks the rule."""
        try:
            for resource, message in self.judge(stack, settings, facts):
                yield Finding(resource=resource, message=message)
        except UnreadableError as exc:
            yield Finding(resource=None, message=str(exc))
