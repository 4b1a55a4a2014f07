"""The architecture of a plan as a picture: parts that belong together are one box, flows between them are arrows."""

import html
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stacks.parts import FLOWS, Box, Found, boxes, places
from stacks.record import Plan
from stacks.values import PlanError

Places = Mapping[str, tuple[str, str]]
FORMATS = (".png", ".svg")
# Fill and line by what a part is.
COLOURS = {
    "people": ("#f4f4f5", "#71717a"),
    "network": ("#ede9fe", "#7c3aed"),
    "workload": ("#ffedd5", "#ea580c"),
    "machines": ("#fef9c3", "#ca8a04"),
    "data": ("#dbeafe", "#2563eb"),
    "delivery": ("#fce7f3", "#db2777"),
    "monitoring": ("#dcfce7", "#16a34a"),
}
PLACE_FILLS = ("#fafafa", "#ffffff", "#f8fafc")
HEAD = """digraph churn {
  graph [rankdir=LR, fontname="Helvetica", fontsize=12, compound=true, nodesep=0.25, ranksep=0.8, pad=0.3, dpi=110, labeljust=l];
  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=11, margin="0.12,0.08", penwidth=1.2];
  edge [fontname="Helvetica", fontsize=9, color="#52525b", fontcolor="#52525b", arrowsize=0.7];"""


def draw(plan: Plan, file: Path) -> None:
    """Write the picture as SVG or PNG. Raises PlanError."""
    if file.suffix not in FORMATS:
        raise PlanError(f"--picture {file} is neither; give a name that ends in {' or '.join(FORMATS)}")
    program = shutil.which("dot")
    if not program:
        raise PlanError("--picture needs the program dot, which is not there; install the package graphviz")
    command = [program, f"-T{file.suffix[1:]}"]
    drawn = subprocess.run(command, input=dot(plan).encode(), stdout=subprocess.PIPE, check=True)  # noqa: S603 - found above, nothing of it is a user's
    try:
        file.write_bytes(drawn.stdout)
    except OSError as exc:
        raise PlanError(f"--picture {file} cannot be written: {exc.strerror}; give a file in a folder that is there") from exc


def dot(plan: Plan) -> str:
    """The picture in the language of graphviz; the same text for the same plan."""
    found = Found(plan)
    around, made = places(found), boxes(found)
    there = {each.id for each in made}
    lines = [
        HEAD,
        f'  label=<<B><FONT POINT-SIZE="18">churn {plan.stack}</FONT></B>>; labelloc=t;',
        *_inside("", around, made, 1),
    ]
    lines += [
        f'  {flow.source} -> {flow.target} [label="{flow.label}"{", style=dashed" if flow.aside else ""}];'
        for flow in FLOWS
        if {flow.source, flow.target} <= there
    ]
    return "\n".join([*lines, "}"]) + "\n"


def _inside(place: str, around: Places, made: Sequence[Box], depth: int) -> Iterator[str]:
    """The boxes in a place, and the places in it that have some."""
    indent = "  " * depth
    for each in made:
        if each.place == place:
            fill, line = COLOURS[each.kind]
            yield f'{indent}{each.id} [label={_rich(each.title, each.lines)}, fillcolor="{fill}", color="{line}"];'
    for below, (parent, title) in around.items():
        if parent == place and (lines := list(_inside(below, around, made, depth + 1))):
            yield f"{indent}subgraph cluster_{below} {{"
            yield f'{indent}  label={_rich(title, [])}; style="rounded,filled"; margin=12;'
            yield f'{indent}  color="#d4d4d8"; fillcolor="{PLACE_FILLS[depth % len(PLACE_FILLS)]}";'
            yield from lines
            yield f"{indent}}}"


def _rich(title: str, lines: Sequence[str]) -> str:
    """A title in bold with smaller lines below it."""
    below = "".join(f'<BR/><FONT POINT-SIZE="9">{html.escape(line)}</FONT>' for line in lines)
    return f"<<B>{html.escape(title)}</B>{below}>"
