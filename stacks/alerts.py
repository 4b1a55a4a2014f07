"""What is computed from the metrics, and when somebody is told: Prometheus rules as plain values."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.events import MAX_WAITING_BYTES
from app.release import AlertLimits
from stacks.config import InferenceConfig
from stacks.names import INFERENCE, NAMESPACE, TRACKING

Rule = dict[str, object]

# Everything that clients call; probes and the page are ours.
CLIENTS = 'route=~"/v1/.+"'
# There from a process's start on, while a status that was never answered has no series.
REQUESTS = f"churn_request_seconds_count{{{CLIENTS}}}"
# What a PodMonitor calls its targets: its namespace and its name.
INFERENCE_JOB = f"{NAMESPACE}/{INFERENCE.name}"
SCORE = "churn_probability"
# They get a 503 before the request is made anything of, so that it is in no other figure.
REFUSED, BUSY = "churn_refused_total", 'reason="busy"'
TURNED_AWAY = f"{REFUSED}{{{BUSY}}}"
# Of clients that send or take too slowly: a few are somebody's bad network, and connections that nobody used.
SLOW_PER_SECOND_MAX = 1
# Error budget burnt so many times too fast, over a short window (it still goes on) and a long one (it is no blip).
# https://sre.google/workbook/alerting-on-slos/#6-multiwindow-multi-burn-rate-alerts
BURNS = {
    "critical": (("5m", "1h", 14.4), ("30m", "6h", 6.0)),
    "warning": (("2h", "1d", 3.0), ("6h", "3d", 1.0)),
}
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
# A generous objective would else never be missed: fourteen times a tenth is more than there is.
MOST_ERRORS = 0.9
# With fewer rows chance alone moves bins: with a thousand in nine bins, the index by about .01.
DRIFT_ROWS_MIN = 1000
SECONDS_PER_DAY = 86_400
USUAL = AlertLimits()
# What the pods' own release says, so that one that is rolled back to has its limits with it; the stricter one while a release
# takes over from another, and the usual one where an image is too old to tell.
DRIFT_INDEX_MAX = f"(min(churn_drift_index_max) or vector({USUAL.drift_index_max:g}))"
MODEL_AGE_MAX_SECONDS = f"(min(churn_model_age_max_seconds) or vector({USUAL.model_age_max_days * SECONDS_PER_DAY}))"


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One thing to tell; `runbook` is a heading in docs/alerts.md, by its name."""

    name: str
    severity: str
    expr: str
    lasting: str
    summary: str

    @property
    def rule(self) -> Rule:
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.lasting,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary, "runbook": f"docs/alerts.md#{self.name.lower()}"},
        }


def rule_groups(objective: InferenceConfig, *, serving: bool, tracking: bool) -> list[Rule]:
    """The groups of a PrometheusRule for what the stack runs; Prometheus evaluates a group's rules in order."""
    alerts: list[Alert] = []
    records: dict[str, Rule] = {}
    if serving:
        alerts += [*_service_alerts(objective), *_model_alerts()]
        records["churn-service"] = {"rules": service_records()}
        # Of a whole day: looking more often shows nothing new.
        records["churn-drift"] = {"rules": drift_records(), "interval": "5m"}
        if objective.canary_weights_percent:
            alerts += _rollout_alerts()
    if tracking:
        alerts.append(_tracking_alert())
    groups = records | ({"churn-alerts": {"rules": [alert.rule for alert in alerts]}} if alerts else {})
    return [{"name": name, **group} for name, group in groups.items()]


def error_ratio(window: str) -> str:
    """The name of the recorded share of clients' requests that the service failed."""
    return f"churn:error_ratio:rate{window}"


def service_records() -> list[Rule]:
    """Requests by second, the share of them that failed by window, and the slowest hundredth."""
    records = {
        "churn:requests:rate5m": f"sum by (route) (rate({REQUESTS}[5m]))",
        "churn:predict_p99_seconds:rate5m": (
            'histogram_quantile(0.99, sum by (le) (rate(churn_request_seconds_bucket{route="/v1/predict"}[5m])))'
        ),
    }
    for window in WINDOWS:
        refused = f"(sum(rate({TURNED_AWAY}[{window}])) or vector(0))"
        asked = f"sum(rate({REQUESTS}[{window}])) + {refused}"
        failed = f'(sum(rate(churn_requests_total{{{CLIENTS},status=~"5.."}}[{window}])) or vector(0)) + {refused}'
        records[error_ratio(window)] = f"({failed}) / ({asked} > 0)"
    return [_record(name, expr) for name, expr in records.items()]


def drift_records() -> list[Rule]:
    """The population stability index of each field and of the score over a day, as `churn validate --against` computes it."""
    by_field = "on (field) group_left ()"
    counts, references = "churn:bin_rows:increase1d", "churn:reference_share"
    smoothed = "(churn:bin_rows:increase1d + 0.5) / (churn:expected_rows:increase1d + 0.5)"
    return [
        _record(counts, "sum by (field, bin) (increase(churn_field_bin_total[1d]))"),
        _record(counts, "sum by (bin) (increase(churn_score_bin_total[1d]))", field=SCORE),
        # While a new release rolls out there are two references.
        _record(references, "avg by (field, bin) (churn_field_reference_share)"),
        _record(references, "avg by (bin) (churn_score_reference_share)", field=SCORE),
        _record("churn:rows:increase1d", f"sum by (field) ({counts})"),
        _record("churn:share:increase1d", f"{counts} / {by_field} (churn:rows:increase1d > 0)"),
        _record("churn:expected_rows:increase1d", f"{references} * {by_field} churn:rows:increase1d"),
        # An empty bin has no logarithm: half a row is added to every bin of both sides, so both have the same denominator.
        _record(
            "churn:drift_index:increase1d",
            f"sum by (field) (({counts} - churn:expected_rows:increase1d) * ln({smoothed}))"
            f" / (churn:rows:increase1d + 0.5 * count by (field) ({counts}))",
        ),
    ]


def _record(name: str, expr: str, **labels: str) -> Rule:
    record: Rule = {"record": name, "expr": expr}
    # The API server drops an empty map, and the next preview would show it as a change.
    return record | {"labels": labels} if labels else record


def _service_alerts(objective: InferenceConfig) -> Iterator[Alert]:
    budget = 1 - objective.availability_percent / 100
    for severity, burns in BURNS.items():
        yield Alert(
            name="ChurnErrorBudgetBurns" if severity == "critical" else "ChurnErrorBudgetLeaks",
            severity=severity,
            expr=" or ".join(f"({_burns(short, long, times * budget)})" for short, long, times in burns),
            lasting="2m" if severity == "critical" else "15m",
            summary=f"Requests fail faster than {objective.availability_percent:g} % availability allows.",
        )
    yield Alert(
        name="ChurnSlow",
        severity="warning",
        expr=f"churn:predict_p99_seconds:rate5m > {objective.p99_milliseconds / 1000:g}",
        lasting="10m",
        summary=f"One prediction in a hundred takes longer than {objective.p99_milliseconds} ms.",
    )
    yield Alert(
        name="ChurnNobodyReady",
        severity="critical",
        expr="(sum(churn_ready) or vector(0)) == 0",
        lasting="2m",
        summary="No pod takes predictions.",
    )
    yield Alert(
        name="ChurnNotScraped",
        severity="warning",
        expr=f'up{{job="{INFERENCE_JOB}"}} == 0',
        lasting="5m",
        summary="Pod {{ $labels.pod }} does not answer on its metrics port.",
    )
    yield Alert(
        name="ChurnAtMostReplicas",
        severity="warning",
        # One with a fixed number is always at its most.
        expr=(f"{_replicas('status_current')} >= {_replicas('spec_max')} and {_replicas('spec_max')} > {_replicas('spec_min')}"),
        lasting="15m",
        summary="Autoscaler {{ $labels.horizontalpodautoscaler }} has no replica left to add.",
    )
    yield from _client_alerts()
    yield from _event_alerts()


def _burns(short: str, long: str, errors: float) -> str:
    limit = f"{min(errors, MOST_ERRORS):.6g}"
    return f"{error_ratio(long)} > {limit} and {error_ratio(short)} > {limit}"


def _replicas(which: str) -> str:
    return f'kube_horizontalpodautoscaler_{which}_replicas{{namespace="{NAMESPACE}"}}'


def _client_alerts() -> Iterator[Alert]:
    refused = f"sum by (reason) (rate({REFUSED}"
    yield Alert(
        name="ChurnRefuses",
        severity="warning",
        expr=f'{refused}{{reason!="slow"}}[5m])) > 0',
        lasting="10m",
        summary="{{ $value | humanize }} requests a second are turned away, reason {{ $labels.reason }}.",
    )
    yield Alert(
        name="ChurnClientsSlow",
        severity="warning",
        expr=f'{refused}{{reason="slow"}}[5m])) > {SLOW_PER_SECOND_MAX}',
        lasting="10m",
        summary="{{ $value | humanize }} connections a second are ended as their clients are too slow.",
    )


def _event_alerts() -> Iterator[Alert]:
    yield Alert(
        name="ChurnEventsDropped",
        severity="warning",
        expr="sum(increase(churn_events_dropped_total[10m])) > 0",
        lasting="0m",
        summary="{{ $value | humanize }} events of the prediction log were lost in ten minutes.",
    )
    yield Alert(
        name="ChurnEventsPileUp",
        severity="warning",
        expr=f"max(churn_events_waiting_bytes) > {MAX_WAITING_BYTES // 2}",
        lasting="10m",
        summary="{{ $value | humanize1024 }}B of the prediction log wait in a pod for the store; of twice as much some is lost.",
    )


def _model_alerts() -> Iterator[Alert]:
    yield Alert(
        name="ChurnDrift",
        severity="warning",
        expr=f"churn:drift_index:increase1d > scalar{DRIFT_INDEX_MAX} and on (field) churn:rows:increase1d >= {DRIFT_ROWS_MIN}",
        lasting="1h",
        summary="{{ $labels.field }} has moved from the training data: population stability index {{ $value | humanize }}.",
    )
    yield Alert(
        name="ChurnModelOld",
        severity="warning",
        expr=(
            'time() - max by (version) (churn_variant_evaluated_timestamp_seconds{variant="champion"})'
            f" > scalar{MODEL_AGE_MAX_SECONDS}"
        ),
        lasting="1h",
        summary="Model {{ $labels.version }} was last evaluated {{ $value | humanizeDuration }} ago.",
    )


def _rollout_alerts() -> Iterator[Alert]:
    yield Alert(
        name="ChurnRolloutFailed",
        severity="critical",
        expr=_rollout_is("Degraded|Error|Timeout"),
        lasting="2m",
        summary="The rollout of {{ $labels.name }} is {{ $labels.phase }}; what ran before it still serves.",
    )
    yield Alert(
        name="ChurnRolloutUndecided",
        severity="warning",
        # No step of ours is a pause.
        expr=_rollout_is("Paused"),
        lasting="15m",
        summary="The canary of {{ $labels.name }} had too few requests to be judged, and keeps its share until somebody decides.",
    )


def _rollout_is(phases: str) -> str:
    return f'rollout_info{{namespace="{NAMESPACE}",phase=~"{phases}"}} == 1'


def _tracking_alert() -> Alert:
    available = f'kube_deployment_status_replicas_available{{namespace="{NAMESPACE}",deployment="{TRACKING.name}"}}'
    return Alert(
        name="ChurnMlflowDown",
        severity="warning",
        expr=f"{available} == 0",
        lasting="10m",
        summary="The MLflow server is not there; predictions go on, training does not.",
    )
