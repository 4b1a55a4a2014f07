"""What a plan costs by the month at list prices, by component; what is not priced is named, never guessed."""

import msgspec

from stacks.counting import Item, Resources, by_use, counted
from stacks.prices import PRICES
from stacks.record import Plan, Resource


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One priced quantity: of hours, months or gigabytes; `usd_most` is with node groups at their most."""

    component: str
    name: str
    what: str
    quantity: float
    unit: str
    unit_usd: float
    usd: float
    usd_most: float


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The priced lines by component, and what is billed beside them or has no price here."""

    lines: tuple[Line, ...]
    unpriced: tuple[str, ...]

    @property
    def usd(self) -> float:
        """Of the least that runs; what the budget is compared with."""
        return round(sum(line.usd for line in self.lines), 2)

    @property
    def usd_most(self) -> float:
        """With every node group at its most."""
        return round(sum(line.usd_most for line in self.lines), 2)

    @property
    def by_component(self) -> dict[str, float]:
        """USD of each component, the largest first."""
        sums: dict[str, float] = {}
        for line in self.lines:
            sums[line.component] = round(sums.get(line.component, 0) + line.usd, 2)
        return dict(sorted(sums.items(), key=lambda each: (-each[1], each[0])))


def price(plan: Plan) -> Cost:
    """The monthly cost of what a plan declares; a cluster that is there already costs nothing here."""
    by_key = {each.key: each for each in plan.resources}
    if not any(each.type == "pulumi:providers:aws" for each in plan.resources):
        return Cost(lines=(), unpriced=())
    lines: list[Line] = []
    unpriced: set[str] = set()
    for resource in plan.resources:
        for item in counted(resource, by_key):
            if item.what in PRICES:
                lines.append(_line(component_of(resource, by_key), resource.name, item))
            else:
                unpriced.add(f"{item.what}: {resource.name}, not in stacks/prices.py")
        unpriced |= {said for said in [by_use(resource)] if said}
    lines.sort(key=lambda line: (line.component, line.what, line.name))
    return Cost(lines=tuple(lines), unpriced=tuple(sorted(unpriced)))


def _line(component: str, name: str, item: Item) -> Line:
    known, most = PRICES[item.what], item.least if item.most is None else item.most
    return Line(
        component=component,
        name=name,
        what=item.what,
        quantity=item.least,
        unit=known.unit,
        unit_usd=known.usd,
        usd=round(item.least * known.usd, 2),
        usd_most=round(most * known.usd, 2),
    )


def component_of(resource: Resource, by_key: Resources) -> str:
    """The component of the table of contents that a resource is below."""
    while resource.parent in by_key:
        resource = by_key[resource.parent]
    return resource.name


def over_budget(cost: Cost, budget_usd: int, stack: str) -> str | None:
    """Why a plan is refused; None within the budget."""
    if cost.usd <= budget_usd:
        return None
    (largest, usd), *_ = cost.by_component.items()
    return (
        f"stack {stack} costs {cost.usd:,.2f} USD a month, {cost.usd - budget_usd:,.2f} above account:budgetUsdPerMonth "
        f"{budget_usd:,}; the largest part is {largest} with {usd:,.2f}: give it less, or the budget more"
    )
