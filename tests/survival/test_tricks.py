"""Paths and URLs that would lead elsewhere in a server of files or a proxy: here they lead to a route of the table or nowhere."""

import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from app.main import GETS, POSTS
from bench import load
from tests.app.support import ASKED, ServerProcess
from tests.survival.hostile import Watch, is_refused, make_place, parsed, port, ready, watched

CANARY = b"nobody may read this canary"
BODY = json.dumps(ASKED).encode()


class Served(NamedTuple):
    server: ServerProcess
    root: str
    watch: Watch


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = make_place(tmp_path_factory.mktemp("tricks"))
    (place.root / "canary").write_bytes(CANARY)
    with watched(place.root / "canary") as watch, ready(place) as server:
        yield Served(server, str(place.root), watch)


NOWHERE = [
    "/canary",
    "/../canary",
    "/../../../../../../../../../etc/passwd",
    "/..%2fcanary",
    "/%2e%2e/canary",
    "/%2e%2e%2fcanary",
    "/%252e%252e%252fcanary",
    "/..%5ccanary",
    "/..%c0%afcanary",
    "/..%ef%bc%8fcanary",
    "/....//canary",
    "/.%00./canary",
    "/canary%00.html",
    "{root}/canary",
    "/{root}/canary",
    "/%2f{root}/canary",
    "/file://{root}/canary",
    "/proc/self/environ",
    "/page.html",
    "/app/page.html",
    "/static/../canary",
    "/.git/config",
    "/.env",
    "/openapi.json/../canary",
    "/openapi.json%00",
    "/openapi.json;x=y",
    "/v1/predict/%2e%2e/canary",
    "/v1/predict/..",
    "/v1/predict/",
    "/v1//predict",
    "//v1/predict",
    "/v1/predict%20",
    "/v1/predict%0d%0aset-cookie:%20x=y",
    "/v1%2fpredict%2f",
    "/V1/PREDICT",
    "/v1/predict/batch/..",
    "/metrics",
    "/v1/explain",
    "/$(touch%20ran)",
    "/{{7*7}}",
    "/%s%n%x",
    "/\u00fcber",
    "http:",
]
# Which say the same as a route of the table: with another host, with a query, or written otherwise.
SAME = [
    "/v1/predict?next=file://{root}/canary",
    "/v1/predict?../../canary",
    "/v1/predict#../canary",
    "http://elsewhere.example/v1/predict",
    "http://169.254.169.254/v1/predict",
    "/%76%31/predict",
]
NO_TARGETS = [
    "http://169.254.169.254/latest/meta-data/",
    "file://{root}/canary",
    "gopher://127.0.0.1/_x",
    "canary",
    "../canary",
    "*",
    "?x",
    "127.0.0.1:22",
    "/a b",
    "/a\tb",
    "/\0",
    "/\x7f",
]


def asked(served: Served, method: str, target: str) -> bytes:
    line = f"{method} {target.replace('{root}', served.root)} HTTP/1.1\r\n".encode()
    head = b"host: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY)
    answer = load.once(port(served.server), line + head + BODY)
    assert CANARY not in answer
    assert b"root:" not in answer
    assert not served.watch.opened()
    # Nothing of the target becomes a line of the answer's head.
    assert b"set-cookie" not in answer.lower()
    assert b"location:" not in answer.lower()
    return answer


@pytest.mark.parametrize("target", [*NOWHERE, *NO_TARGETS], ids=ascii)
def test_a_trick_leads_nowhere(served: Served, target: str):
    for method in ("POST", "GET"):
        answer = parsed(asked(served, method, target))
        assert is_refused(answer)
        assert answer.status in (400, 404)


@pytest.mark.parametrize("target", SAME, ids=ascii)
def test_a_target_that_says_the_same_is_the_route(served: Served, target: str):
    assert parsed(asked(served, "POST", target)).status == 200
    assert parsed(asked(served, "GET", target)).status == 405


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "OPTIONS", "PROPFIND", "PUT", "DELETE", "COPY", "PURGE"])
def test_another_method_does_nothing(served: Served, method: str):
    targets = ("127.0.0.1:22",) if method == "CONNECT" else ("/canary", "/v1/predict", "*" if method == "OPTIONS" else "/")
    for target in targets:
        answer = parsed(asked(served, method, target))
        assert is_refused(answer)
        assert answer.status in (400, 404, 405)
        assert BODY not in answer.body  # TRACE would send back what it got


def test_there_are_sixty_tricks_and_none_is_a_route():
    assert len({*NOWHERE, *NO_TARGETS, *SAME}) >= 60
    assert not {*NOWHERE, *NO_TARGETS, *SAME} & {*GETS, *POSTS}
