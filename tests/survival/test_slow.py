"""Clients that send slowly or take nothing: they are let go, and nobody else notices."""

import json
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from bench import load
from tests.app.support import ASKED, Place, ServerProcess, serving, variant, wait_for
from tests.survival.conftest import Report
from tests.survival.crowd import Seen, crowd

SLOW = 500
LIMIT_SECONDS = 10
HEAD = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
ONE = load.request("/v1/predict", json.dumps(ASKED).encode())
# What each kind says first, and then letter by letter.
KINDS = {
    "nothing": (b"", b""),
    "empty lines": (b"", b"\r\n" * 100),
    "a slow head": (HEAD, b"x-more: " + b"x" * 200),
    "a slow body": (HEAD + b"content-length: 4000\r\n\r\n{", b" " * 200),
    "a slow part": (HEAD + b"transfer-encoding: chunked\r\n\r\nff\r\n{", b" " * 200),
    "a slow second request": (ONE + HEAD, b"x-more: " + b"x" * 200),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    place = Place(tmp_path)
    place.write_release(variant(place.add_bundle()))
    with serving(place.settings(), tmp_path / "log") as started:
        started.said("ready")
        yield started
        assert started.stop() == 0


def dribble(port: int, people: list[tuple[bytes, bytes]]) -> list[tuple[float, bytes]]:
    """How long each connection was left open, and all that it was told."""
    ended: dict[int, float] = {}
    told = [b""] * len(people)
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5)) for _ in people]
        started = time.monotonic()
        for number, ((first, _), each) in enumerate(zip(people, sockets, strict=True)):
            each.sendall(first)
            selector.register(each, selectors.EVENT_READ, number)
        for turn in range(10_000):
            if len(ended) == len(people) or time.monotonic() - started > 3 * LIMIT_SECONDS:
                break
            for number, (_, rest) in enumerate(people):
                if turn % 10 == 0 and number not in ended and (letter := rest[turn // 10 : turn // 10 + 1]):
                    _send(sockets[number], letter)
            for key, _ in selector.select(0.02):
                part = _receive(sockets[key.data])
                told[key.data] += part
                if not part:
                    ended[key.data] = time.monotonic() - started
                    selector.unregister(key.fileobj)
    return [(ended.get(number, float("inf")), told[number]) for number in range(len(people))]


def _send(connection: socket.socket, letter: bytes) -> None:
    with suppress(OSError):  # closed just now: it is read next
        connection.send(letter)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""  # closed over letters that were on their way


def test_slow_clients_are_closed_within_ten_seconds_while_others_are_answered(server: ServerProcess, report: Report):
    port = server.said("listening")["port"]
    seen: list[Seen] = []
    others = threading.Thread(target=lambda: seen.append(crowd(port, ONE, 2, LIMIT_SECONDS)))
    others.start()
    kinds = [KINDS[name] for name in list(KINDS) * (SLOW // len(KINDS) + 1)][:SLOW]
    ends = dribble(port, kinds)
    others.join()
    slowest = max(seconds for seconds, _ in ends)
    [normal] = seen
    answers = sum(map(len, normal.took_seconds.values()))
    report("slow sockets", SLOW)
    report("the last of them closed after, s", slowest, f"{LIMIT_SECONDS}")
    report("share of normal requests answered 200", normal.count(200) / (answers + normal.lost), ">= 0.999")
    assert slowest <= LIMIT_SECONDS
    assert normal.count(200) >= 0.999 * (answers + normal.lost)
    assert f'churn_refused_total{{reason="slow"}} {SLOW}.0' in server.scrape()


def test_a_slow_client_is_told_so_if_it_asked_and_has_no_answer(server: ServerProcess):
    port = server.said("listening")["port"]
    ends = dict(zip(KINDS, dribble(port, list(KINDS.values())), strict=True))
    assert [ends[name][1] for name in ("nothing", "empty lines")] == [b"", b""]
    for name in ("a slow head", "a slow body", "a slow part"):
        head, _, body = ends[name][1].partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\n"), name
        assert json.loads(body)["status"] == 408
    first, _, second = ends["a slow second request"][1].partition(b"HTTP/1.1 408")
    assert first.startswith(b"HTTP/1.1 200")
    assert second


def test_who_sends_a_refused_body_slowly_is_let_go_without_another_word(server: ServerProcess):
    port = server.said("listening")["port"]
    [(seconds, told)] = dribble(port, [(HEAD + b"content-length: 3000000\r\n\r\n", b" " * 200)])
    assert seconds <= LIMIT_SECONDS
    assert told.startswith(b"HTTP/1.1 413")
    assert told.count(b"HTTP/1.1") == 1


def test_who_takes_no_answers_is_let_go(server: ServerProcess):
    batch = load.request("/v1/predict/batch", json.dumps({"customers": [ASKED] * 1000}).encode())
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(2)
        connection.connect(("127.0.0.1", server.said("listening")["port"]))
        with suppress(TimeoutError):  # the server reads no more of it
            for _ in range(200):
                connection.sendall(batch)
        wait_for(lambda: 'churn_refused_total{reason="slow"} 1.0' in server.scrape(), "the end of it", LIMIT_SECONDS + 5)
