import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bundle import Reference, Shares
from app.contract import FEATURES, Customer, binned, matrix
from stacks.alerts import DRIFT_ROWS_MIN, SCORE, rule_groups
from stacks.config import ROOT, StackConfig
from tests.app.support import ASKED
from tests.stacks import promtool
from training.validate import drift

DAY = 86_400
# How often series have a value and rules are evaluated.
EVERY, TIMES_A_DAY = "4m", 360
CHURN = 'namespace="churn"'
HPA = f'{CHURN},horizontalpodautoscaler="inference"'
EVIDENCE = 'churn_variant_evaluated_timestamp_seconds{variant="champion",version="1.0.0",pod="a"}'


def rules(config: StackConfig, **what: bool) -> list[dict[str, Any]]:
    """The rules of a stack that promises 99.95 % and 50 ms."""
    objective = msgspec.structs.replace(config.inference, availability_percent=99.95, p99_milliseconds=50)
    return rule_groups(objective, **{"serving": True, "tracking": True, **what})


def alerts(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def answers(good: int, failed: int) -> dict[str, str]:
    """So many each time."""
    named = {'total{route="/v1/predict",status="503"}': failed, 'total{route="/v1/predict",status="200"}': good}
    asked = {'churn_request_seconds_count{route="/v1/predict"}': f"0+{good + failed}x600"}
    return asked | {f"churn_requests_{name}": f"0+{n}x600" for name, n in named.items()}


def refused(reason: str, times: str) -> dict[str, str]:
    """Requests of one pod that were turned away, and those of another where all is well."""
    return {f'churn_refused_total{{reason="{reason}",pod="{pod}"}}': each for pod, each in (("a", times), ("b", "0x600"))}


def latencies(within_50_ms: int) -> dict[str, str]:
    """A hundred each time, so many of them soon enough."""
    told = {"0.025": 0, "0.05": within_50_ms, "0.1": 100, "+Inf": 100}
    return {f'churn_request_seconds_bucket{{route="/v1/predict",le="{le}"}}': f"0+{n}x600" for le, n in told.items()}


def replicas(now: int, least: int, most: int) -> dict[str, str]:
    told = {"status_current": now, "spec_min": least, "spec_max": most}
    return {f"kube_horizontalpodautoscaler_{name}_replicas{{{HPA}}}": f"{n}x600" for name, n in told.items()}


def tenures(young: float, rows: int) -> dict[str, str]:
    """Customers in a day, in two bins of which each should have half."""
    shares = {"below 3": young, "3 to 6": 1 - young}
    counted = {
        f'churn_field_bin_total{{field="tenure_months",bin="{b}"}}': f"0+{s * rows / TIMES_A_DAY}x600" for b, s in shares.items()
    }
    return counted | {f'churn_field_reference_share{{field="tenure_months",bin="{b}"}}': "0.5x600" for b in shares}


def limits(index: float, days: int, pod: str = "a") -> dict[str, str]:
    """What the release of a pod lets the model do."""
    told = {"churn_drift_index_max": index, "churn_model_age_max_seconds": days * DAY}
    return {f'{name}{{pod="{pod}"}}': f"{value}x600" for name, value in told.items()}


# By alert: series for which it fires, others for which it does not, and when one looks.
CASES: dict[str, tuple[list[dict[str, str]], list[dict[str, str]], str]] = {
    # 1 in 2,000 may fail.
    "ChurnErrorBudgetBurns": (
        # Who is turned away as there is too much to do got no answer either.
        [answers(99, 1), answers(0, 9), answers(99, 0) | refused("busy", "0+1x600")],
        [
            answers(999, 1),
            answers(10, 0),
            {},
            answers(99, 0) | refused("slow", "0+1x600"),
            answers(999, 0) | refused("busy", "0+1x600"),
        ],
        "2h",
    ),
    "ChurnErrorBudgetLeaks": ([answers(998, 2)], [answers(4999, 1), {}], "27h"),
    "ChurnSlow": ([latencies(98)], [latencies(100), {}], "2h"),
    "ChurnNobodyReady": (
        [{}, {'churn_ready{pod="a"}': "0x600"}],
        [{'churn_ready{pod="a"}': "0x600", 'churn_ready{pod="b"}': "1x600"}],
        "1h",
    ),
    "ChurnNotScraped": (
        [{'up{job="churn/inference",pod="a"}': "0x600", 'up{job="churn/inference",pod="b"}': "1x600"}],
        [{'up{job="churn/inference",pod="a"}': "1x600"}, {'up{job="kubelet"}': "0x600"}],
        "1h",
    ),
    "ChurnAtMostReplicas": ([replicas(6, 3, 6)], [replicas(5, 3, 6), replicas(3, 3, 3)], "1h"),
    "ChurnRolloutFailed": (
        [{f'rollout_info{{{CHURN},name="inference",phase="Degraded"}}': "1x600"}],
        [{f'rollout_info{{{CHURN},name="inference",phase="Paused"}}': "1x600"}],
        "1h",
    ),
    "ChurnRolloutUndecided": (
        [{f'rollout_info{{{CHURN},name="inference",phase="Paused"}}': "1x600"}],
        [{f'rollout_info{{{CHURN},name="inference",phase="{phase}"}}': "1x600"} for phase in ("Progressing", "Degraded")],
        "1h",
    ),
    "ChurnRefuses": (
        [refused("busy", "0+1x600"), refused("batches", "0+1x600")],
        [refused("slow", "0+900x600"), refused("busy", "7x600"), refused("batches", "0x12 9x600")],
        "1h",
    ),
    # Four minutes each.
    "ChurnClientsSlow": (
        [refused("slow", f"0+{2 * 240}x600")],
        [refused("slow", f"0+{240 // 2}x600"), refused("busy", "0+900x600")],
        "1h",
    ),
    "ChurnEventsDropped": (
        [{'churn_events_dropped_total{pod="a"}': "0x13 5x10"}],
        [{'churn_events_dropped_total{pod="a"}': "0x10 5x600"}, {'churn_events_dropped_total{pod="a"}': "7x600"}],
        "1h",
    ),
    "ChurnEventsPileUp": (
        [{'churn_events_waiting_bytes{pod="a"}': f"{200 * 2**20}x600"}],
        [{'churn_events_waiting_bytes{pod="a"}': f"{50 * 2**20}x600"}],
        "1h",
    ),
    # Their index is .42, that of others .01. While a release takes over from another, the stricter one tells; an image that is
    # too old to say what its release lets the model do, lets it move by .2 and grow ninety days old.
    "ChurnDrift": (
        [
            tenures(0.8, 2000),
            tenures(0.8, 2000) | limits(0.4, 90),
            tenures(0.55, 2000) | limits(0.005, 90),
            tenures(0.8, 2000) | limits(0.4, 90) | limits(9, 90, "b"),
        ],
        [tenures(0.55, 2000), tenures(0.8, 2000) | limits(0.5, 90), tenures(0.8, DRIFT_ROWS_MIN - 100), {}],
        "27h",
    ),
    "ChurnModelOld": (
        [
            {EVIDENCE: f"-{90 * DAY}x600"},
            {EVIDENCE: f"-{60 * DAY}x600"} | limits(0.2, 60),
            {EVIDENCE: f"-{60 * DAY}x600"} | limits(0.2, 60) | limits(0.2, 120, "b"),
        ],
        [{EVIDENCE: f"-{89 * DAY}x600"}, {EVIDENCE: f"-{100 * DAY}x600"} | limits(0.2, 120), limits(0.2, 1)],
        "2h",
    ),
    "ChurnMlflowDown": (
        [{f'kube_deployment_status_replicas_available{{{CHURN},deployment="mlflow"}}': "0x600"}],
        [{f'kube_deployment_status_replicas_available{{{CHURN},deployment="mlflow"}}': "1x600"}],
        "1h",
    ),
}


@promtool.needed
@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_when_it_should(tmp_path: Path, prod: StackConfig, alert: str):
    bad, _, at = CASES[alert]
    for series in bad:
        assert not promtool.evaluate(tmp_path, rules(prod), series, [promtool.fires(alert)], at=at, every=EVERY)


@promtool.needed
@pytest.mark.parametrize("alert", CASES)
def test_an_alert_is_silent_while_all_is_well(tmp_path: Path, prod: StackConfig, alert: str):
    _, good, at = CASES[alert]
    for series in good:
        assert not promtool.evaluate(tmp_path, rules(prod), series, [promtool.silent(alert)], at=at, every=EVERY)


@promtool.needed
@pytest.mark.parametrize(
    ("alert", "clean_times", "failed", "at"),
    [
        # Not on the hour: whether alerts or what they read are evaluated first at one instant is chance.
        ("ChurnErrorBudgetBurns", 90, 80, "7h30m"),
        ("ChurnErrorBudgetBurns", 0, 40, "7h"),
        ("ChurnErrorBudgetLeaks", 0, 8, "7h"),
    ],
    ids=["an hour and a half of .8 %", "six hours of .4 %", "long .08 %"],
)
def test_the_faster_it_burns_the_sooner_it_is_told(
    tmp_path: Path, prod: StackConfig, alert: str, clean_times: int, failed: int, at: str
):
    series = answers(10_000, 0)
    series['churn_requests_total{route="/v1/predict",status="503"}'] = f"0x{clean_times} {failed}+{failed}x200"
    assert not promtool.evaluate(tmp_path, rules(prod), series, [promtool.fires(alert)], at=at, every=EVERY)


@promtool.needed
def test_what_has_stopped_burning_is_not_told_any_more(tmp_path: Path, prod: StackConfig):
    failed = 'churn_requests_total{route="/v1/predict",status="503"}'
    series = answers(99, 0) | {failed: "0+9x20 180x30"}
    told = [promtool.silent("ChurnErrorBudgetBurns"), "churn:error_ratio:rate1h > bool 0.01"]
    assert not promtool.evaluate(tmp_path, rules(prod), series, told, at="2h", every=EVERY)


@promtool.needed
def test_probes_and_pages_are_no_requests_of_clients(tmp_path: Path, prod: StackConfig):
    series = {f'churn_request_seconds_count{{route="{route}"}}': "0+9x100" for route in ("/readyz", "/", "unmatched")}
    assert not promtool.evaluate(tmp_path, rules(prod), series, ["absent(churn:requests:rate5m)"], at="1h", every=EVERY)


def test_every_alert_is_tried_on_series(prod: StackConfig):
    assert set(CASES) == set(alerts(rules(prod)))


@promtool.needed
@pytest.mark.parametrize("serving", [True, False], ids=["serving", "not serving"])
@pytest.mark.parametrize("tracking", [True, False], ids=["tracking", "not tracking"])
def test_prometheus_can_read_the_rules(tmp_path: Path, prod: StackConfig, *, serving: bool, tracking: bool):
    assert not promtool.check(tmp_path, rules(prod, serving=serving, tracking=tracking))


def test_nobody_is_told_that_what_a_stack_does_not_run_is_missing(prod: StackConfig, dev: StackConfig):
    assert rules(prod, serving=False, tracking=False) == []
    assert set(alerts(rules(prod, serving=False))) == {"ChurnMlflowDown"}
    assert "ChurnMlflowDown" not in alerts(rules(prod, tracking=False))
    assert not {"ChurnRolloutFailed", "ChurnRolloutUndecided"} & set(alerts(rules(dev)))


def test_every_alert_has_a_summary_and_a_runbook(prod: StackConfig):
    told = alerts(rules(prod))
    headings = re.findall(r"^## (\w+)\n(\w+)\.", (ROOT / "docs" / "alerts.md").read_text(), re.MULTILINE)
    assert dict(headings) == {name: rule["labels"]["severity"] for name, rule in told.items()}
    assert all(rule["annotations"]["runbook"] == f"docs/alerts.md#{name.lower()}" for name, rule in told.items())
    assert all(rule["annotations"]["summary"].endswith(".") for rule in told.values())


@given(availability=st.floats(90, 99.999), p99=st.integers(1, 2000))
def test_limits_of_the_service_are_those_of_the_configuration(prod: StackConfig, availability: float, p99: int):
    objective = msgspec.structs.replace(prod.inference, availability_percent=availability, p99_milliseconds=p99)
    told = alerts(rule_groups(objective, serving=True, tracking=True))
    after = {name: [float(number) for number in re.findall(r"> ([\d.e-]+)", rule["expr"])] for name, rule in told.items()}
    assert after["ChurnSlow"] == [p99 / 1000]
    burns = after["ChurnErrorBudgetBurns"] + after["ChurnErrorBudgetLeaks"]
    assert 0 < min(burns) == pytest.approx(1 - availability / 100, rel=1e-4)
    assert max(burns) < 1


@promtool.needed
def test_drift_is_the_number_that_validate_computes(tmp_path: Path, prod: StackConfig):
    draw = np.random.default_rng(3)
    rows = matrix([Customer(**{**ASKED, "tenure_months": int(m), "partner": bool(m % 3)}) for m in draw.integers(0, 90, 3000)])
    shares = {field.name: draw.dirichlet([9.0] * len(field.bins)) for field in FEATURES}
    fields = {field.name: Shares(bins=list(field.bins), shares=shares[field.name].tolist()) for field in FEATURES}
    expected = drift(rows, Reference(fields=fields, churn_probability=Shares(bins=[], shares=[])))
    series: dict[str, str] = {}
    for field, column in zip(FEATURES, binned(rows).T, strict=True):
        counts = np.bincount(column, minlength=len(field.bins))
        for label, count, share in zip(field.bins, counts, shares[field.name], strict=True):
            series[f'churn_field_bin_total{{field="{field.name}",bin="{label}"}}'] = f"0+{count / 240}x480"
            series[f'churn_field_reference_share{{field="{field.name}",bin="{label}"}}'] = f"{share}x480"
    equal = [
        f'sum(abs(churn:drift_index:increase1d{{field="{name}"}} - {index}) < bool 1e-6)' for name, index in expected.items()
    ]
    assert not promtool.evaluate(tmp_path, rules(prod), series, equal, at="36h", every="6m")


def test_the_score_is_not_a_field():
    assert SCORE not in {field.name for field in FEATURES}
