"""Requests without end: refused early, in memory that does not grow with them."""

import gzip
import json
import select
import socket
import zlib
from collections.abc import Iterator
from contextlib import suppress

import pytest

from app.web import MAX_BODY_BYTES
from bench import load
from tests.app.support import ASKED, ServerProcess
from tests.survival.conftest import Report
from tests.survival.hostile import MAX_GROWTH_BYTES, MIB, Memory, is_refused, make_place, parsed, port, post, ready

HUGE_BYTES = 300 * MIB
ONE = load.request("/v1/predict", json.dumps(ASKED).encode())
HEAD = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
SPACES = b" " * MIB
LETTERS = b"x" * MIB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ready(make_place(tmp_path_factory.mktemp("huge"))) as started:
        # What is made once is made: the largest body that is read, and answers of each kind.
        post(port(started), "/v1/predict", SPACES)
        post(port(started), "/v1/predict", b"x" * MAX_BODY_BYTES)
        post(port(started), "/v1/predict/batch", json.dumps({"customers": [ASKED] * 1000}).encode())
        yield started


def flood(at: int, head: bytes, part: bytes) -> bytes:
    """All that is answered while so much is sent, or as much of it as is taken."""
    answer, sent = b"", 0
    with socket.create_connection(("127.0.0.1", at), timeout=30) as connection, suppress(ConnectionError):
        try:
            connection.sendall(head)
            while sent < HUGE_BYTES:
                connection.sendall(part)
                sent += len(part)
                if select.select([connection], [], [], 0)[0] and not answer:
                    answer += connection.recv(65536)
        except ConnectionError:
            pass  # it was closed over what was on its way; what it said before is read next
        with suppress(TimeoutError):
            connection.settimeout(0.2)
            while told := connection.recv(65536):
                answer += told
    return answer


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        (b"content-length: %d\r\n\r\n" % HUGE_BYTES, SPACES),
        (b"transfer-encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n" % (MIB, SPACES)),
        (b"transfer-encoding: chunked\r\n\r\n%x\r\n" % HUGE_BYTES, SPACES),
    ],
    ids=["announced", "in chunks", "in one chunk"],
)
def test_a_huge_body_is_413_and_takes_no_memory(server: ServerProcess, lines: bytes, part: bytes, report: Report):
    memory = Memory(server.process.pid)
    answer = parsed(flood(port(server), HEAD + lines, part))
    assert is_refused(answer)
    assert answer.status == 413
    assert memory.growth_bytes <= MAX_GROWTH_BYTES
    report("MiB of memory for 300 MiB", memory.growth_bytes / MIB, limit="16")


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        (b"content-length: 100\r\n\r\n", SPACES),
        (b"content-length: 100\r\n\r\n", LETTERS),
        (b"content-length: 100\r\n\r\n", b"\r\n" * (MIB // 2)),
        (b"content-length: 0\r\n\r\n", LETTERS),
        (b"content-length: 100\r\ntransfer-encoding: chunked\r\n\r\n", SPACES),
        (b"content-length: -1\r\n\r\n", SPACES),
        (b"content-length: 1%s\r\n\r\n" % (b"0" * 30), SPACES),
        (b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n", SPACES),
        (b"transfer-encoding: chunked, gzip\r\n\r\n", SPACES),
    ],
    ids=["short", "letters", "lines", "none", "two lengths", "negative", "beyond numbers", "a chunk beyond", "chunked and more"],
)
def test_a_body_of_another_length_than_it_says_is_refused_and_takes_no_memory(server: ServerProcess, lines: bytes, part: bytes):
    memory = Memory(server.process.pid)
    # 100 bytes of it are a body, which is not JSON; the rest is no request.
    assert parsed(flood(port(server), HEAD + lines, part)).status in (400, 413)
    assert memory.growth_bytes <= MAX_GROWTH_BYTES


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (HEAD, b"x-more: %s\r\n" % (b"x" * 100) * 1000),
        (HEAD + b"x-more: ", LETTERS),
        (HEAD, LETTERS),
        (b"GET /", LETTERS),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nx-more: ", LETTERS),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n", b"x-more: %s\r\n" % (b"x" * 100) * 1000),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n1;", LETTERS),
    ],
    ids=["headers", "a header", "a header's name", "a path", "a trailer", "trailers", "a chunk's extension"],
)
def test_a_head_without_end_is_431_and_takes_no_memory(server: ServerProcess, head: bytes, part: bytes, report: Report):
    memory = Memory(server.process.pid)
    answer = parsed(flood(port(server), head, part))
    assert is_refused(answer)
    assert answer.status == 431
    assert b"\r\nconnection: close" in answer.head
    assert memory.growth_bytes <= MAX_GROWTH_BYTES
    report("MiB of memory for 300 MiB", memory.growth_bytes / MIB, limit="16")


def test_a_long_head_that_ends_is_answered(server: ServerProcess):
    lines = b"".join(b"x-%d: %s\r\n" % (number, b"x" * 1000) for number in range(30))
    assert parsed(load.once(port(server), ONE.replace(b"\r\n", b"\r\n" + lines, 1))).status == 200


def test_many_requests_at_once_on_one_connection_are_no_long_head(server: ServerProcess):
    many = 3000
    answer = b""
    with socket.create_connection(("127.0.0.1", port(server)), timeout=30) as connection:
        for _ in range(many // 100):
            connection.sendall(ONE * 100)
            while answer.count(b"HTTP/1.1") < 100 or not answer.endswith(b"}"):
                answer += connection.recv(2**20)
            assert answer.count(b"HTTP/1.1 200") == 100
            answer = b""


@pytest.mark.parametrize("line", ["content-encoding: gzip", "content-encoding: deflate", "transfer-encoding: gzip"])
def test_a_body_that_inflates_is_refused_and_never_inflated(server: ServerProcess, line: str):
    bomb = (zlib if "deflate" in line else gzip).compress(bytes(64 * MIB), 1)
    memory = Memory(server.process.pid)
    answer = post(port(server), "/v1/predict", bomb, line)
    assert is_refused(answer)
    assert memory.growth_bytes <= MAX_GROWTH_BYTES
