"""A shadow sees what was answered and answers nobody."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from prometheus_client.parser import text_string_to_metric_families

from app import shadow
from app.bundle import MODEL_OUTPUT
from app.contract import Customer, matrix
from app.decide import decide
from app.events import EventLog
from app.metrics import Metrics
from app.model import Rows
from app.shadow import Answered, Shadow
from tests.app.support import ASKED, Place, ServerProcess, graph, probability, serving, variant, wait_for

TILT = -0.9
CUSTOMERS = [{**ASKED, "tenure_months": months, "customer_id": str(months)} for months in range(0, 72, 6)]


@contextmanager
def beside(place: Place, shadow_digest: str) -> Iterator[ServerProcess]:
    """A process with a champion and this shadow."""
    place.write_release(variant(place.add_bundle()), variant(shadow_digest, role="shadow", weight_percent=0, version="2.0.0"))
    with serving(place.settings(), place.root / "log") as server:
        server.said("ready")
        yield server


def counted(server: ServerProcess, name: str) -> dict[tuple[str, ...], float]:
    samples = (each for family in text_string_to_metric_families(server.scrape()) for each in family.samples)
    return {tuple(each.labels.values()): each.value for each in samples if each.name == name}


def ask_all(server: ServerProcess) -> list[dict[str, Any]]:
    alone = [httpx.post(f"{server.url}/v1/predict", json=customer).raise_for_status().json() for customer in CUSTOMERS]
    together = httpx.post(f"{server.url}/v1/predict/batch", json={"customers": CUSTOMERS}).raise_for_status().json()
    return [*alone, *together["predictions"]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def only_for_three_rows() -> bytes:
    """A graph that gives the golden customers, of whom there are three, their probabilities and fails for any other number."""
    model = onnx.load_from_string(graph(TILT))
    model.graph.node[-1].output[0] = "any"
    model.graph.initializer.append(numpy_helper.from_array(np.array([3]), "three"))
    model.graph.node.append(helper.make_node("Reshape", ["any", "three"], [MODEL_OUTPUT]))
    return model.SerializeToString()


def test_each_answer_gets_the_shadows_opinion_in_the_log_and_none_of_it_reaches_a_client(place: Place):
    with beside(place, place.add_bundle(tilt=TILT)) as server:
        answers = ask_all(server)
        wait_for(lambda: sum(counted(server, "churn_shadow_predictions_total").values()) == len(answers), "every opinion")
        assert {answer["variant"] for answer in answers} == {"champion"}
        by_decision = counted(server, "churn_shadow_predictions_total")
        assert server.stop() == 0
    events = place.events()
    opinions = {event["prediction_id"]: event for event in events if event["kind"] == "shadow"}
    assert opinions.keys() == {answer["prediction_id"] for answer in answers}
    for answer, customer in zip(answers, CUSTOMERS * 2, strict=True):
        own = opinions[answer["prediction_id"]]
        assert answer["churn_probability"] == pytest.approx(probability(Customer(**customer)), abs=1e-5)
        assert own["churn_probability"] == pytest.approx(probability(Customer(**customer), TILT), abs=1e-5)
        assert own["decision"] == decide(0.357143, own["churn_probability"])
        assert own["version"] == "2.0.0"
    pairs = [(answer["decision"], opinions[answer["prediction_id"]]["decision"], "2.0.0") for answer in answers]
    assert any(answered != own for answered, own, _ in pairs)
    assert by_decision == {pair: pairs.count(pair) for pair in pairs}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread: run it there")
def test_a_shadow_gives_way_to_everybody_else_and_nothing_else_does(place: Place):
    with beside(place, place.add_bundle(tilt=TILT)) as server:
        answers = ask_all(server)
        wait_for(lambda: sum(counted(server, "churn_shadow_predictions_total").values()) == len(answers), "every opinion")
        stats = [task.read_text() for task in Path(f"/proc/{server.process.pid}/task").glob("*/stat")]
        assert server.stop() == 0
    # The nineteenth field, and the third is the first behind the name.
    niceness = sorted(int(stat.rpartition(")")[2].split()[16]) for stat in stats)
    assert niceness[-2:] == [os.getpriority(os.PRIO_PROCESS, 0), shadow.NICENESS]


def test_a_shadow_that_cannot_be_loaded_keeps_nobody_from_being_served(place: Place):
    with beside(place, "e" * 64) as server:
        assert len(ask_all(server)) == 2 * len(CUSTOMERS)
        assert counted(server, "churn_shadow_lost_total")["not loaded",] == 2 * len(CUSTOMERS)
        assert "e" * 64 in server.said("shadow_not_loaded")["reason"]
        assert server.stop() == 0
    assert {event["kind"] for event in place.events()} == {"prediction"}


def test_a_shadow_that_fails_is_counted_and_logged_once_and_nobody_notices(place: Place):
    with beside(place, place.add_bundle(tilt=TILT, model=only_for_three_rows())) as server:
        answers = ask_all(server)
        wait_for(lambda: counted(server, "churn_shadow_lost_total")["failed",] >= len(CUSTOMERS), "failures")
        assert {answer["variant"] for answer in answers} == {"champion"}
        assert [line["event"] for line in server.log()].count("shadow_failed") == 1
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        assert server.stop() == 0


def test_a_shadow_that_falls_behind_misses_answers_instead_of_keeping_them(place: Place):
    with beside(place, place.add_bundle(tilt=TILT)) as server:
        batches = shadow.MAX_WAITING // 1000 + 2
        batch = {"customers": [ASKED] * 1000}
        with httpx.Client(base_url=server.url, timeout=30) as http:
            for _ in range(batches):
                assert http.post("/v1/predict/batch", json=batch).status_code == 200

        def settled() -> bool:
            lost = counted(server, "churn_shadow_lost_total")["behind",]
            return sum(counted(server, "churn_shadow_predictions_total").values()) + lost == 1000 * batches

        wait_for(settled, "every answer to be seen or counted")
        assert server.stop() == 0


def test_when_the_process_ends_what_a_shadow_is_scoring_is_logged_and_what_it_has_not_seen_is_counted(tmp_path: Path):
    metrics, begun, rows = Metrics(()), Event(), matrix([Customer(**customer) for customer in CUSTOMERS])

    def score(these: Rows) -> Rows:
        begun.set()
        time.sleep(0.2)
        return these[:, 0]

    async def answer_and_stop(events: EventLog) -> None:
        seeing = Shadow(variant("e" * 64, role="shadow", weight_percent=0), score, events, metrics)
        seeing.see(Answered("scored", rows[0], "none"))
        await asyncio.to_thread(begun.wait, 10)
        for row in rows:
            seeing.see(Answered("waiting", row, "none"))
        await seeing.stop()

    events = EventLog(tmp_path.as_uri())
    asyncio.run(answer_and_stop(events))
    events.close(5)
    [line] = [line for path in tmp_path.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert json.loads(line)["prediction_id"] == "scored"
    assert metrics.shadow_lost == {"not loaded": 0, "behind": 0, "failed": 0, "stopped": len(CUSTOMERS)}
