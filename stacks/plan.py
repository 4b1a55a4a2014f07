"""`python -m stacks.plan dev prod`: what stacks declare and cost, whether rules refuse it, and what would change, read offline.

Exit codes: 0 done, 1 refused by a rule or above the budget, 2 bad input.
"""

import argparse
import json
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import msgspec

from policies.config import PolicyConfigError, load
from policies.declared import recorded
from policies.pack import RULES, Verdict, facts_of, verdicts
from stacks.config import ROOT, StackConfig, read, stacks
from stacks.cost import Cost, over_budget, price
from stacks.guide import missing
from stacks.live import live_on
from stacks.manifests import write
from stacks.prices import ASSUMPTIONS
from stacks.reading import ConfigError
from stacks.record import Plan, record
from stacks.render import charts, cost_difference, costs, difference, total, tree
from stacks.sizing import explain, sizing_of
from stacks.values import PlanError, changes_of, values_of


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A stack's plan with what it was made of and what it costs."""

    config: StackConfig
    plan: Plan
    cost: Cost
    verdicts: tuple[Verdict, ...]

    @property
    def refusals(self) -> list[str]:
        """Why it is not to be deployed: rules that are broken, and what it costs too much."""
        own, broken = self.config.aws, (each for each in self.verdicts if each.level == "mandatory")
        dear = over_budget(self.cost, own.account.budget_usd_per_month, self.config.stack) if own else None
        return [*(f"stack {self.config.stack}: {each.rule}: {each.message}" for each in broken), *([dear] if dear else [])]


def plan(stack: str, changes: Mapping[str, str] | None = None) -> Plan:
    """What a stack declares with the values of its file, and of `changes` before them. Raises ConfigError, PlanError."""
    return planned(stack, changes or {}).plan


def planned(stack: str, changes: Mapping[str, str], today: date | None = None) -> Planned:
    """The same, with its configuration, its cost and what rules say. Raises PolicyConfigError as well."""
    values = values_of(stack)
    # Of a stack that is not there, changes are no values.
    values = values and {**values, **changes}
    config = read(stack, values)
    # The program as the engine runs it: the folder, not a module in it.
    made = record(lambda: runpy.run_path(str(ROOT / "stacks"), run_name="__main__"), stack, values)
    declared = recorded(msgspec.to_builtins(made)["resources"])
    found = verdicts(declared, load(stack, RULES), facts_of(stack, today))
    return Planned(config=config, plan=made, cost=price(made), verdicts=tuple(found))


def to_json(read_stacks: Sequence[Planned]) -> str:
    """The plans and their cost by stack, the same bytes for the same declarations."""
    content = {
        each.config.stack: msgspec.to_builtins(each.plan)
        | {"cost": msgspec.to_builtins(each.cost) | {"usd": each.cost.usd, "usd_most": each.cost.usd_most}}
        | {"verdicts": msgspec.to_builtins(each.verdicts)}
        for each in read_stacks
    }
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def earlier(path: Path, stack: str) -> Plan:
    """The stack's plan in a file that `--json` wrote; of a file with one plan, that one. Raises PlanError."""
    try:
        plans = msgspec.json.decode(path.read_bytes(), type=dict[str, Plan])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise PlanError(f"{path} is not a plan: {exc}; give a file that `python -m stacks.plan {stack} --json` wrote") from exc
    if stack not in plans and len(plans) != 1:
        raise PlanError(f"{path} has plans of {', '.join(plans) or 'no stack'}; give one that has {stack}")
    return plans.get(stack) or next(iter(plans.values()))


def changed(before: Plan, after: Planned) -> Iterator[str]:
    """What is different from an earlier plan, in resources and in money."""
    lines = [*difference(before, after.plan), *cost_difference(price(before), after.cost)]
    yield f"stack {after.config.stack}" + ("" if lines else ": no change")
    yield from lines


def described(each: Planned) -> Iterator[str]:
    """All of a plan for a reader: resources, what is missing, charts, sizing and cost."""
    yield f"stack {each.plan.stack}: {len(each.plan.resources)} resources, {total(each.cost)}"
    yield from tree(each.plan)
    yield from charts(each.plan)
    yield from _section("not declared", missing(each.config, live_on(each.config)))
    yield from _section("size of inference", explain(sizing_of(each.config)))
    yield from _section(f"rules: {len(RULES)}, in docs/policies.md", ruled(each.verdicts))
    yield from costs(each.cost)
    if own := each.config.aws:
        yield from _section("assumed", (*ASSUMPTIONS, f"the stack is in {own.account.region}"))


def ruled(found: Sequence[Verdict]) -> Iterator[str]:
    """What rules say of a stack, one finding a line."""
    yield from (f"{each.level}  {each.rule}: {each.message}" for each in found)
    if not found:
        yield "all hold"


def _section(title: str, lines: Iterator[str] | Sequence[str]) -> Iterator[str]:
    if found := [f"  {line}" for line in lines]:
        yield from (title, *found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is asked for; the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        changes = changes_of(asked.release, asked.set)
        read_stacks = [planned(stack, changes, asked.today) for stack in asked.stacks]
        text = _text(read_stacks, asked)
        _write(read_stacks, asked)
    except (ConfigError, PlanError, PolicyConfigError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    sys.stdout.write(text)
    refusals = [refusal for each in read_stacks for refusal in each.refusals]
    sys.stderr.writelines(f"{refusal}\n" for refusal in refusals)
    return 1 if refusals else 0


def _text(read_stacks: Sequence[Planned], asked: argparse.Namespace) -> str:
    if asked.json:
        return to_json(read_stacks)
    if asked.against:
        lines = (line for each in read_stacks for line in changed(earlier(asked.against, each.config.stack), each))
        return "".join(f"{line}\n" for line in lines)
    return "\n".join("".join(f"{line}\n" for line in described(each)) for each in read_stacks)


def _write(read_stacks: Sequence[Planned], asked: argparse.Namespace) -> None:
    if asked.picture:
        from stacks.picture import draw  # noqa: PLC0415 - few who read a plan draw it

        if len(read_stacks) > 1:
            raise PlanError(f"--picture {asked.picture} is of one stack; give one stack, not {', '.join(asked.stacks)}")
        draw(read_stacks[0].plan, asked.picture)
    for each in read_stacks if asked.manifests else ():
        write(each.plan, asked.manifests / each.config.stack if len(read_stacks) > 1 else asked.manifests)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stacks.plan", description="What stacks declare and cost, read offline.")
    parser.add_argument("stacks", nargs="+", metavar="STACK", help=f"one of {', '.join(stacks())}")
    parser.add_argument("--release", type=Path, metavar="FILE", help="a release to plan with; releases/<stack>.json unless given")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a value in place of the file's; repeated"
    )
    parser.add_argument(
        "--today", type=date.fromisoformat, metavar="DAY", help="hold exemptions from rules to their last day, such as 2026-03-31"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything, for a machine or for --against")
    form.add_argument("--against", type=Path, metavar="FILE", help="what is different from the plan in FILE")
    parser.add_argument("--manifests", type=Path, metavar="DIR", help="write the Kubernetes objects, a file each")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the architecture as .svg or .png")
    return parser


if __name__ == "__main__":
    sys.exit(main())
