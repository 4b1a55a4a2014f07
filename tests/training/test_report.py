"""The page and the model card."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from app.bundle import Bundle, fetch_bundle
from app.contract import FEATURES, REQUIRED
from training.data import load_table
from training.evaluate import Evaluation, evaluate
from training.home import Home
from training.locations import TableError
from training.report import card, keep, render, write_report
from training.search import Training
from training.settings import Settings


@pytest.fixture(scope="module")
def bundle(trained_home: Home) -> Bundle:
    return fetch_bundle(trained_home.bundles_url, trained_home.candidate.read_text().strip())


@pytest.fixture(scope="module")
def evaluation(trained_home: Home, bundle: Bundle) -> Evaluation:
    return msgspec.json.decode(trained_home.evaluation(bundle.digest).read_bytes(), type=Evaluation)


@pytest.fixture(scope="module")
def training(trained_home: Home, bundle: Bundle) -> Training:
    return msgspec.json.decode(trained_home.training(bundle.digest).read_bytes(), type=Training)


@pytest.fixture(scope="module")
def page(trained_home: Home, bundle: Bundle) -> str:
    return trained_home.report(bundle.digest).read_text()


class Tags(HTMLParser):
    """Collects the tags with their attributes, and which were not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_needs_nothing_from_elsewhere(page: str):
    tags = Tags(page).found
    assert not {"script", "link", "iframe", "img", "object", "embed"} & {tag for tag, _ in tags}
    for tag, attributes in tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    # What is left are the names of XML vocabularies, which nothing fetches.
    assert "http" not in re.sub(r"xmlns(:\w+)?=\"[^\"]*\"", "", page)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_the_page_shows_every_candidate_with_its_error_and_both_views(page: str, training: Training, evaluation: Evaluation):
    for one in training.competitors:
        assert f"{one.auc:.4f} ± {one.auc_error:.4f}" in page
        assert f"{one.required_fields_auc:.4f} ± {one.required_fields_auc_error:.4f}" in page
    assert len(training.competitors) == 4
    for view in (evaluation.all_fields, evaluation.required_fields):
        for estimate in view.metrics.values():
            assert f"{estimate.value:.3f} <small>{estimate.low:.3f} to {estimate.high:.3f}</small>" in page
    assert page.count("<svg") == 5
    assert page.count('<tr class="chosen">') == 1
    assert "contract: month-to-month" in page
    assert evaluation.bundle_digest in page


def test_the_page_shows_every_regression_test_and_which_failed(page: str, evaluation: Evaluation):
    assert page.count("<td>passed</td>") == 40
    assert "40 of 40 passed" in page
    behaviour = evaluation.evidence.behaviour
    assert behaviour
    worse = msgspec.structs.replace(behaviour, direction={**behaviour.direction, "tenure_months": 0.2})
    failing = msgspec.structs.replace(evaluation, evidence=msgspec.structs.replace(evaluation.evidence, behaviour=worse))
    other = render(failing, None, "# Card")
    assert "39 of 40 passed" in other
    assert re.search(r"direction tenure months</td><td>with more of it the mean .* 0.2000</td><td>.*<td>failed", other)
    old = msgspec.structs.replace(evaluation, evidence=msgspec.structs.replace(evaluation.evidence, behaviour=msgspec.UNSET))
    assert "Regression tests" not in render(old, None, "# Card")


def test_the_same_figures_make_the_same_page_but_for_the_plots_ids(
    page: str, evaluation: Evaluation, training: Training, bundle: Bundle
):
    def text(of: str) -> str:
        return re.sub(r"(id=\"|#|url\(#)[\w-]+", "", of)

    assert text(render(evaluation, training, bundle.card)) == text(page)


def test_what_is_not_ours_is_escaped(evaluation: Evaluation):
    hostile = "<script>alert('x')</script>"
    changed = msgspec.structs.replace(
        evaluation,
        algorithm=hostile,
        evidence=msgspec.structs.replace(evaluation.evidence, subgroups={hostile: evaluation.evidence.metrics["auc"]}),
    )
    page = render(changed, None, hostile)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 3


def test_a_bundle_that_was_trained_elsewhere_has_a_page_without_the_comparison(evaluation: Evaluation, bundle: Bundle):
    page = render(evaluation, None, bundle.card)
    assert "Why this model" not in page
    assert page.count("<svg") == 4


def test_the_page_compares_with_the_champion_where_there_is_one(trained_home: Home, bundle: Bundle):
    table = load_table(str(trained_home.var / "sample.csv"))
    compared = evaluate(table, bundle, Settings().case, champion=bundle)
    page = render(compared, None, bundle.card)
    assert f"bundle {bundle.digest[:12]}, same rows" in page
    assert "0.0000 <small>0.0000 to 0.0000</small>" in page
    assert "<td>0 of 300</td>" in page
    assert "Against the live champion" in page


def test_a_new_evaluation_is_kept_beside_the_training(
    trained_home: Home, bundle: Bundle, evaluation: Evaluation, training: Training, tmp_path: Path
):
    home = Home(tmp_path)
    home.bundle(bundle.digest).parent.mkdir(parents=True)
    shutil.copytree(trained_home.bundle(bundle.digest), home.bundle(bundle.digest))
    keep(home, evaluation, training)
    path = keep(home, evaluation, None)
    assert path == home.report(bundle.digest) == write_report(home, bundle.digest)
    assert "Why this model" in path.read_text()
    assert home.evidence(bundle.digest).read_bytes().startswith(b"{\n")


def test_a_page_without_an_evaluation_says_what_to_run(tmp_path: Path):
    with pytest.raises(TableError, match=f"is not there; run `churn evaluate TABLE --bundle {'a' * 64}`"):
        write_report(Home(tmp_path), "a" * 64)


@pytest.mark.parametrize("content", [b"{}", b"\xff", b""], ids=["another schema", "not UTF-8", "empty"])
def test_an_evaluation_that_cannot_be_read_is_named(tmp_path: Path, content: bytes):
    home = Home(tmp_path)
    home.evaluation("a" * 64).parent.mkdir(parents=True)
    home.evaluation("a" * 64).write_bytes(content)
    with pytest.raises(TableError, match=r"a\.json is damaged or of another version.*run `churn evaluate` again"):
        write_report(home, "a" * 64)


def test_the_card_says_what_the_model_is_for_was_made_from_and_competed_with(bundle: Bundle, training: Training):
    assert f"{len(FEATURES)} fields, of which required: {', '.join(REQUIRED)}\n" in bundle.card
    assert "1,500 customers" in bundle.card
    for one in training.competitors:
        assert f"| {one.name} | {one.auc:.4f} ± {one.auc_error:.4f} |" in bundle.card
    assert "asked for by name" not in bundle.card


def test_the_card_tells_when_the_model_was_asked_for_by_name(trained_home: Home, training: Training):
    table = load_table(str(trained_home.var / "sample.csv"))
    named = card(table, "soft-vote", training.competitors, Settings(only="soft-vote"))
    assert "# Customer churn: soft-vote" in named
    assert "unless one is asked for by name: as here" in named
    assert "- random-forest.n_estimators: " in named
