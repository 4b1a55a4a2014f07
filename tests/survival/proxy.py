"""A balancer as small as one can be: it polls `/readyz`, sends to who is ready over kept connections, and never asks twice."""

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

POLL_SECONDS = 0.1
POLL_TIMEOUT_SECONDS = 2.0
_POLL = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_GONE = (OSError, asyncio.IncompleteReadError)
_NO_ANSWER = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"
_NOBODY_READY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(eq=False)
class Backend:
    """A process behind the proxy: whether it was ready when it was last asked, and how many answers of 200 it gave."""

    port: int
    ready: bool = False
    answered: int = 0
    idle: list[_Connection] = field(default_factory=list)

    def kept(self) -> _Connection | None:
        """A connection that nobody uses and that the process has not closed."""
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return None

    def close_idle(self) -> None:
        while self.idle:
            self.idle.pop()[1].close()


class Proxy:
    """Sends to each of `backends` that is ready in turn; whoever runs the processes says who they are."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self._turn = 0
        self.port: int = self._listener.getsockname()[1]
        self.backends: tuple[Backend, ...] = ()

    async def run(self, over: threading.Event) -> None:
        async with await asyncio.start_server(self._serve, sock=self._listener):
            while not over.is_set():
                await asyncio.gather(*map(_look, self.backends))
                await asyncio.sleep(POLL_SECONDS)
        for backend in self.backends:
            backend.close_idle()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(*_GONE), closing(writer):
            while True:
                writer.write(await self._answer(await _message(reader)))
                await writer.drain()

    async def _answer(self, request: bytes) -> bytes:
        ready = [each for each in self.backends if each.ready]
        if not ready:
            return _NOBODY_READY
        self._turn += 1
        backend = ready[self._turn % len(ready)]
        try:
            connection = backend.kept() or await _connect(backend)
            answer = await _asked(connection, request)
        except _GONE:
            return _NO_ANSWER
        # It says of one connection what is no business of those on the other side.
        kept = answer.replace(b"connection: close\r\n", b"", 1)
        if kept == answer and backend.ready:
            backend.idle.append(connection)
        else:
            connection[1].close()
        backend.answered += answer.startswith(b"HTTP/1.1 200")
        return kept


async def _look(backend: Backend) -> None:
    backend.ready = await _is_ready(backend)
    if not backend.ready:
        backend.close_idle()


async def _is_ready(backend: Backend) -> bool:
    try:
        async with asyncio.timeout(POLL_TIMEOUT_SECONDS):
            connection = await _connect(backend)
            with closing(connection[1]):
                return (await _asked(connection, _POLL)).startswith(b"HTTP/1.1 200")
    except (*_GONE, TimeoutError):
        return False


async def _connect(backend: Backend) -> _Connection:
    return await asyncio.open_connection("127.0.0.1", backend.port)


async def _asked(connection: _Connection, request: bytes) -> bytes:
    """The answer; a connection that gives none is closed."""
    reader, writer = connection
    try:
        writer.write(request)
        return await _message(reader)
    except BaseException:
        writer.close()
        raise


async def _message(reader: asyncio.StreamReader) -> bytes:
    """A request or an answer, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


@contextmanager
def balanced() -> Iterator[Proxy]:
    """A proxy in a thread of its own, with nobody behind it yet."""
    proxy, over = Proxy(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(proxy.run(over)))
    thread.start()
    try:
        yield proxy
    finally:
        over.set()
        thread.join()
