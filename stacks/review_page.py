"""A review as Markdown for a pull request: one screen, and all of it behind that."""

import re
from collections.abc import Iterable, Iterator
from html import escape

from app.release import Estimate
from stacks.render import Change
from stacks.review_compare import Money, Review, Said, StackReview
from stacks.review_contract import ContractReview
from stacks.review_model import CUSTOMERS, ModelReview, Row
from stacks.review_risk import risks

# By which the one comment of a pull request is found again.
MARKER = "<!-- churn-review -->"
# A comment takes 65,536 characters; the stacks share what the tables leave. https://github.com/orgs/community/discussions/27190
MOST_CHARACTERS = 40_000
LONGEST_LINE = 240
SIGNS = {"added": "+", "removed": "-", "changed": "!"}


def page(review: Review) -> str:
    """The whole comment."""
    room = MOST_CHARACTERS // max(1, len(review.stacks))
    parts = [_head(review), *(_stack(each, review, room) for each in review.stacks), _contract(review.contract)]
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(review: Review) -> Iterator[str]:
    found = risks(review)
    yield MARKER
    yield f"### `{review.head[:12]}` beside `{review.base[:12]}`"
    yield ""
    yield f"**Risk:** {'; '.join(map(_plain, found)) or 'none: no data lost, no rule broken, no worse model, no client broken'}"
    yield ""
    yield f"| stack | resources | USD a month | rules | model | profit, USD a month for {CUSTOMERS:,} customers |"
    yield "|---|---|---|---|---|---|"
    for each in review.stacks:
        cells = (f"**{_plain(each.stack)}**", _counts(each), _money(each.cost), _rules(each), *_model(each))
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield f"**Contract:** {_consequence(review.contract)}"
    yield ""
    asked = _plain(review.previews.missing) or "what the engine previews is below"
    yield f"<sub>Read offline from both commits, costs at list prices; {asked}.</sub>"
    yield ""


def _counts(stack: StackReview) -> str:
    if stack.state == "unreadable":
        return "**cannot be planned**"
    if not stack.changes:
        return stack.state
    counts = {kind: sum(each.kind == kind for each in stack.changes) for kind in SIGNS}
    text = f"{counts['added']} added, {counts['removed']} removed, {counts['changed']} changed"
    remade = sum(each.replaced for each in stack.changes)
    return (
        text + (f", **{remade} of them replaced**" if remade else "") + ("" if stack.state == "changed" else f" ({stack.state})")
    )


def _money(money: Money) -> str:
    if money.before is None or money.after is None or money.before == money.after:
        found = [each for each in (money.before, money.after) if each is not None]
        return f"{found[-1]:,.2f}" if found else "-"
    return f"{money.before:,.2f} → {money.after:,.2f} (**{money.more:+,.2f}**)"


def _rules(stack: StackReview) -> str:
    if stack.state in ("unreadable", "gone"):
        return "-"
    refused = [each for each in stack.said if each.level == "refused"]
    if not refused:
        return "all hold"
    return f"**{len(refused)} refused**, {sum(each.new for each in refused)} new"


def _model(stack: StackReview) -> tuple[str, str]:
    model = stack.model
    if model is None:
        return "as before" if stack.state in ("changed", "as before") else "-", "-"
    versions = model.after or "none" if model.before == model.after else f"{model.before or 'none'} → {model.after or 'none'}"
    difference = f", AUC {_signed(model.auc_difference)}" if model.auc_difference else ""
    profit = model.rows[0]
    return f"{versions}{difference}{', **worse**' if model.worse else ''}", _from_to(profit.before, profit.after)


def _from_to(before: Estimate | None, after: Estimate | None) -> str:
    known = [f"{each.value:,.0f}" for each in (before, after) if each]
    if before and after:
        return f"{known[0]} → {known[1]} (**{after.value - before.value:+,.0f}**)"
    return known[0] if known else "-"


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.4f} ({estimate.low:+.4f} to {estimate.high:+.4f})"


def _consequence(contract: ContractReview) -> str:
    words = {
        "none": "as before.",
        "patch": "**patch**, clients see no difference.",
        "minor": "**minor**, it takes more than before; what clients send stays valid.",
        "major": "**major**, it refuses what clients send today.",
    }
    retrain = " Bundles made before do not fit it: the next is a major version." if contract.retrain else ""
    return words[contract.consequence] + retrain


def _stack(stack: StackReview, review: Review, room: int) -> Iterator[str]:
    if stack.state == "as before" and not stack.said and stack.stack not in review.previews.by_stack:
        return
    yield f"<details><summary><b>{escape(stack.stack)}</b>: {_summary(stack)}</summary>"
    yield ""
    yield from _fenced("text", stack.problems, room)
    yield from _said(stack.said, room // 4)
    if stack.model:
        yield from _evidence(stack.model)
    yield from _components(stack)
    yield from _fenced("diff", _differences(stack.changes), room)
    if stack.stack in review.previews.by_stack:
        yield f"`pulumi preview`: {_plain(review.previews.by_stack[stack.stack])}"
        yield ""
    yield "</details>"
    yield ""


def _summary(stack: StackReview) -> str:
    if stack.state == "unreadable":
        return "why it cannot be planned"
    new = sum(each.new for each in stack.said)
    return ", ".join(
        [
            f"{len(stack.changes)} difference{'s' * (len(stack.changes) != 1)} in resources",
            f"{len(stack.said)} finding{'s' * (len(stack.said) != 1)} of rules ({new} new)",
            "another release" if stack.model else "the same release",
        ]
    )


def _said(said: Iterable[Said], room: int) -> Iterator[str]:
    lines = [f"{each.level}{' (new)' if each.new else ''}  {each.message}" for each in said]
    yield from _fenced("text", sorted(lines, key=lambda line: " (new)  " not in line), room)


def _components(stack: StackReview) -> Iterator[str]:
    named = {change.component for change in stack.changes}
    moved = {name for name, money in stack.cost_by_component.items() if money.before != money.after}
    if not named | moved:
        return
    yield "| component | added | removed | changed | replaced | USD a month |"
    yield "|---|---|---|---|---|---|"
    for name in sorted(named | moved):
        own = [change for change in stack.changes if change.component == name]
        counts = [sum(change.kind == kind for change in own) for kind in SIGNS]
        remade = sum(change.replaced for change in own)
        money = _money(stack.cost_by_component.get(name, Money(before=None, after=None)))
        yield f"| {_plain(name)} | {' | '.join(map(str, counts))} | {f'**{remade}**' if remade else 0} | {money} |"
    yield f"| **all** | | | | | {_money(stack.cost)} |"
    yield f"| at most, every node group full | | | | | {_money(stack.cost_at_most)} |"
    yield ""


def _differences(changes: Iterable[Change]) -> Iterator[str]:
    component = None
    # What cannot be undone comes first.
    for change in sorted(changes, key=lambda each: (each.component, not each.replaced, each.kind != "removed")):
        if change.component != component:
            component = change.component
            yield f"@@ {component} @@"
        first, *rest = change.lines()
        yield SIGNS[change.kind] + first[1:]
        yield from rest


def _evidence(model: ModelReview) -> Iterator[str]:
    for change in model.changes:
        yield f"- {_plain(change)}"
    for what, text in {
        "AUC on the same rows": model.auc_difference and _signed(model.auc_difference),
        f"profit on the same rows, USD a month for {CUSTOMERS:,} customers": model.profit_difference_usd
        and "{:+,.0f} ({:+,.0f} to {:+,.0f})".format(
            *(getattr(model.profit_difference_usd, each) for each in ("value", "low", "high"))
        ),
        "decisions changed": model.decisions_changed,
    }.items():
        if text:
            yield f"- {what}: {text}"
    if model.champion_changes and not model.auc_difference and model.before:
        yield "- the evidence is not against the champion before, so nothing is known of both on the same rows"
    yield ""
    yield from _figures("champion", model.rows)
    yield from _figures("AUC within", model.subgroups)


def _figures(title: str, rows: Iterable[Row]) -> Iterator[str]:
    lines = [
        f"| {_plain(row.figure)} | {_estimate(row.before)} | {_estimate(row.after)} | {'**worse**' if row.worse else ''} |"
        for row in rows
    ]
    if lines:
        yield from (f"| {title} | before | after | |", "|---|---|---|---|", *lines, "")


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    value, low, high = (f"{each:,.4g}" for each in (estimate.value, estimate.low, estimate.high))
    return value if low == high else f"{value} ({low} to {high})"


def _contract(contract: ContractReview) -> Iterator[str]:
    if not contract.differences:
        return
    yield "<details><summary><b>contract</b></summary>"
    yield ""
    yield "| field | difference | for clients |"
    yield "|---|---|---|"
    for each in contract.differences:
        yield f"| {_plain(each.field or 'all')} | {_plain(each.said)} | {each.consequence} |"
    yield ""
    yield "</details>"
    yield ""


def _fenced(language: str, lines: Iterable[str], room: int) -> Iterator[str]:
    """Lines as they are, up to so many characters; nothing in them ends the fence."""
    kept, left, more = list[str](), room, 0
    for line in lines:
        short = line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"
        left -= len(short) + 1
        if left >= 0:
            kept.append(short)
        else:
            more += 1
    if not kept:
        return
    if more:
        kept.append(f"… and {more:,} more lines: `make plan STACK=… AGAINST=…` has all")
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", "\n".join(kept))), 0)
    yield from (f"{fence}{language}", *kept, fence, "")


def _plain(text: str) -> str:
    """Text of a commit's own, which formats nothing, links nowhere and calls nobody."""
    flat = " ".join(text.replace("&", "&amp;").replace("<", "&lt;").split()).replace("@", "@\N{ZERO WIDTH NON-JOINER}")
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", flat)
