"""What becomes of each stack from one commit to another."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from policies.pack import Verdict
from stacks.record import Plan
from stacks.render import Change, changes
from stacks.review_commits import Commit, CommitPlan, StackPlan
from stacks.review_contract import ContractReview
from stacks.review_contract import compared as contracts_compared
from stacks.review_model import ModelReview
from stacks.review_model import compared as models_compared
from stacks.review_preview import Previews

State = Literal["as before", "changed", "new", "gone", "unreadable"]


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule says of the later commit; `new` where it did not say so of the earlier one."""

    level: Literal["refused", "advisory", "exempted"]
    message: str
    new: bool


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """USD a month, of everything or of a component; None where there is no such stack."""

    before: float | None
    after: float | None

    @property
    def more(self) -> float:
        """What it costs more than before."""
        return (self.after or 0) - (self.before or 0)


class StackReview(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one stack; `refused`: it is not to be deployed, `problems`: why it cannot be read."""

    stack: str
    state: State
    refused: bool
    problems: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    cost: Money
    cost_at_most: Money
    cost_by_component: dict[str, Money] = {}
    said: tuple[Said, ...] = ()
    model: ModelReview | None = None


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one commit does beside another."""

    base: str
    head: str
    stacks: tuple[StackReview, ...]
    contract: ContractReview
    previews: Previews


def between(before: Commit, after: Commit, asked: Previews) -> Review:
    """The review of one commit beside another, with what the engine previews of the later one."""
    # What matters most is read first.
    names = sorted({*before.stacks, *after.stacks}, key=lambda name: (name != "prod", name))
    return Review(
        base=before.commit,
        head=after.commit,
        stacks=tuple(_stack(name, before, after) for name in names),
        contract=contracts_compared(before.contract, after.contract),
        previews=asked,
    )


def _stack(name: str, before: Commit, after: Commit) -> StackReview:
    was, is_ = before.stacks.get(name), after.stacks.get(name)
    old, new = was.plan if was else None, is_.plan if is_ else None
    nothing = Plan(stack=name, outputs={}, resources=())
    unreadable = is_ is not None and new is None
    # What cannot be read is not gone.
    found = () if unreadable else tuple(changes(old or nothing, new or nothing))
    model = None if unreadable else models_compared(before.releases.get(name), after.releases.get(name))
    parts = sorted({*_parts(old), *_parts(new)})
    return StackReview(
        stack=name,
        state=_state(was, is_, changed=bool(found or model)),
        refused=bool(is_ and is_.code),
        problems=is_.said if is_ and unreadable else (),
        changes=found,
        cost=Money(before=old.cost.usd if old else None, after=new.cost.usd if new else None),
        cost_at_most=Money(before=old.cost.usd_most if old else None, after=new.cost.usd_most if new else None),
        cost_by_component={part: Money(before=_parts(old).get(part), after=_parts(new).get(part)) for part in parts},
        said=tuple(_ruled(was, is_)) if is_ and new else (),
        model=model,
    )


def _state(was: StackPlan | None, is_: StackPlan | None, *, changed: bool) -> State:
    if is_ is None:
        return "gone"
    if is_.plan is None:
        return "unreadable"
    if was is None or was.plan is None:
        return "new"
    return "changed" if changed else "as before"


def _parts(plan: CommitPlan | None) -> dict[str, float]:
    return plan.cost.by_component if plan else {}


def _ruled(was: StackPlan | None, is_: StackPlan) -> Iterator[Said]:
    """What its plan says of a stack, refused or not, then what its rules merely note."""
    known = {*was.said, *_noted(was)} if was else set[str]()
    level = "refused" if is_.code else "advisory"
    yield from (Said(level=level, message=line, new=line not in known) for line in is_.said)
    for verdict in is_.plan.verdicts if is_.plan else ():
        if verdict.level != "mandatory":
            message = _note(verdict)
            yield Said(level=verdict.level, message=message, new=message not in known)


def _noted(was: StackPlan) -> Iterator[str]:
    return (_note(verdict) for verdict in was.plan.verdicts) if was.plan else iter(())


def _note(verdict: Verdict) -> str:
    return f"{verdict.rule}: {verdict.message}"
