"""A marker planted wherever a client can write: it is found in the event log and nowhere else."""

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.contract import FIELDS
from bench import load
from tests.app.support import ASKED, Place, ServerProcess, serving
from tests.app.test_access import OUTCOME, TOKENS, write_tokens
from tests.survival.hostile import BODIES, is_refused, make_place, parsed, port

MARKER = "planted-marker"
FORMS = [MARKER.encode(), MARKER.replace("-", "%2d").encode(), b64encode(MARKER.encode()), MARKER.encode().hex().encode()]
TOKEN = {"/v1/predict": "predict", "/v1/predict/batch": "predict", "/v1/outcomes": "feedback"}


def found(content: bytes) -> bool:
    return any(form.lower() in content.lower() for form in FORMS)


def request(path: str, body: bytes, *lines: str, method: str = "POST", token: str | None = None) -> bytes:
    """With the token of the route, unless another one is given, and header lines before those of every request."""
    held = TOKENS[TOKEN.get(path, "operate")] if token is None else token
    head = [f"{method} {path} HTTP/1.1", *lines, "host: x", f"authorization: Bearer {held}", "content-type: application/json"]
    return "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode("latin-1") + body


def taken() -> Iterator[bytes]:
    """Requests whose marker belongs into the event log."""
    customer = {**ASKED, "customer_id": MARKER}
    yield request("/v1/predict", json.dumps(customer).encode())
    yield request("/v1/predict/batch", json.dumps({"customers": [ASKED, customer]}).encode())
    yield request("/v1/outcomes", json.dumps({"outcomes": [{**OUTCOME, "prediction_id": MARKER}]}).encode())


def refused_bodies() -> Iterator[bytes]:
    """With the marker as a value of every field, and in bodies that are damaged, too large or not JSON."""
    for field in FIELDS:
        customer = {**ASKED, field.name: MARKER * 5}
        yield request("/v1/predict", json.dumps(customer).encode())
        yield request("/v1/predict/batch", json.dumps({"customers": [customer, MARKER]}).encode())
    for name in OUTCOME:
        yield request("/v1/outcomes", json.dumps({"outcomes": [{**OUTCOME, name: MARKER * 5}]}).encode())
    for path in BODIES:
        for body in (
            f'{{"customer_id": "{MARKER}"',
            f'{{"customer_id": "{MARKER}", "tenure_months": NaN}}',
            f'{{"customer_id": "{MARKER}\xff"}}',
            f'{{"customer_id": "\\ud800{MARKER}"}}',
            f'"{MARKER}"',
            f'["{MARKER}"]',
            f'{{"customers": "{MARKER}", "outcomes": "{MARKER}"}}',
            MARKER,
            "[" * 100_000 + MARKER,
            MARKER * 100_000,
        ):
            yield request(path, body.encode("latin-1"))
        yield request(path, MARKER.encode(), f"content-type: text/{MARKER}")


def other_places() -> Iterator[bytes]:
    """With the marker in the request's line, headers and tokens, and in what is no request."""
    body = json.dumps(ASKED).encode()
    for target in (f"/{MARKER}", f"/v1/{MARKER}", f"/v1/predict/{MARKER}", "/planted%2dmarker", f"http://{MARKER}/{MARKER}"):
        yield request(target, body)
        yield request(target, b"", method="GET")
    for target in (f"/v1/predict?customer_id={MARKER}", f"/v1/predict#{MARKER}", f"http://{MARKER}/v1/predict"):
        yield request(target, body)
    for name in ("host", "user-agent", "referer", "cookie", "x-request-id", "x-forwarded-for", "traceparent", MARKER):
        yield request("/v1/predict", body, f"{name}: {MARKER}")
        yield request(f"/{MARKER}", body, f"{name}: {MARKER}")
    for name in ("content-type", "content-encoding", "expect", "upgrade", "content-length", "transfer-encoding", "te"):
        yield request("/v1/predict", body, f"{name}: {MARKER}", "connection: upgrade")
    for token in (MARKER, TOKENS["predict"] + MARKER, f"{MARKER} {TOKENS['predict']}"):
        yield request("/v1/predict", body, token=token)
        yield request("/v1/model", b"", method="GET", token=token)
    yield request("/v1/predict", body, f"authorization: Basic {b64encode(MARKER.encode()).decode()}")
    yield request("/v1/predict", body, f"authorization: {MARKER}")
    yield request("/v1/predict", body, method=MARKER)
    yield request("/v1/predict", body, f"x-more: {MARKER * 20_000}")
    yield request("/v1/predict", b"", "transfer-encoding: chunked").replace(b"content-length: 0", b"x: y") + (
        f"1;{MARKER}\r\n{{\r\n0\r\nx-{MARKER}: {MARKER}\r\n\r\n".encode()
    )
    yield f"{MARKER}\r\n\r\n".encode()
    yield f"GET /livez {MARKER}\r\n\r\n".encode()
    yield f"GET /livez HTTP/1.1\r\n{MARKER}\r\n\r\n".encode()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


def all_but_events(place: Place) -> Iterator[Path]:
    for path in sorted(place.root.rglob("*")):
        if path.is_file() and not path.is_relative_to(place.root / "events"):
            yield path


def ask_all(server: ServerProcess) -> None:
    """Plant it everywhere, and look at every answer and figure."""
    for content in taken():
        answer = load.once(port(server), content)
        # A prediction has ids of its own; what was asked is not repeated.
        assert parsed(answer).status in (200, 202)
        assert not found(answer), answer
    for content in refused_bodies():
        answer = load.once(port(server), content)
        assert is_refused(parsed(answer)), content
        assert not found(answer), answer
    for content in other_places():
        answer = load.once(port(server), content)
        is_refused(parsed(answer))
        assert not found(answer), answer
    for path in ("/", "/openapi.json", "/readyz", "/livez", "/v1/model", "/v1/predict"):
        assert not found(load.once(port(server), request(path, b"", method="GET")))
    assert not found(server.scrape().encode())


def test_a_marker_is_found_in_the_event_log_and_nowhere_else(place: Place, capfd: pytest.CaptureFixture[str]):
    folder = place.root / "tmp"
    folder.mkdir()
    settings = place.settings(tokens=write_tokens(place))
    with serving(settings, place.root / "log", TMPDIR=str(folder), HOME=str(folder)) as server:
        server.said("ready")
        ask_all(server)
        assert server.stop() == 0
        server.log()  # every line is of JSON
    looked_at = list(all_but_events(place))
    assert place.root / "log" in looked_at
    assert [path for path in looked_at if found(path.read_bytes()) or found(path.name.encode())] == []
    assert not found("".join(capfd.readouterr()).encode())
    kept = [event for event in place.events() if found(json.dumps(event).encode())]
    assert [event["kind"] for event in kept] == ["prediction", "prediction", "outcome"]
    assert [event.get("customer", {}).get("customer_id") or event["prediction_id"] for event in kept] == [MARKER] * 3


def test_the_name_of_a_field_that_there_is_not_is_told_to_its_sender_alone(place: Place):
    with serving(place.settings(), place.root / "log") as server:
        server.said("ready")
        answer = parsed(load.once(port(server), load.request("/v1/predict", json.dumps({**ASKED, MARKER: MARKER}).encode())))
        assert json.loads(answer.body)["errors"] == [{"pointer": f"/{MARKER}", "detail": "there is no such field; leave it out"}]
        assert not found(server.scrape().encode())
        assert server.stop() == 0
    assert not any(found(path.read_bytes()) for path in all_but_events(place))
    assert place.events() == []
