"""Clients by the hundred in one thread: kept connections that ask again when they are answered, or when they were told to."""

import heapq
import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from threading import Event

# `make soak` runs everything at full length.
SOAK = bool(os.environ.get("SOAK"))
SHARE = 1.0 if SOAK else 0.1


@dataclass
class Seen:
    """What a crowd saw: answers by status, how long each took, and connections that ended under it."""

    took_seconds: dict[int, list[float]] = field(default_factory=dict)
    lost: int = 0

    def count(self, status: int) -> int:
        return len(self.took_seconds.get(status, []))


def crowd(
    port: int,
    content: bytes,
    people: int,
    seconds: float,
    *,
    patient: bool = True,
    over: Event | None = None,
    heard: Callable[[int, bytes], object] | None = None,
) -> Seen:
    """So many clients for so long or until it is `over`; a patient one waits for a second, as it is told, after a 503.

    `heard` is told the status and the body of each answer.
    """
    seen, asked, parts = Seen(), dict[int, float](), dict[int, bytes]()
    over = over or Event()
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(people)]
        by_number = {each.fileno(): each for each in sockets}
        for number in by_number:
            poll.register(number, select.EPOLLIN)
        until = time.perf_counter() + seconds
        again = [(0.0, number) for number in by_number]
        while (now := time.perf_counter()) < until and not over.is_set():
            while again and again[0][0] <= now:
                number = heapq.heappop(again)[1]
                asked[number] = time.perf_counter()
                with suppress(ConnectionError):  # gone: that is read next
                    by_number[number].sendall(content)
            for number, _ in poll.poll(0.01):
                if not (part := _received(by_number[number])):
                    poll.unregister(number)
                    seen.lost += 1
                    continue
                answer = parts.pop(number, b"") + part
                head, end, body = answer.partition(b"\r\n\r\n")
                if not end or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0]):
                    parts[number] = answer
                    continue
                status, now = int(answer[9:12]), time.perf_counter()
                seen.took_seconds.setdefault(status, []).append(now - asked[number])
                if heard:
                    heard(status, body)
                # Not all at once, as clients are told everywhere.
                rest = 1.0 + number % 50 / 100 if status == 503 and patient else 0.0
                heapq.heappush(again, (now + rest, number))
    return seen


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""  # its end, by somebody who was killed
