import json
import re
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from schemathesis.core.result import Ok

from app.access import ROLES, read_access
from app.main import create_app
from app.settings import SettingsError
from tests.app.support import ASKED, Place, served, serving, wait_for

DOCS = Path(__file__).parents[2] / "docs" / "serving.md"
OLD, ROTATED_OUT = "churn_old-of-predict", "churn_rotated-out"
TOKENS = {role: f"churn_token-of-{role}" for role in ("predict", "feedback", "operate")}
HELD = {"none": None, "wrong": "churn_wrong", "rotated out": ROTATED_OUT, **TOKENS}
OUTCOME = {"prediction_id": "a", "churned": True, "offer_made": False, "observed_at": "2026-01-31T12:00:00Z"}
BODIES: dict[str, Any] = {
    "/v1/predict": ASKED,
    "/v1/predict/batch": {"customers": [ASKED]},
    "/v1/outcomes": {"outcomes": [OUTCOME]},
}


def hashed(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def write_tokens(place: Place) -> Path:
    """A file in the middle of a rotation: two tokens may predict."""
    hashes = {role: [hashed(token)] for role, token in TOKENS.items()}
    hashes["predict"].append(hashed(OLD))
    (place.root / "tokens.json").write_text(json.dumps(hashes))
    return place.root / "tokens.json"


@pytest.fixture
def http(place: Place) -> Iterator[httpx.Client]:
    with served(create_app(place.settings(tokens=write_tokens(place)))) as url, httpx.Client(base_url=url) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200, "a ready process")
        yield client


def documented() -> list[tuple[str, str, str, int]]:
    """Method, path, what is held and the status that the table in the docs has for it."""
    table = re.findall(r"^\|(.*)\|$", DOCS.read_text().partition("| route | none |")[2], re.MULTILINE)
    rows = [[cell.strip(" `") for cell in row.split("|")] for row in table]
    return [
        (*row[0].split(" "), held, int(status))
        for row in rows
        if re.match("(GET|POST) /", row[0]) and len(row) == len(HELD) + 1
        for held, status in zip(HELD, row[1:], strict=True)
    ]


def asked(http: httpx.Client, method: str, path: str, token: str | None) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return http.request(method, path, json=BODIES.get(path), headers=headers)


def test_every_route_answers_each_token_as_the_table_in_the_docs_says(http: httpx.Client):
    described = http.get("/openapi.json").json()["paths"]
    matrix = documented()
    assert {(method.lower(), path) for method, path, *_ in matrix} == {
        (each, path) for path in described for each in described[path]
    }
    for method, path, held, status in matrix:
        answer = asked(http, method, path, HELD[held])
        assert answer.status_code == status, (method, path, held)
        assert ("www-authenticate" in answer.headers) == (status == 401)
        if status in (401, 403):
            assert answer.headers["content-type"] == "application/problem+json"


def test_old_and_new_tokens_are_good_together(http: httpx.Client):
    assert [asked(http, "POST", "/v1/predict", each).status_code for each in (OLD, TOKENS["predict"])] == [200, 200]


@pytest.mark.parametrize("header", ["", "Bearer", "Basic {}", "{}", "Bearer {}x", "Bearer x{}", "Bearer {hash}"])
def test_what_is_no_token_does_not_open(http: httpx.Client, header: str):
    token = TOKENS["predict"]
    answer = http.post("/v1/predict", json=ASKED, headers={"authorization": header.format(token, hash=hashed(token))})
    assert answer.status_code == 401


def test_the_scheme_may_be_written_in_any_case(http: httpx.Client):
    answer = http.post("/v1/predict", json=ASKED, headers={"authorization": f"bearer {TOKENS['predict']}"})
    assert answer.status_code == 200


def test_a_stranger_learns_nothing_of_a_body_nor_of_the_release(http: httpx.Client, place: Place):
    for content in (b"{", b"x" * 2**21):
        assert http.post("/v1/predict", content=content, headers={"content-type": "text/plain"}).status_code == 401
    (place.root / "release.json").write_text("{}")
    with served(create_app(place.settings(tokens=write_tokens(place)))) as url:
        assert httpx.post(f"{url}/v1/predict", json=ASKED).status_code == 401


def test_the_document_names_the_role_of_each_route_only_where_tokens_are_asked_for(http: httpx.Client, place: Place):
    document = http.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    said = {path: each["security"] for path, item in document["paths"].items() for each in item.values() if "security" in each}
    assert said == {path: [{"token": [role]}] for path, role in ROLES.items()}
    with served(create_app(place.settings())) as url:
        assert '"security":' not in httpx.get(f"{url}/openapi.json").text


def test_no_answer_to_a_stranger_is_undocumented(http: httpx.Client):
    operations = schemathesis.openapi.from_url(f"{http.base_url}/openapi.json").get_all_operations()
    for operation in [found.ok() for found in operations if isinstance(found, Ok)]:
        for token in (None, TOKENS["feedback"], TOKENS["predict"]):
            case = operation.Case(body=BODIES[operation.path]) if operation.path in BODIES else operation.Case()
            headers = {"authorization": f"Bearer {token}"} if token else {}
            case.validate_response(case.call(headers=headers), headers=headers)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        ("churn_secret", "malformed"),
        ('{"predict": ["churn_secret"]}', "predict"),
        ('{"admin": []}', "admin"),
        ('{"predict": "churn_secret"}', "predict"),
        (f'{{"predict": ["{"A" * 64}"]}}', "predict"),
    ],
)
def test_a_file_that_is_not_one_of_hashes_is_refused_and_not_repeated(tmp_path: Path, content: str | None, why: str):
    path = tmp_path / "tokens.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=why) as refused:
        read_access(path)
    assert str(refused.value).startswith(f"CHURN_TOKENS is {path}: ")
    assert "secret" not in str(refused.value)


def test_a_made_token_is_good_with_the_hash_that_is_printed_beside_it(tmp_path: Path):
    made = [
        dict(
            line.split()
            for line in subprocess.run(
                [sys.executable, "-m", "app.access"], capture_output=True, text=True, check=True
            ).stdout.splitlines()
        )
        for _ in range(2)
    ]
    assert made[0]["token"] != made[1]["token"]
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps({"operate": [made[0]["sha256"]]}))
    read_access(path).check("operate", [(b"authorization", b"Bearer " + made[0]["token"].encode())])


def test_markers_of_customers_and_tokens_are_found_in_the_event_log_only(place: Place, tmp_path: Path):
    marker, token = "planted-marker", TOKENS["predict"]
    with serving(place.settings(tokens=write_tokens(place)), tmp_path / "log") as server:
        server.said("ready")
        answers = ""
        for authorization in (f"Bearer {token}", f"Bearer {TOKENS['feedback']}", f"Bearer {marker}", marker):
            for body in ({**ASKED, "customer_id": marker}, {**ASKED, "contract": marker}, {**ASKED, "tenure_months": marker}):
                for path, sent in (
                    ("/v1/predict", body),
                    ("/v1/predict/batch", {"customers": [body]}),
                    ("/v1/outcomes", {"outcomes": [{**OUTCOME, "churned": marker}]}),
                ):
                    answer = httpx.post(f"{server.url}{path}", json=sent, headers={"authorization": authorization})
                    answers += answer.text + str(answer.headers)
        figures = server.scrape()
        server.stop()
    told = answers + figures + (tmp_path / "log").read_text()
    assert marker not in told
    assert "churn_token-of" not in told
    assert [event["customer"]["customer_id"] for event in place.events()] == [marker] * 2
    kept = b"".join(path.read_bytes() for path in (place.root / "events").iterdir())
    assert b"churn_token-of" not in kept


def test_a_bad_file_of_tokens_ends_the_process_with_2(place: Place):
    environ = place.settings(tokens=place.root / "nowhere").environment()
    ended = subprocess.run([sys.executable, "-m", "app"], env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith("CHURN_TOKENS is ")
