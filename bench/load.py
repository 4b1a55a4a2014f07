"""A closed-loop HTTP load generator: a fixed number of kept connections, each sending its next request when its answer is here.

It spends a few microseconds of processor time on a request, so that on two cores the server is what is measured.
"""

import select
import socket
import time
from dataclasses import dataclass

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True)
class Load:
    """What one run measured."""

    requests_per_second: float
    median_ms: float
    p99_ms: float


def request(path: str, body: bytes, more: str = "") -> bytes:
    """The bytes of one POST; `more` is further lines of its head, each with its end."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{more}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def once(port: int, content: bytes) -> bytes:
    """The whole answer, head and body, to one request."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(content)
        while not _complete(answer):
            if not (part := connection.recv(65536)):
                raise ConnectionError("the server closed the connection")
            answer += part
    return answer


def run(port: int, content: bytes, connections: int, seconds: float) -> Load:
    """Send `content` over and over. Raises RuntimeError on any answer but 200."""
    sockets = {}
    poll = select.epoll()
    for _ in range(connections):
        connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[connection.fileno()] = connection
        poll.register(connection, select.EPOLLIN)
    try:
        took = _loop(poll, sockets, content, time.perf_counter() + seconds)
    finally:
        for connection in sockets.values():
            connection.close()
    took.sort()
    return Load(len(took) / seconds, 1000 * took[len(took) // 2], 1000 * took[int(len(took) * 0.99)])


def _loop(poll: select.epoll, sockets: dict[int, socket.socket], content: bytes, until: float) -> list[float]:
    took: list[float] = []
    sent: dict[int, float] = {}
    partial: dict[int, bytes] = {}
    for number, connection in sockets.items():
        connection.sendall(content)
        sent[number] = time.perf_counter()
    while (now := time.perf_counter()) < until:
        for number, _ in poll.poll(1.0):
            connection = sockets[number]
            answer = partial.pop(number, b"") + connection.recv(65536)
            if not _whole(answer):
                partial[number] = answer
                continue
            now = time.perf_counter()
            took.append(now - sent[number])
            sent[number] = now
            connection.sendall(content)
    return took


def _whole(answer: bytes) -> bool:
    if not answer:
        raise RuntimeError("the server closed a connection")
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the server answered {answer[:300]!r}")
    return _complete(answer)


def _complete(answer: bytes) -> bool:
    end = answer.find(_HEAD_END)
    if end < 0:
        return False
    head = answer[:end].lower()
    at = head.index(_LENGTH) + len(_LENGTH)
    return len(answer) >= end + len(_HEAD_END) + int(head[at:].split(b"\r\n", 1)[0])
