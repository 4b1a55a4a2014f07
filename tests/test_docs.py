"""What is generated is up to date, and what is linked is there."""

import ast
import html
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from app.access import ROLES
from app.openapi import document

CHECKOUT = Path(__file__).parents[1]
READER = MarkdownIt("commonmark").enable("table")


def pages() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.splitlines()
    # A template is no page before it is filled in.
    return [CHECKOUT / each for each in sorted(listed) if (CHECKOUT / each).is_file() and "templates/" not in each]


def inline(page: Path) -> Iterator[Token]:
    for block in READER.parse(page.read_text()):
        yield from block.children or ()


def links(page: Path) -> Iterator[tuple[str, str]]:
    """The text and target of each link and picture of the page that leads to a file or heading here."""
    tokens = list(inline(page))
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        target = str(token.attrGet("href") or token.attrGet("src") or "")
        if target and not re.match(r"[a-z]+:", target):
            yield (after.content if after else ""), target


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of the page's headings."""
    blocks = READER.parse(page.read_text())
    headings = [after.content for block, after in pairwise(blocks) if block.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", each.replace("`", "").lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_link_leads_somewhere(page: Path):
    broken: list[str] = []
    for _, target in links(page):
        path, _, anchor = target.partition("#")
        to = (page.parent / path).resolve() if path else page
        if not to.exists() or (anchor and anchor not in anchors(to)):
            broken.append(target)
    assert broken == []


def test_every_test_that_a_page_names_is_in_the_file_that_it_links():
    named = [(text, page, target) for page in pages() for text, target in links(page) if re.fullmatch(r"test_\w+", text)]
    assert named
    for text, page, target in named:
        tree = ast.parse((page.parent / target).read_text())
        assert text in {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}, f"{page.name}: {text}"


def test_every_threat_names_a_test_that_shows_what_stops_it():
    text = (CHECKOUT / "docs/security.md").read_text()
    tables = re.findall(r"^\| somebody \| is stopped by \| shown by \|\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert len(tables) == text.count("| shown by |")
    rows = "".join(tables).splitlines()
    assert [each for each in rows if not re.search(r"\]\(\.\./tests/\S+\.py\)[^|]*\|$", each)] == []


def test_the_picture_of_the_delivery_says_all_that_its_source_says():
    # Not byte by byte: each version of graphviz places things a little differently.
    source, drawn = ((CHECKOUT / "docs" / f"delivery.{kind}").read_text() for kind in ("dot", "svg"))
    said = [line for label in re.findall(r'label="([^"]+)"', source) for line in label.split("\\n")]
    shown = [html.unescape(text) for text in re.findall(r"<text [^>]*>([^<]*)</text>", drawn)]
    assert sorted(shown) == sorted(said)


@pytest.mark.parametrize(("page", "module"), [("fields", "app.contract"), ("api", "app.reference")])
def test_what_is_generated_from_the_code_of_the_service_is_up_to_date(page: str, module: str):
    printed = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, check=True).stdout
    assert (CHECKOUT / "docs" / f"{page}.md").read_text() == printed, "run `make docs`"


def test_the_reference_has_every_route_body_and_limit_of_the_service():
    text = (CHECKOUT / "docs/api.md").read_text()
    described = document("0", guarded=True)
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            [row] = [line for line in text.splitlines() if line.startswith(f"| `{method.upper()} {path}` |")]
            assert set(operation["responses"]) == set(re.findall(r"\b[2-5]\d\d\b", row))
            assert ROLES.get(path, "-") == row.split(" | ")[2]
    for name, schema in described["components"]["schemas"].items():
        if name != "Customer":
            section = text.partition(f"### {name}\n")[2].partition("### ")[0]
            assert [f"`{field}`" for field in schema["properties"]] == re.findall(r"^\| (`\w+`) ", section, re.MULTILINE)
    assert "list of 1 to 1,000 [Customer](fields.md)" in text
    assert "larger than 1,048,576 bytes" in text
