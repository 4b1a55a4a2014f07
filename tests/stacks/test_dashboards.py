import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from app.contract import FEATURES
from app.main import create_app
from app.metrics import registry
from app.release import AlertLimits
from stacks.alerts import DRIFT_INDEX_MAX, rule_groups
from stacks.canary import questions
from stacks.config import StackConfig
from stacks.dashboards import model_dashboard, service_dashboard
from stacks.panels import COLUMNS, Panel, dashboard
from tests.app.support import Place, served, variant, wait_for
from tests.stacks import promtool
from tests.stacks.queries import Selector, selectors

# What others expose, and in which labels:
# https://github.com/kubernetes/kube-state-metrics/tree/main/docs/metrics
# https://argo-rollouts.readthedocs.io/en/stable/features/controller-metrics/
AUTOSCALER = {"namespace", "horizontalpodautoscaler"}
OTHERS = {
    "kube_horizontalpodautoscaler_status_current_replicas": AUTOSCALER,
    "kube_horizontalpodautoscaler_status_desired_replicas": AUTOSCALER,
    "kube_horizontalpodautoscaler_spec_min_replicas": AUTOSCALER,
    "kube_horizontalpodautoscaler_spec_max_replicas": AUTOSCALER,
    "kube_deployment_status_replicas_available": {"namespace", "deployment"},
    "rollout_info": {"namespace", "name", "strategy", "traffic_router", "phase"},
    "up": {"job", "namespace", "pod"},
}

# What Prometheus adds.
SCRAPED = {"job": "churn/inference", "namespace": "churn", "rollouts_pod_template_hash": "new"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.write_release(variant(made.add_bundle()))
    return made


@pytest.fixture
def scraped(place: Place) -> list[Sample]:
    """What the application exposes once it has answered, well and badly; Prometheus adds the job."""
    app = create_app(place.settings())
    with served(app):
        service = wait_for(lambda: app.state.process.service, "the service")
        metrics = app.state.process.metrics
        metrics.routes["/v1/predict"].observe(503, 0.1)
        for decision in ("offer", "none"):
            metrics.predicted(service.release.champion, decision)
        text = generate_latest(registry(metrics)).decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def boards(config: StackConfig) -> list[dict[str, Any]]:
    return [service_dashboard(config.inference), model_dashboard()]


def panels(config: StackConfig) -> list[dict[str, Any]]:
    return [panel for board in boards(config) for panel in board["panels"]]


def rules(config: StackConfig) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = rule_groups(config.inference, serving=True, tracking=True)
    return [rule for group in groups for rule in group["rules"]]


def filled(query: str) -> str:
    """With both revisions being one."""
    return query.replace("{{args.canary}}", "new").replace("{{args.stable}}", "new")


def asked(config: StackConfig) -> Iterator[Selector]:
    """Everything that rules, panels and a canary's judge read, but for what rules record."""
    recorded = {rule.get("record") for rule in rules(config)}
    exprs = [rule["expr"] for rule in rules(config)] + [target["expr"] for p in panels(config) for target in p["targets"]]
    exprs += [filled(each.query) for each in questions(config.inference, AlertLimits())]
    yield from (selector for expr in exprs for selector in selectors(expr) if selector.metric not in recorded)


def test_rules_and_panels_read_only_what_is_exposed(prod: StackConfig, scraped: list[Sample]):
    for selector in asked(prod):
        series = [{**sample.labels, **SCRAPED} for sample in scraped if sample.name == selector.metric]
        wanted = {label for label, _, _ in selector.matchers}
        assert any(map(selector.selects, series)) or wanted <= OTHERS.get(selector.metric, set()) != set(), selector


def test_rules_are_recorded_before_they_are_read(prod: StackConfig):
    read = {each.metric for panel in panels(prod) for target in panel["targets"] for each in selectors(target["expr"])}
    recorded = {rule["record"] for rule in rules(prod) if "record" in rule}
    assert {name for name in read if name.startswith("churn:")} <= recorded


@promtool.needed
def test_prometheus_can_read_what_the_panels_ask(tmp_path: Path, prod: StackConfig):
    exprs = [target["expr"] for panel in panels(prod) for target in panel["targets"]]
    asked_for = [{"record": f"panel:{i}", "expr": expr} for i, expr in enumerate(exprs)]
    assert not promtool.check(tmp_path, [{"name": "panels", "rules": asked_for}])


def test_every_field_of_the_contract_has_a_panel_of_its_own(prod: StackConfig):
    _, model = boards(prod)
    exprs = [panel["targets"][0]["expr"] for panel in model["panels"]]
    for field in FEATURES:
        assert sum(f'churn:share:increase1d{{field="{field.name}"}}' in expr for expr in exprs) == 1


def test_nothing_on_a_dashboard_has_the_same_number_title_or_place(prod: StackConfig):
    for board in boards(prod):
        for key in ("id", "title"):
            assert len({panel[key] for panel in board["panels"]}) == len(board["panels"])
        for one, other in combinations([panel["gridPos"] for panel in board["panels"]], 2):
            assert one["y"] != other["y"] or one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS for panel in board["panels"])
    assert len({board["uid"] for board in boards(prod)}) == len(boards(prod))


def test_lines_that_an_alert_watches_show_its_limit(prod: StackConfig):
    limits = {panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"] for panel in panels(prod)}
    assert limits["Time for a prediction"] == prod.inference.p99_milliseconds / 1000
    assert limits["Share of requests that failed"] == pytest.approx(1 - prod.inference.availability_percent / 100)
    [drift] = [panel for panel in panels(prod) if panel["title"] == "Drift by field"]
    assert drift["targets"][-1]["expr"] == DRIFT_INDEX_MAX
    assert limits["Memory"] is None


def test_a_dashboard_fits_in_a_config_map(prod: StackConfig):
    # A mebibyte less the object's own: https://kubernetes.io/docs/concepts/configuration/configmap/#motivation
    assert all(len(json.dumps(board)) < 2**20 - 4096 for board in boards(prod))


def test_a_row_that_is_full_goes_on_below():
    shown: Any = dashboard(
        "A", "a", [Panel(title=str(w), about="", queries={"": "up"}, unit="short", width=w) for w in (16, 8, 8)]
    )
    assert [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in shown["panels"]] == [(0, 0), (16, 0), (0, 8)]
