"""`python -m stacks.summary`: what the committed stacks differ in, create and cost, as the page docs/stacks.md."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from policies.release import STACKS
from stacks.config import KEYS, stacks
from stacks.cost import component_of
from stacks.plan import Planned, planned
from stacks.prices import ASSUMPTIONS
from stacks.record import Plan
from stacks.values import values_of

# From a laptop to production.
IN_ORDER = sorted(stacks(), key=STACKS.index)
HEAD = """\
# What each stack creates and costs

Written by `make docs` from `Pulumi.*.yaml` and the plans; `make plan STACK=prod` has all of it, resource by resource.
"""


def page() -> str:
    """The whole page."""
    read = {stack: planned(stack, {}) for stack in IN_ORDER}
    parts = (differences(), created(read), cost(read))
    return "\n".join((HEAD, *("\n".join(part) + "\n" for part in parts)))


def differences() -> Iterator[str]:
    """The values that are not the same on every stack that has them."""
    values = {stack: values_of(stack) for stack in IN_ORDER}
    yield "## Values that differ\n"
    yield from _head("", values)
    for key in KEYS:
        row = [values[stack].get(key.name) for stack in values]
        if len({each for each in row if each is not None}) > 1:
            yield _row(f"`{key.name}`", ["-" if each is None else each for each in row])


def created(read: dict[str, Planned]) -> Iterator[str]:
    """How many resources of which component; what waits for a release or an image is not among them."""
    counts = {stack: Counter(_components(each.plan)) for stack, each in read.items()}
    yield "## Resources\n"
    yield from _head("component", counts)
    for component in sorted({name for found in counts.values() for name in found}):
        yield _row(component, [str(counts[stack][component] or "-") for stack in counts])


def _components(plan: Plan) -> Iterator[str]:
    by_key = {each.key: each for each in plan.resources}
    return (component_of(each, by_key) for each in plan.resources if not each.type.startswith("pulumi:providers:"))


def cost(read: dict[str, Planned]) -> Iterator[str]:
    """US dollars a month by component, and what the figures rest upon."""
    costs = {stack: each.cost.by_component for stack, each in read.items()}
    yield "## Cost in USD a month\n"
    yield from _head("component", costs)
    for component in sorted({name for found in costs.values() for name in found}):
        yield _row(component, [f"{found:,.0f}" if (found := costs[stack].get(component)) else "-" for stack in costs])
    yield _row("**all**", [f"**{each.cost.usd:,.0f}**" for each in read.values()])
    yield _row("at most, every node group full", [f"{each.cost.usd_most:,.0f}" for each in read.values()])
    budgets = (str(each.config.aws.account.budget_usd_per_month) if each.config.aws else "-" for each in read.values())
    yield _row("budget, above which a plan is refused", list(budgets))
    yield ""
    yield from (f"- {each}" for each in ASSUMPTIONS)


def _head(first: str, columns: Iterable[str]) -> Iterator[str]:
    names = list(columns)
    yield _row(first, names)
    yield "|---" * (len(names) + 1) + "|"


def _row(first: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([first, *cells])} |"


if __name__ == "__main__":
    sys.stdout.write(page())
