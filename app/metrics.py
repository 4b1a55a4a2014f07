"""What Prometheus reads: counted in plain numbers while requests run, put into families when it asks."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from app.bundle import SCORE_BIN_EDGES, SCORE_BINS, Reference
from app.contract import FEATURES, binned
from app.decide import Decision
from app.events import EventLog
from app.release import Release, Variant

LATENCY_BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
# Why a request was not let in: too many of them, too many batches, not here in time.
REASONS = ("busy", "batches", "slow")
# Why a shadow has no opinion of an answer.
SHADOW_REASONS = ("not loaded", "behind", "failed", "stopped")
# Cutting nineteen columns into bins costs as much for one row as for hundreds, so rows wait until there are some.
ROWS_TO_BIN = 1024
_MOST_BINS = max(len(field.bins) for field in FEATURES)

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Live:
    """What a ready process serves, as far as metrics name it."""

    release: Release
    reference: Reference
    events: EventLog


class Latency:
    """Requests of one route by status, and how long they took."""

    def __init__(self) -> None:
        # Failures are there from the start on: of a series that begins with the first of them, no query sees it rise.
        self.by_status: Counter[int] = Counter({500: 0, 503: 0})
        self.buckets = [0] * (len(LATENCY_BOUNDS_SECONDS) + 1)
        self.sum_seconds = 0.0

    def observe(self, status: int, seconds: float) -> None:
        self.by_status[status] += 1
        self.buckets[bisect_left(LATENCY_BOUNDS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds

    def cumulated(self) -> list[tuple[str, float]]:
        bounds = (*(str(bound) for bound in LATENCY_BOUNDS_SECONDS), "+Inf")
        return list(zip(bounds, np.cumsum(self.buckets).tolist(), strict=True))


class Drift:
    """Counts (features, bins) of the rows that were scored, and (bins) of what was predicted for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[Rows, Rows]] = []
        self.waiting_rows = 0
        self._fields = np.zeros((len(FEATURES), _MOST_BINS), dtype=np.int64)
        self._scores = np.zeros(len(SCORE_BINS), dtype=np.int64)

    def see(self, rows: Rows, probabilities: Rows) -> None:
        """Take note of `rows` (n, features) and `probabilities` (n,); from any thread."""
        with self._lock:
            self._waiting.append((rows, probabilities))
            self.waiting_rows += len(rows)
            if self.waiting_rows >= ROWS_TO_BIN:
                self._bin()

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What was seen so far."""
        with self._lock:
            self._bin()
            return self._fields.copy(), self._scores.copy()

    def _bin(self) -> None:
        if not self._waiting:
            return
        rows, scores = (np.concatenate(each) for each in zip(*self._waiting, strict=True))
        self._waiting, self.waiting_rows = [], 0
        # One row of counters for each feature, laid end to end.
        flat = binned(rows) + np.arange(len(FEATURES)) * _MOST_BINS
        self._fields += np.bincount(flat.ravel(), minlength=self._fields.size).reshape(self._fields.shape)
        self._scores += np.bincount(np.searchsorted(SCORE_BIN_EDGES, scores, side="right"), minlength=len(SCORE_BINS))


class Metrics(Collector):
    """Everything counted in this process. Only `drift` is shared between threads."""

    def __init__(self, routes: Iterable[str]) -> None:
        self.routes = {route: Latency() for route in routes}
        self.predictions: Counter[tuple[str, str, str]] = Counter()
        self.refused: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        # By version, its decision, and the one that was answered.
        self.shadowed: Counter[tuple[str, str, str]] = Counter()
        self.shadow_lost: Counter[str] = Counter(dict.fromkeys(SHADOW_REASONS, 0))
        self.drift = Drift()
        self.live: Live | None = None
        self.ready = False

    def predicted(self, variant: Variant, decision: Decision) -> None:
        self.predictions[variant.role, variant.version, decision] += 1

    def collect(self) -> Iterator[Metric]:
        """Every family, as prometheus_client asks for them."""
        yield GaugeMetricFamily("churn_ready", "1 while the process takes predictions.", value=float(self.ready))
        yield from self._requests()
        yield _counter(
            "churn_predictions", "Predictions answered.", ("variant", "version", "decision"), self.predictions.copy().items()
        )
        yield _counter(
            "churn_shadow_predictions",
            "Answers that a shadow has an opinion of.",
            ("version", "decision", "answered"),
            self.shadowed.copy().items(),
        )
        lost = (((reason,), count) for reason, count in self.shadow_lost.copy().items())
        yield _counter("churn_shadow_lost", "Answers that a shadow missed.", ("reason",), lost)
        yield from self._drift()
        if self.live:
            yield from _about_release(self.live.release)
            yield from _about_events(self.live.events)

    def _requests(self) -> Iterator[Metric]:
        counts = (
            ((route, str(status)), count)
            for route, seen in self.routes.items()
            for status, count in seen.by_status.copy().items()
        )
        yield _counter("churn_requests", "Requests answered.", ("route", "status"), counts)
        refused = (((reason,), count) for reason, count in self.refused.copy().items())
        yield _counter("churn_refused", "Requests and connections that were not let in.", ("reason",), refused)
        seconds = HistogramMetricFamily("churn_request_seconds", "Time from a request's start to its answer.", labels=("route",))
        for route, seen in self.routes.items():
            seconds.add_metric((route,), seen.cumulated(), seen.sum_seconds)
        yield seconds

    def _drift(self) -> Iterator[Metric]:
        fields, scores = self.drift.counts()
        counted = (
            ((field.name, label), count)
            for field, row in zip(FEATURES, fields.tolist(), strict=True)
            for label, count in zip(field.bins, row, strict=False)
        )
        yield _counter("churn_field_bin", "Customers scored, by drift bin of each field.", ("field", "bin"), counted)
        predicted = (((label,), count) for label, count in zip(SCORE_BINS, scores.tolist(), strict=True))
        yield _counter("churn_score_bin", "Customers scored, by bin of the predicted probability.", ("bin",), predicted)
        if self.live:
            yield from _about_reference(self.live.reference)


def registry(metrics: Metrics) -> CollectorRegistry:
    """The registry that the metrics port serves: ours and the process's own figures."""
    served = CollectorRegistry()
    served.register(metrics)
    ProcessCollector(registry=served)
    return served


def _about_reference(reference: Reference) -> Iterator[Metric]:
    shares = GaugeMetricFamily("churn_field_reference_share", "Share of training rows in the bin.", labels=("field", "bin"))
    for name, seen in reference.fields.items():
        for label, share in zip(seen.bins, seen.shares, strict=True):
            shares.add_metric((name, label), share)
    yield shares
    scores = GaugeMetricFamily(
        "churn_score_reference_share", "Share of predictions of training rows in the bin.", labels=("bin",)
    )
    for label, share in zip(reference.churn_probability.bins, reference.churn_probability.shares, strict=True):
        scores.add_metric((label,), share)
    yield scores


def _about_release(release: Release) -> Iterator[Metric]:
    info = GaugeMetricFamily("churn_release_info", "The release in use.", labels=("release", "stack"))
    info.add_metric((str(release.digest), release.stack), 1)
    yield info
    labels = ("variant", "version", "bundle")
    weights = GaugeMetricFamily("churn_variant_weight_percent", "Variants of the release.", labels=labels)
    evaluated = GaugeMetricFamily("churn_variant_evaluated_timestamp_seconds", "When the evidence was taken.", labels=labels)
    for variant in release.variants:
        named = (variant.role, variant.version, variant.bundle_digest)
        weights.add_metric(named, variant.weight_percent)
        evaluated.add_metric(named, variant.evidence.evaluated_at.timestamp())
    yield from (weights, evaluated)
    limits = release.limits
    yield GaugeMetricFamily("churn_drift_index_max", "Above it, drift is told.", value=limits.drift_index_max)
    age_seconds = timedelta(days=limits.model_age_max_days).total_seconds()
    yield GaugeMetricFamily("churn_model_age_max_seconds", "Above it, the model's age is told.", value=age_seconds)


def _about_events(events: EventLog) -> Iterator[Metric]:
    yield CounterMetricFamily("churn_events_written", "Events in the prediction log.", value=events.written)
    yield CounterMetricFamily("churn_events_dropped", "Events that found the queue or the disk full.", value=events.dropped)
    yield GaugeMetricFamily("churn_events_queued", "Events that wait to be written.", value=events.queued)
    yield GaugeMetricFamily("churn_events_waiting_bytes", "Written here, not yet in the store.", value=events.waiting_bytes)


def _counter(name: str, about: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float]]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, about, labels=labels)
    for values, count in samples:
        family.add_metric(values, count)
    return family
