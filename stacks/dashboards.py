"""Grafana's dashboards, made from the contract: a field that is added there has its panel here."""

from app.contract import FEATURES, Field
from stacks.alerts import CLIENTS, DRIFT_INDEX_MAX, INFERENCE_JOB, SCORE, error_ratio
from stacks.config import InferenceConfig
from stacks.names import NAMESPACE
from stacks.panels import Json, Panel, dashboard


def service_dashboard(objective: InferenceConfig) -> Json:
    """How the service does against its objective: rate, errors, latency, saturation, and what it serves."""
    return dashboard("Churn service", "churn-service", [*_demand(objective), *_saturation(), *_served()])


def model_dashboard() -> Json:
    """What the model answers, and how far customers have moved from those that it was trained on."""
    overview = Panel(
        title="Drift by field",
        about="Population stability index over a day; above the limit an alert follows once a thousand customers were scored.",
        queries={"{{field}}": "churn:drift_index:increase1d", "limit of the release": DRIFT_INDEX_MAX},
        unit="none",
        width=16,
    )
    rows = Panel(
        title="Customers scored in a day",
        about="What the shares below are shares of.",
        queries={"customers": f'churn:rows:increase1d{{field="{SCORE}"}}'},
        unit="short",
    )
    score = Panel(
        title="Predicted probability",
        about="Share of a day's customers in each bin of the score.",
        queries={"{{bin}}": f'churn:share:increase1d{{field="{SCORE}"}}'},
        unit="percentunit",
        stacked=True,
    )
    fields = [_moved(field.name, _title(field)) for field in FEATURES]
    return dashboard(
        "Churn model", "churn-model", [overview, rows, *_answers(), score, _moved(SCORE, "Predicted probability, moved"), *fields]
    )


def _demand(objective: InferenceConfig) -> list[Panel]:
    budget = 1 - objective.availability_percent / 100
    seconds = 'sum by (le) (rate(churn_request_seconds_bucket{route="/v1/predict"}[5m]))'
    return [
        Panel(
            title="Requests",
            about="By route, as clients send them.",
            queries={"{{route}}": "churn:requests:rate5m"},
            unit="reqps",
            stacked=True,
            limit=objective.peak_requests_per_second,
        ),
        Panel(
            title="Answers by status",
            about="4xx are the clients' mistakes, 5xx are ours.",
            queries={"{{status}}": f"sum by (status) (rate(churn_requests_total{{{CLIENTS}}}[5m]))"},
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title="Share of requests that failed",
            about=f"{objective.availability_percent:g} % availability allows what is below the line.",
            queries={window: error_ratio(window) for window in ("5m", "1h", "1d")},
            unit="percentunit",
            limit=budget,
        ),
        Panel(
            title="Time for a prediction",
            about=f"The objective is {objective.p99_milliseconds} ms for 99 in 100.",
            queries={f"p{percent}": f"histogram_quantile({percent / 100:g}, {seconds})" for percent in (50, 90, 99)},
            unit="s",
            limit=objective.p99_milliseconds / 1000,
        ),
    ]


def _saturation() -> list[Panel]:
    autoscaler = f'{{namespace="{NAMESPACE}"}}'
    return [
        Panel(
            title="Pods",
            about="Ready ones, and what the autoscaler wants and may have at most.",
            queries={
                "ready": "sum(churn_ready)",
                "wanted": f"sum(kube_horizontalpodautoscaler_status_desired_replicas{autoscaler})",
                "at most": f"sum(kube_horizontalpodautoscaler_spec_max_replicas{autoscaler})",
            },
            unit="short",
        ),
        Panel(
            title="Processor",
            about="Cores that each pod uses.",
            queries={"{{pod}}": f'rate(process_cpu_seconds_total{{job="{INFERENCE_JOB}"}}[5m])'},
            unit="short",
        ),
        Panel(
            title="Memory",
            about="What each pod's process holds.",
            queries={"{{pod}}": f'process_resident_memory_bytes{{job="{INFERENCE_JOB}"}}'},
            unit="bytes",
        ),
        Panel(
            title="Not let in",
            about="busy: too many requests at once; batches: too many of those; slow: clients that send or take too slowly.",
            queries={"{{reason}}": "sum by (reason) (rate(churn_refused_total[5m]))"},
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title="Prediction log",
            about="Events queued in the processes, and lost in ten minutes.",
            queries={
                "queued": "sum(churn_events_queued)",
                "lost": "sum(increase(churn_events_dropped_total[10m]))",
            },
            unit="short",
        ),
        Panel(
            title="Prediction log, not in the store yet",
            about="Bytes that each pod has still to ship.",
            queries={"{{pod}}": "churn_events_waiting_bytes"},
            unit="bytes",
        ),
    ]


def _served() -> list[Panel]:
    return [
        Panel(
            title="Predictions by variant",
            about="And by version of its model.",
            queries={"{{variant}} {{version}}": "sum by (variant, version) (rate(churn_predictions_total[5m]))"},
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title="Pods by release",
            about="Two while a new one rolls out.",
            queries={"{{release}}": "count by (release) (churn_release_info)"},
            unit="short",
            stacked=True,
        ),
        Panel(
            title="Age of the models",
            about="Since their evidence was taken.",
            queries={
                "{{variant}} {{version}}": ("time() - max by (variant, version) (churn_variant_evaluated_timestamp_seconds)")
            },
            unit="s",
        ),
    ]


def _answers() -> list[Panel]:
    offers = 'sum by (variant) (rate(churn_predictions_total{decision="offer"}[1h]))'
    return [
        Panel(
            title="Share of customers with an offer",
            about="By variant, over an hour.",
            queries={"{{variant}}": f"{offers} / sum by (variant) (rate(churn_predictions_total[1h]))"},
            unit="percentunit",
        ),
    ]


def _moved(name: str, title: str) -> Panel:
    """By how much each bin's share differs from the training data: zero is as trained."""
    return Panel(
        title=title,
        about="Share of a day's customers in each bin, less its share of the training data.",
        queries={
            "{{bin}}": f'churn:share:increase1d{{field="{name}"}} - on (field, bin) churn:reference_share{{field="{name}"}}'
        },
        unit="percentunit",
    )


def _title(field: Field) -> str:
    return f"{field.title}, {field.unit}" if field.unit else field.title
