"""What was found of a bundle, for people: one self-contained page, and the model card that the bundle carries."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import jinja2
import msgspec

from app.bundle import fetch_bundle
from app.contract import CONTRACT_DIGEST, FEATURES, REQUIRED
from app.decide import break_even
from training.behaviour import judged
from training.data import Table
from training.evaluate import Evaluation
from training.files import write_whole
from training.home import Home
from training.locations import TableError
from training.plots import plots
from training.search import Competitor, Training
from training.settings import Settings

_T = TypeVar("_T")


def keep(home: Home, evaluation: Evaluation, training: Training | None) -> Path:
    """Write what was found of a bundle, for `promote` and for the report; returns the page's path."""
    digest = evaluation.bundle_digest
    write_whole(home.evidence(digest), msgspec.json.format(msgspec.json.encode(evaluation.evidence), indent=2))
    write_whole(home.evaluation(digest), msgspec.json.encode(evaluation))
    if training is not None:
        write_whole(home.training(digest), msgspec.json.encode(training))
    return write_report(home, digest)


def write_report(home: Home, bundle_digest: str) -> Path:
    """Render the page of a bundle that was evaluated here; returns its path."""
    evaluation = _kept(home.evaluation(bundle_digest), Evaluation)
    if evaluation is None:
        raise TableError(f"{home.evaluation(bundle_digest)} is not there; run `churn evaluate TABLE --bundle {bundle_digest}`")
    bundle = fetch_bundle(home.bundles_url, bundle_digest)
    page = render(evaluation, _kept(home.training(bundle_digest), Training), bundle.card)
    write_whole(home.report(bundle_digest), page.encode())
    return home.report(bundle_digest)


def card(table: Table, chosen: str, competitors: Sequence[Competitor], settings: Settings) -> str:
    """The model card (Markdown): what it is for, what it was made from, how it compared. Nothing in it depends on the clock."""
    return _template("card.md").render(
        table=table,
        chosen=next(one for one in competitors if one.name == chosen),
        competitors=competitors,
        settings=settings,
        contract_digest=CONTRACT_DIGEST,
        fields=FEATURES,
        required=REQUIRED,
    )


def render(evaluation: Evaluation, training: Training | None, card_text: str) -> str:
    """The page; without `training` (the bundle was made elsewhere) it leaves out the comparison of candidates."""
    views = {"all fields": evaluation.all_fields, "required fields only": evaluation.required_fields}
    return _template("report.html").render(
        evaluation=evaluation,
        evidence=evaluation.evidence,
        checks=judged(evaluation.evidence),
        training=training,
        views=views,
        plots=plots(evaluation, training.competitors if training else ()),
        threshold=break_even(evaluation.business_case),
        card=card_text,
    )


def _template(name: str) -> jinja2.Template:
    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=jinja2.select_autoescape(),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _kept(path: Path, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise TableError(f"{path} is damaged or of another version: {exc}; remove it, then run `churn evaluate` again") from exc
