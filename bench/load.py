"""An HTTP load generator over a fixed number of kept connections.

`run` is closed-loop: each connection sends its next request when its answer is here. `paced` is open-loop: requests are due at an
even rate whatever the answers take. It spends a few microseconds of processor time on a request, so that on two cores the server
is what is measured.
"""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
    with _connected(port, connections) as sockets:
        return _figures(_loop(sockets, content, time.perf_counter() + seconds), seconds)


def paced(port: int, content: bytes, connections: int, requests_per_second: float, seconds: float) -> list[float]:
    """Send `content` at an even rate; the seconds that each answer took from when its request was due. Raises as `run`."""
    with _connected(port, connections) as sockets:
        return _open_loop(sockets, content, 1 / requests_per_second, seconds)


@contextmanager
def _connected(port: int, connections: int) -> Iterator[dict[int, socket.socket]]:
    """Sockets by file descriptor."""
    with ExitStack() as stack:
        sockets: dict[int, socket.socket] = {}
        for _ in range(connections):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sockets[connection.fileno()] = connection
        yield sockets


def _figures(took: list[float], seconds: float) -> Load:
    took.sort()
    return Load(len(took) / seconds, 1000 * took[len(took) // 2], 1000 * took[int(len(took) * 0.99)])


def _open_loop(sockets: dict[int, socket.socket], content: bytes, apart: float, seconds: float) -> list[float]:
    took: list[float] = []
    asked: dict[int, float] = {}
    partial: dict[int, bytes] = {}
    free = list(sockets)
    due = time.perf_counter()
    until = due + seconds
    while due < until or asked:
        while free and due < until and due <= time.perf_counter():
            asked[number := free.pop()] = due
            sockets[number].sendall(content)
            due += apart
        # Not epoll, which waits for whole milliseconds.
        wait = max(0.0, due - time.perf_counter()) if free and due < until else 30.0
        for number in select.select(asked, (), (), wait)[0]:
            answer = partial.pop(number, b"") + sockets[number].recv(65536)
            if _whole(answer):
                took.append(time.perf_counter() - asked.pop(number))
                free.append(number)
            else:
                partial[number] = answer
    return took


def _loop(sockets: dict[int, socket.socket], content: bytes, until: float) -> list[float]:
    poll = select.epoll()
    for number in sockets:
        poll.register(number, select.EPOLLIN)
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
