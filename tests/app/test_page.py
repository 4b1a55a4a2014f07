import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest

from app.contract import CONTRACT_DIGEST, FIELDS, Field
from app.page import Page
from tests.app.support import release, variant

RELEASE = release(variant("b" * 64))
CONTROLS = ("input", "select")


class Reader(HTMLParser):
    """The elements of a page with their attributes, and what elements point at."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, *tags: str) -> list[dict[str, Any]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


PAGE = Page()
READ = Reader(PAGE.render(RELEASE, ""))


@pytest.mark.parametrize("field", FIELDS, ids=[field.name for field in FIELDS])
def test_a_field_of_the_contract_is_asked_for_as_declared(field: Field):
    [control] = [each for each in READ.all(*CONTROLS) if each.get("name") == field.name]
    assert control["data-kind"] == field.kind
    assert ("required" in control) == field.required
    assert field.name in [label.get("for") for label in READ.all("label")]
    assert control["aria-describedby"] in [each.get("id") for each in READ.all("p")]
    if field.kind in ("integer", "number"):
        assert (float(control["min"]), float(control["max"])) == (field.low, field.high)
    page = PAGE.render(RELEASE, "").decode()
    [markup] = re.findall(rf'<select id="{field.name}".*?</select>', page) or [""]
    assert re.findall(r'value="([^"]*)"', markup)[1:] == [
        str(value).lower() if value in (True, False) else value for value in field.values
    ]
    assert field.unit is None or f'{field.title} <span class="unit">{field.unit}</span>' in page


def test_nothing_but_the_contract_is_asked_for():
    assert [control["name"] for control in READ.all(*CONTROLS) if "name" in control] == [field.name for field in FIELDS]


def test_the_page_loads_nothing_from_elsewhere():
    urls = [each[name] for _, each in READ.elements for name in ("src", "href", "action") if name in each]
    assert [url for url in urls if not url.startswith(("/", "data:,"))] == []


def test_the_policy_lets_the_browser_run_what_the_page_holds_and_nothing_else():
    page = PAGE.render(RELEASE, "").decode()
    for tag in ("script", "style"):
        [content] = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert f"{tag}-src 'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'" in PAGE.policy
    assert "default-src 'none'" in PAGE.policy


def test_the_page_says_which_release_answers():
    page = PAGE.render(RELEASE, "").decode()
    for shown in (str(RELEASE.digest), "b" * 64, "1.0.0", CONTRACT_DIGEST):
        assert shown in page


def test_the_page_says_why_nobody_answers():
    page = PAGE.render(None, "<b>gone</b>").decode()
    assert "Not ready" in page
    assert "&lt;b&gt;gone&lt;/b&gt;" in page


def test_each_id_is_there_once():
    ids = [each["id"] for _, each in READ.elements if "id" in each]
    assert len(ids) == len({*ids})
