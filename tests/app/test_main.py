import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from app.contract import CONTRACT_DIGEST, FIELDS, Customer
from app.decide import decide, expected_value_usd
from app.main import MAX_BATCHES, Process, create_app
from app.release import BusinessCase
from app.service import Service
from app.split import assign
from app.web import MAX_BODY_BYTES
from tests.app.support import ASKED, Place, bundle_files, probability, served, variant, wait_for, write_bundle

OUTCOME = {"prediction_id": "a", "churned": True, "offer_made": False, "observed_at": "2026-01-31T12:00:00Z"}
JSON = {"content-type": "application/json"}


class Client(httpx.Client):
    """A client of the application `process` served on loopback."""

    process: Process


@contextmanager
def client(place: Place, ready: int = 200) -> Iterator[Client]:
    """The application served for real, once it has made up its mind."""
    app = create_app(place.settings())
    with served(app) as url, Client(base_url=url) as made:
        process = made.process = app.state.process
        wait_for(lambda: process.service or "being loaded" not in process.not_ready, "a decision")
        assert made.get("/readyz").status_code == ready
        yield made


@pytest.fixture
def http(place: Place) -> Iterator[Client]:
    with client(place) as made:
        yield made


def is_problem(answer: Any, status: int) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert problem.keys() == {"type", "title", "status", "detail", "errors"}
    assert problem["status"] == status
    return problem


def test_a_customer_gets_probability_decision_and_money_that_follow_from_each_other(http: Client):
    answer = http.post("/v1/predict", json=ASKED).json()
    found = answer["churn_probability"]
    assert found == pytest.approx(probability(Customer(**ASKED)), abs=1e-5)
    assert found == round(found, 6)
    assert answer == {
        "prediction_id": answer["prediction_id"],
        "churn_probability": found,
        "decision": decide(0.357143, found),
        "expected_value_usd": round(expected_value_usd(BusinessCase(), found), 6),
        "variant": "champion",
        "version": "1.0.0",
    }


def test_a_batch_is_answered_in_order_and_as_one_by_one(http: Client):
    customers = [{**ASKED, "tenure_months": months} for months in (72, 0, 30)]
    together = http.post("/v1/predict/batch", json={"customers": customers}).json()["predictions"]
    alone = [http.post("/v1/predict", json=customer).json() for customer in customers]
    assert [p["churn_probability"] for p in together] == pytest.approx([p["churn_probability"] for p in alone], abs=2e-6)
    assert len({p["prediction_id"] for p in together + alone}) == 6


def test_one_bad_row_keeps_a_batch_from_being_scored(http: Client, place: Place):
    answer = http.post("/v1/predict/batch", json={"customers": [ASKED, {**ASKED, "tenure_months": -1}]})
    assert [error["pointer"] for error in is_problem(answer, 422)["errors"]] == ["/customers/1/tenure_months"]
    http.post("/v1/predict", json={**ASKED, "customer_id": "only"})
    wait_for(place.events, "an event")
    assert [event["customer"]["customer_id"] for event in place.events()] == ["only"]


def test_a_batch_that_takes_too_long_is_given_up_and_makes_room(http: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.main.BATCH_SECONDS", 0.05)
    blocked = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(Service, "_scored", lambda *_: blocked.wait(10))
        for _ in range(2 * MAX_BATCHES):
            answer = http.post("/v1/predict/batch", json={"customers": [ASKED]})
            assert "not scored within 0.05 seconds" in is_problem(answer, 503)["detail"]
            assert answer.headers["retry-after"] == "1"
        blocked.set()
    monkeypatch.setattr("app.main.BATCH_SECONDS", 5.0)
    assert http.post("/v1/predict/batch", json={"customers": [ASKED]}).status_code == 200


def test_outcomes_are_taken_into_the_same_log(http: Client, place: Place):
    answer = http.post("/v1/outcomes", json={"outcomes": [OUTCOME, OUTCOME]})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2})
    prediction = http.post("/v1/predict", json={**ASKED, "customer_id": "c-1"}).json()
    events = wait_for(lambda: found if len(found := place.events()) == 3 else None, "three events")
    assert [event["kind"] for event in events] == ["outcome", "outcome", "prediction"]
    assert events[2]["customer"].items() >= {**ASKED, "customer_id": "c-1"}.items()
    assert {name: events[2][name] for name in ("prediction_id", "churn_probability", "decision", "variant", "version")} == {
        name: prediction[name] for name in ("prediction_id", "churn_probability", "decision", "variant", "version")
    }


def test_the_model_in_use_is_the_release_with_evidence_and_cards(http: Client, place: Place):
    answer = http.get("/v1/model").json()
    assert answer["release"] == json.loads((place.root / "release.json").read_text())
    assert answer["release"]["variants"][0]["evidence"]["rows"] == 3
    [card] = answer["cards"]
    assert card["card"].startswith("# Logistic")
    assert card["bundle_digest"] == answer["release"]["variants"][0]["bundle_digest"]
    assert answer["contract_digest"] == CONTRACT_DIGEST


def test_customers_are_split_and_stay_where_they_are(place: Place):
    champion, challenger = place.add_bundle(), place.add_bundle(tilt=3.0)
    shadow = variant("0" * 64, "shadow", 0, "3.0.0")  # not fetched: it answers nobody
    written = place.write_release(variant(champion, weight_percent=50), variant(challenger, "challenger", 50, "2.0.0"), shadow)
    customers = [{**ASKED, "customer_id": f"c-{number}"} for number in range(40)]
    expected = [assign(written.variants, customer["customer_id"]).role for customer in customers]
    with client(place) as http:
        alone = [http.post("/v1/predict", json=customer).json() for customer in customers]
        together = http.post("/v1/predict/batch", json={"customers": customers}).json()["predictions"]
        cards = http.get("/v1/model").json()["cards"]
    assert {*expected} == {"champion", "challenger"}
    assert [answer["variant"] for answer in alone] == [answer["variant"] for answer in together] == expected
    tilts = {"champion": 0.0, "challenger": 3.0}
    for customer, *answers in zip(customers, alone, together, strict=True):
        for answer in answers:
            exact = probability(Customer(**customer), tilts[answer["variant"]])
            assert answer["churn_probability"] == pytest.approx(exact, abs=1e-5)
    assert [card["version"] for card in cards] == ["1.0.0", "2.0.0"]


def test_customers_without_an_id_are_split_as_well(place: Place):
    place.write_release(
        variant(place.add_bundle(), weight_percent=50), variant(place.add_bundle(tilt=3.0), "challenger", 50, "2.0.0")
    )
    with client(place) as http:
        answers = http.post("/v1/predict/batch", json={"customers": [ASKED] * 200}).json()["predictions"]
    assert 50 < sum(answer["variant"] == "champion" for answer in answers) < 150


def test_a_challenger_may_answer_everybody(place: Place):
    place.write_release(
        variant(place.add_bundle(), weight_percent=0), variant(place.add_bundle(tilt=3.0), "challenger", 100, "2.0.0")
    )
    with client(place) as http:
        assert http.post("/v1/predict", json=ASKED).json()["version"] == "2.0.0"


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 400), (b"\xff", 400), (b"[" * 100_000, 400), (b'{"tenure_months": NaN}', 400), (b"{}", 422), (b"[]", 422)],
)
def test_a_bad_body_is_a_problem_on_every_route(http: Client, content: bytes, status: int):
    for route in ("/v1/predict", "/v1/predict/batch", "/v1/outcomes"):
        is_problem(http.post(route, content=content, headers=JSON), status)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json"])
def test_a_body_that_is_not_called_json_is_415(http: Client, content_type: str | None):
    headers = {"content-type": content_type} if content_type else {}
    is_problem(http.post("/v1/predict", content=json.dumps(ASKED).encode(), headers=headers), 415)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"])
def test_json_may_be_called_so_in_other_ways(http: Client, content_type: str):
    answer = http.post("/v1/predict", content=json.dumps(ASKED).encode(), headers={"content-type": content_type})
    assert answer.status_code == 200


def test_a_body_of_one_mebibyte_is_read_and_one_byte_more_is_413(http: Client):
    fits = json.dumps(ASKED).encode().ljust(MAX_BODY_BYTES)
    assert http.post("/v1/predict", content=fits, headers=JSON).status_code == 200
    is_problem(http.post("/v1/predict", content=fits + b" ", headers=JSON), 413)


def asgi(
    app: Any, messages: list[dict[str, Any]], headers: list[tuple[bytes, bytes]] | None = None
) -> tuple[list[dict[str, Any]], int]:
    """What an ASGI server is told to send when it hands in these messages, and how many of them were taken."""
    sent: list[dict[str, Any]] = []
    left = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(left)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    all_headers = [(b"content-type", b"application/json"), *(headers or [])]
    scope = {
        "type": "http",
        "path": "/v1/predict",
        "root_path": "",
        "method": "POST",
        "headers": all_headers,
        "query_string": b"",
    }
    asyncio.run(app(scope, receive, send))
    return sent, len(messages) - len(list(left))


def part(content: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": content, "more_body": more}


def test_a_long_body_is_refused_as_soon_as_it_is_too_long(place: Place):
    app = create_app(place.settings())
    sent, taken = asgi(app, [part(b" " * 2**18)] * 100)
    assert (sent[0]["status"], taken) == (413, 5)
    assert asgi(app, [part(b" " * (2**20 + 1), more=False)])[0][0]["status"] == 413


def test_a_body_announced_too_long_is_refused_unread(place: Place):
    sent, taken = asgi(create_app(place.settings()), [part(b"")], [(b"content-length", str(2**20 + 1).encode())])
    assert (sent[0]["status"], taken) == (413, 0)


def test_a_client_that_goes_away_in_the_middle_gets_no_answer(place: Place):
    app = create_app(place.settings())
    assert asgi(app, [part(b"{"), {"type": "http.disconnect"}]) == ([], 2)
    seen = app.state.process.metrics.routes["/v1/predict"].by_status
    assert {status for status, count in seen.items() if count} == {499}


def test_a_body_in_parts_is_put_together(place: Place):
    sent, _ = asgi(create_app(place.settings()), [part(b'{"tenure'), part(b'_months": NaN}', more=False)])
    assert sent[0]["status"] == 503  # read to its end, and nobody is there to answer it


def test_an_unknown_route_is_404_and_a_wrong_method_405_with_those_allowed(http: Client):
    for path in ("/v1", "/v1/predict/", "/favicon.ico", "/v1/explain"):
        is_problem(http.get(path), 404)
    answer = http.get("/v1/predict")
    assert "POST" in is_problem(answer, 405)["detail"]
    assert answer.headers["allow"] == "POST"
    assert {*http.delete("/livez").headers["allow"].split(", ")} == {"GET", "HEAD"}


def test_a_fault_of_the_service_is_a_problem_that_tells_nothing(
    http: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*_: Any) -> Any:
        raise RuntimeError("customer c-1 in /srv/app")

    monkeypatch.setattr(Service, "_assigned", fail)
    problem = is_problem(http.post("/v1/predict", json=ASKED), 500)
    assert "c-1" not in json.dumps(problem)
    [record] = [record for record in caplog.records if record.name == "churn.web"]
    assert (record.message, vars(record)["error"]) == ("request_failed", "RuntimeError")
    assert "c-1" not in str(vars(record)["places"])
    assert "test_main.py" in str(vars(record)["places"])


def break_release(place: Place) -> str:
    content = (place.root / "release.json").read_bytes().replace(b"first", b"other")
    (place.root / "release.json").write_bytes(content)
    return "release.json carries digest"


def break_bundle(place: Place) -> str:
    [path] = (place.root / "bundles").glob("*/reference.json")
    path.write_bytes(path.read_bytes() + b" ")
    return "reference.json was changed"


def remove_release(place: Place) -> str:
    (place.root / "release.json").unlink()
    return "release.json cannot be read: No such file or directory; CHURN_RELEASE names the release file"


def add_file(place: Place) -> str:
    [folder] = (place.root / "bundles").iterdir()
    (folder / "more.txt").write_text("x")
    return "more.txt does not belong there"


def weigh_nothing(place: Place) -> str:
    place.write_release(variant("0" * 64, weight_percent=0))
    return "has no variant with weight"


def count_otherwise(place: Place) -> str:
    reference = bundle_files()["reference.json"].replace(b'"below 3"', b'"below 4"')
    place.write_release(variant(write_bundle(place.root / "bundles", bundle_files(reference=reference))))
    return "reference.json: tenure_months has bins ['below 4'"


def forget_a_field(place: Place) -> str:
    reference = json.loads(bundle_files()["reference.json"])
    del reference["fields"]["partner"]
    place.write_release(variant(write_bundle(place.root / "bundles", bundle_files(reference=json.dumps(reference).encode()))))
    return "reference.json does not have the fields of the contract; they differ in partner"


def other_contract(place: Place) -> str:
    place.write_release(variant(place.add_bundle(contract_digest="e" * 64)))
    return "was made for contract eeee"


BREAKS = [break_release, break_bundle, remove_release, add_file, weigh_nothing, count_otherwise, forget_a_field, other_contract]


@pytest.mark.parametrize("spoil", BREAKS, ids=lambda spoil: spoil.__name__)
def test_a_release_that_cannot_be_served_leaves_a_process_that_lives_and_says_why(
    place: Place, spoil: Callable[[Place], str], caplog: pytest.LogCaptureFixture
):
    why = spoil(place)
    with client(place, ready=503) as http:
        assert http.get("/livez").status_code == 200
        for answer in (http.get("/readyz"), http.get("/v1/model"), http.post("/v1/predict", json=ASKED)):
            assert why in is_problem(answer, 503)["detail"]
        assert "Not ready" in http.get("/").text
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["not_ready"]


def test_a_load_that_fails_as_nobody_foresaw_leaves_a_process_that_says_so(place: Place, monkeypatch: pytest.MonkeyPatch):
    def fail(_: Any) -> Any:
        raise MemoryError("secret")

    monkeypatch.setattr("app.main.load", fail)
    with client(place, ready=503) as http:
        assert (
            is_problem(http.get("/readyz"), 503)["detail"] == "The release could not be loaded: MemoryError; the log says where."
        )


def test_a_process_that_leaves_is_not_ready_and_still_answers(http: Client):
    http.process.leave()
    is_problem(http.get("/readyz"), 503)
    answer = http.post("/v1/predict", json=ASKED)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")


def test_the_document_has_the_contract_in_it(http: Client):
    document = http.get("/openapi.json").json()
    properties = document["components"]["schemas"]["Customer"]["properties"]
    assert list(properties) == [field.name for field in FIELDS]
    months = {"title": "Tenure", "type": "integer", "minimum": 0, "maximum": 600, "description": "In months."}
    assert properties["tenure_months"] == months
    assert properties["total_charges_usd"]["anyOf"][0]["description"] == "In USD."
    assert {*document["paths"]} == {*http.process.metrics.routes} - {"unmatched"}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as documented", "not as documented"])
def test_no_answer_is_undocumented(http: Client, mode: GenerationMode):
    documented = schemathesis.openapi.from_url(f"{http.base_url}/openapi.json")
    operations = [found.ok() for found in documented.get_all_operations() if isinstance(found, Ok)]
    assert {operation.path for operation in operations} >= {*http.process.metrics.routes} - {"unmatched", "/openapi.json"}
    for operation in operations:
        if mode is GenerationMode.POSITIVE or operation.method == "post":

            @given(operation.as_strategy(generation_mode=mode))
            @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
            def asked(case: schemathesis.Case) -> None:
                case.call_and_validate()

            asked()
