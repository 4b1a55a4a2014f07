"""The page as a person uses it: a real Chromium against the real process."""

import json
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.app.support import Place, serving, variant

CHROMIUM = shutil.which("chromium")
# Background networking is off: where the network is closed, Chromium retries without end.
ARGUMENTS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    place = Place(tmp_path)
    place.write_release(variant(place.add_bundle()))
    with serving(place.settings(), tmp_path / "log") as server, sync_playwright() as driver:
        server.said("ready")
        browser = driver.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False, args=ARGUMENTS)
        opened = browser.new_page(viewport={"width": 390, "height": 800})
        opened.goto(server.url)
        yield opened
        browser.close()


def fill_required(page: Page, *, tenure_months: str = "2") -> None:
    page.get_by_label("Tenure").fill(tenure_months)
    page.get_by_label("Monthly charges").fill("70.7")
    page.get_by_label("Contract", exact=False).first.select_option("month-to-month")
    page.get_by_label("Payment method").select_option("electronic-check")


def test_a_customer_with_the_required_fields_is_answered_in_words_and_money(page: Page):
    fill_required(page)
    page.get_by_role("button", name="Predict").click()
    answer = page.get_by_role("status")
    expect(answer).to_contain_text("is the probability that this customer leaves")
    expect(answer).to_contain_text("$")
    expect(answer).to_contain_text("champion")


def test_a_value_out_of_range_is_named_beside_its_field_and_gets_the_focus(page: Page):
    fill_required(page, tenure_months="-1")
    page.get_by_role("button", name="Predict").click()
    tenure = page.get_by_label("Tenure")
    expect(tenure).to_have_attribute("aria-invalid", "true")
    expect(tenure).to_be_focused()
    expect(page.get_by_role("status")).to_contain_text("correct the marked fields")


def test_the_page_fits_a_phone(page: Page):
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_where_tokens_are_needed_the_page_asks_for_one(tmp_path: Path):
    place = Place(tmp_path)
    place.write_release(variant(place.add_bundle()))
    (tmp_path / "tokens.json").write_text(json.dumps({"predict": [sha256(b"churn_mine").hexdigest()]}))
    with serving(place.settings(tokens=tmp_path / "tokens.json"), tmp_path / "log") as server, sync_playwright() as driver:
        server.said("ready")
        browser = driver.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(server.url)
        expect(page.get_by_label("Access token")).to_be_hidden()
        fill_required(page)
        page.get_by_role("button", name="Predict").click()
        expect(page.get_by_label("Access token")).to_be_focused()
        page.get_by_label("Access token").fill("churn_mine")
        page.get_by_role("button", name="Predict").click()
        expect(page.get_by_role("status")).to_contain_text("is the probability that this customer leaves")
        browser.close()
