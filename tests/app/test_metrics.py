import re
import threading
from typing import Any

import httpx
import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from app.bundle import SCORE_BINS
from app.contract import FEATURES, Customer, binned, matrix
from app.main import create_app
from app.metrics import ROWS_TO_BIN, Drift, Latency, registry
from app.release import AlertLimits
from tests.app.support import ASKED, NOW, Place, served, wait_for

ROWS = st.lists(st.tuples(st.integers(0, 600), st.floats(0, 1, width=32)), max_size=30)


def figures(app: Any) -> dict[str, float]:
    """Each series by name and labels, as a scrape shows it."""
    text = generate_latest(registry(app.state.process.metrics)).decode()
    return {series: float(value) for series, value in re.findall(r"^([^#].*) (\S+)$", text, re.MULTILINE)}


@given(st.lists(ROWS, max_size=4), st.booleans())
def test_every_row_is_counted_once_in_each_field_whenever_one_looks(batches: list[Any], looks: bool):
    drift, expected, scores = Drift(), np.zeros((len(FEATURES), 32)), np.zeros(len(SCORE_BINS))
    for batch in batches:
        rows = matrix([Customer(**{**ASKED, "tenure_months": months}) for months, _ in batch])
        found = np.array([score for _, score in batch], dtype=np.float32)
        drift.see(rows, found)
        for row in binned(rows) if batch else ():
            expected[np.arange(len(FEATURES)), row] += 1
        for score in found:
            scores[sum(float(score) >= edge for edge in np.arange(1, 10) / 10)] += 1
        if looks:
            drift.counts()
    fields, counted = drift.counts()
    np.testing.assert_array_equal(fields, expected[:, : fields.shape[1]])
    np.testing.assert_array_equal(counted, scores)


def test_rows_are_counted_whichever_thread_sees_them_and_none_pile_up():
    drift, rows = Drift(), matrix([Customer(**ASKED)] * 100)
    threads = [threading.Thread(target=lambda: [drift.see(rows, rows[:, 2]) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drift.waiting_rows < ROWS_TO_BIN
    assert drift.counts()[1].sum() == 4 * 50 * 100


def test_latency_counts_each_request_in_all_buckets_that_hold_it():
    latency = Latency()
    for seconds in (0.0005, 0.001, 0.02, 60):
        latency.observe(200, seconds)
    cumulated = dict(latency.cumulated())
    assert (cumulated["0.001"], cumulated["0.025"], cumulated["2.5"], cumulated["+Inf"]) == (2, 3, 3, 4)
    assert latency.sum_seconds == 60.0215


def test_a_scrape_shows_what_was_asked_and_answered(place: Place):
    app = create_app(place.settings())
    assert figures(app)["churn_ready"] == 0
    assert figures(app)['churn_requests_total{route="/v1/predict",status="503"}'] == 0, "a rise is seen from the first one on"
    with served(app) as url, httpx.Client(base_url=url) as http:
        wait_for(lambda: app.state.process.service, "the service")
        for months in (1, 1, 70):
            assert http.post("/v1/predict", json={**ASKED, "tenure_months": months}).status_code == 200
        http.post("/v1/predict/batch", json={"customers": [ASKED, {**ASKED, "partner": True}]})
        http.post("/v1/predict", json={})
        http.get("/nowhere")
        wait_for(place.events, "the events")
        found = figures(app)
    assert found["churn_ready"] == 1
    assert found['churn_requests_total{route="/v1/predict",status="200"}'] == 3
    assert found['churn_requests_total{route="/v1/predict",status="422"}'] == 1
    assert found['churn_requests_total{route="unmatched",status="404"}'] == 1
    assert found['churn_request_seconds_count{route="/v1/predict"}'] == 4
    assert found['churn_request_seconds_bucket{le="+Inf",route="/v1/predict/batch"}'] == 1
    assert found['churn_field_bin_total{bin="below 3",field="tenure_months"}'] == 2
    assert found['churn_field_bin_total{bin="3 to 6",field="tenure_months"}'] == 2
    assert found['churn_field_bin_total{bin="60 and above",field="tenure_months"}'] == 1
    assert found['churn_field_bin_total{bin="true",field="partner"}'] == 1
    assert found['churn_field_bin_total{bin="missing",field="partner"}'] == 4
    assert found['churn_field_reference_share{bin="true",field="partner"}'] == 1 / 3
    assert sum(value for series, value in found.items() if series.startswith("churn_score_bin_total")) == 5
    assert found['churn_score_reference_share{bin="0.9 to 1"}'] == 0.1
    offers = 'churn_predictions_total{decision="offer",variant="champion",version="1.0.0"}'
    none = 'churn_predictions_total{decision="none",variant="champion",version="1.0.0"}'
    assert found[offers] + found.get(none, 0) == 5
    assert found["churn_events_dropped_total"] == 0
    assert found["churn_events_waiting_bytes"] == 0
    assert found["churn_events_written_total"] + found["churn_events_queued"] == 5
    [digest] = (path.name for path in (place.root / "bundles").iterdir())
    assert found[f'churn_variant_weight_percent{{bundle="{digest}",variant="champion",version="1.0.0"}}'] == 100
    evaluated = f'churn_variant_evaluated_timestamp_seconds{{bundle="{digest}",variant="champion",version="1.0.0"}}'
    assert found[evaluated] == NOW.timestamp()
    release = msgspec.json.decode((place.root / "release.json").read_bytes())["digest"]
    assert found[f'churn_release_info{{release="{release}",stack="dev"}}'] == 1
    assert found["churn_drift_index_max"] == AlertLimits().drift_index_max
    assert found["churn_model_age_max_seconds"] == AlertLimits().model_age_max_days * 86_400
    assert found["process_resident_memory_bytes"] > 0


def test_every_bin_has_a_series_before_anybody_asks(place: Place):
    found = figures(create_app(place.settings()))
    for field in FEATURES:
        for label in field.bins:
            assert found[f'churn_field_bin_total{{bin="{label}",field="{field.name}"}}'] == 0
