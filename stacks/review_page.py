"""A review as Markdown for a pull request: one screen, and all of it behind that."""

import re
from collections.abc import Iterable, Iterator

from app.release import Estimate
from stacks.render import Change
from stacks.review_compare import Money, Review, Said, StackReview
from stacks.review_contract import ContractReview
from stacks.review_model import CUSTOMERS, ModelReview, Row, Serving, VariantReview
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
    asked = review.previews.missing or "what the engine previews is below"
    yield f"<sub>Read offline from both commits, costs at list prices; {asked}.</sub>"
    yield ""


def _counts(stack: StackReview) -> str:
    if stack.state == "unreadable":
        return "**cannot be planned**"
    if not stack.changes:
        return stack.state
    counts = {kind: sum(each.kind == kind for each in stack.changes) for kind in SIGNS}
    text = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
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
    if stack.state == "gone":
        return "-"
    refused = [each for each in stack.said if each.level == "refused"]
    if refused:
        return f"**{len(refused)} refused**, {sum(each.new for each in refused)} new"
    return "**refused**" if stack.refused else "all hold"


def _model(stack: StackReview) -> tuple[str, str]:
    model = stack.model
    if model is None:
        return "as before" if stack.state in ("changed", "as before") else "-", "-"
    before, after = (each or "none" for each in model.champion)
    told = (
        [] if model.variants and model.variants[0].role == "champion" else [after if before == after else f"{before} → {after}"]
    )
    told += [_variant(each) for each in model.variants]
    return "; ".join(told), _from_to(model.profit.before, model.profit.after)


def _variant(variant: VariantReview) -> str:
    """What becomes of a variant, in few words; the champion needs no name."""
    role, was, is_ = variant.role, variant.before, variant.after
    named = "" if role == "champion" else f"{role} "
    if is_ is None:
        return f"{role} {was.version if was else ''} goes"
    parts = [f"{named}{was.version} → {is_.version}" if was and was.version != is_.version else f"{named}{is_.version}"]
    if was is None:
        parts[0] += " is new" + (f" for {is_.weight_percent} %" if named else "")
    else:
        if was.version == is_.version and was.bundle_digest != is_.bundle_digest:
            parts.append("another bundle")
        if was.weight_percent != is_.weight_percent:
            parts.append(f"{was.weight_percent} → {is_.weight_percent} %")
        if was.threshold != is_.threshold:
            parts.append(f"offers from {was.threshold:.3f} → {is_.threshold:.3f}")
    if variant.auc_difference:
        parts.append(f"AUC {_signed(variant.auc_difference)}")
    return ", ".join(parts) + (", **worse**" if variant.worse else "")


def _from_to(before: Estimate | None, after: Estimate | None) -> str:
    known = [f"{each.value:,.0f}" for each in (before, after) if each]
    if before and after and before != after:
        return f"{known[0]} → {known[1]} (**{after.value - before.value:+,.0f}**)"
    return known[-1] if known else "-"


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
    yield f"<details><summary><b>{_text(stack.stack)}</b>: {_summary(stack)}</summary>"
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
    # Prose, which in a fence would run out of sight.
    lines = [f"- {_level(each)}: {_plain(each.message)}" for each in sorted(said, key=lambda each: not each.new)]
    kept = list(_fitting(lines, room))
    yield from kept
    if len(kept) < len(lines):
        yield f"- and {len(lines) - len(kept):,} more: `make plan STACK=…` has all"
    if lines:
        yield ""


def _level(said: Said) -> str:
    level = f"**{said.level}**" if said.level == "refused" else said.level
    return f"{level} (new)" if said.new else level


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
        # A file within a value, such as the release that the table above compares, is no reading on one line.
        yield from (f"{line.partition(': ')[0]}: another text" if "\\n" in line else line for line in rest)


def _evidence(model: ModelReview) -> Iterator[str]:
    yield from (f"- {_plain(change)}" for change in model.changes)
    if model.changes:
        yield ""
    if model.variants:
        money = f"USD a month for {CUSTOMERS:,} customers, same rows"
        yield f"| variant | before | after | AUC, same rows | {money} | decisions changed |"
        yield "|---|---|---|---|---|---|"
    for each in model.variants:
        money = each.profit_difference_usd
        cells = (
            f"{each.role}{', **worse**' if each.worse else ''}",
            _serving(each.before),
            _serving(each.after),
            _signed(each.auc_difference) if each.auc_difference else "not compared",
            f"{money.value:+,.0f} ({money.low:+,.0f} to {money.high:+,.0f})" if money else "not compared",
            each.decisions_changed or "not compared",
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
    for each in model.variants:
        beside = "before" if each.role == "champion" else "champion"
        yield from _figures(each.role, beside, each.rows)
        yield from _figures(f"{each.role}, AUC within", beside, each.subgroups)


def _serving(serving: Serving | None) -> str:
    if serving is None:
        return "-"
    of = f"`{serving.bundle_digest[:12]}`, {serving.weight_percent} %, offers from {serving.threshold:.3f}"
    return f"{_plain(serving.version)} {of}"


def _figures(title: str, beside: str, rows: Iterable[Row]) -> Iterator[str]:
    lines = [
        f"| {_plain(row.figure)} | {_estimate(row.before)} | {_estimate(row.after)} | {'**worse**' if row.worse else ''} |"
        for row in rows
    ]
    if lines:
        yield from (f"| {title} | {beside} | after | |", "|---|---|---|---|", *lines, "")


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
    short = [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…" for line in lines]
    if not short:
        return
    kept = list(_fitting(short, room))
    if len(kept) < len(short):
        kept.append(f"… and {len(short) - len(kept):,} more lines: `make plan STACK=… AGAINST=…` has all")
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", "\n".join(kept))), 0)
    yield from (f"{fence}{language}", *kept, fence, "")


def _fitting(lines: Iterable[str], room: int) -> Iterator[str]:
    """The lines that begin a text of so many characters."""
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            return
        yield line


def _plain(text: str) -> str:
    """Text of a commit's own, which formats nothing, links nowhere and calls nobody."""
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", _text(text))


def _text(text: str) -> str:
    """The same within HTML, where Markdown means nothing."""
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").split()).replace("@", "@\N{ZERO WIDTH NON-JOINER}")
