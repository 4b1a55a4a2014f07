"""HTTP as uvicorn speaks it, for a world that may be slow or too many: what it takes in is bounded in time and in number."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from uvicorn import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.problems import ProblemError
from app.web import RETRY_AFTER, Headers, problem_answer

# A request that is not wholly here by then is none; looked at often enough to be closed within ten seconds.
READ_SECONDS = 8.0
# Of a request besides its body: its head, what frames its chunks, its trailers. uvicorn would gather them without end, and what
# is one line copy anew with every piece. Looked at after each read, of which one is 256 KiB at most.
MAX_HEAD_BYTES = 2**16
# Requests that are here and not answered. A core answers more than ten thousand a second, so the last of them waits for
# well under the 100 ms in which the next one wants to know that there is no room.
MAX_IN_FLIGHT = 256
# Each costs some kilobytes and a file descriptor while it is kept open.
MAX_CONNECTIONS = 2000
# Whoever decides about this process has to hear from it most of all when there is too much to do.
PROBES = (b"/livez", b"/readyz")

_CLOSE = (b"connection", b"close")


class Load:
    """What the connections of a process have to do together."""

    def __init__(self) -> None:
        self.receiving = 0


class _Sender:
    """ASGI's `send` for answers in one piece: head and content leave in one system call.

    uvicorn makes two, and the second costs as much as a fifth of a prediction.
    """

    def __init__(self, cycle: RequestResponseCycle, flow: FlowControl) -> None:
        self._cycle = cycle
        self._flow = flow
        self._head = b""

    async def __call__(self, message: Mapping[str, Any]) -> None:
        cycle = self._cycle
        if message["type"] == "http.response.start":
            headers: Headers = message["headers"]
            if _CLOSE in headers:
                cycle.keep_alive = False
            elif not cycle.keep_alive:
                headers = [*headers, _CLOSE]
            self._head = _head(message["status"], headers)
            return
        if self._flow.write_paused and not cycle.disconnected:
            await self._flow.drain()
        if cycle.disconnected:
            return
        # What HEAD asks for is announced and not sent.
        content = b"" if cycle.scope["method"] == "HEAD" else message["body"]
        cycle.transport.write(b"".join((self._head, b"\r\n", content)))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


class Protocol(HttpToolsProtocol):
    """One connection. What is no HTTP, comes too slowly or finds no room gets a problem, and costs next to nothing."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        process = cast(Any, config.app).state.process
        self._load: Load = process.load
        self._refused: Counter[str] = process.metrics.refused
        # When the request began that is not wholly here, and whether its headers are.
        self._reads_since: float | None = None
        self._receives = False
        # Since the request began or a piece of its body was here.
        self._head_bytes = 0
        self._stuck_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # uvicorn's own
        super().connection_made(transport)
        self._reads_since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._received()

    def data_received(self, data: bytes) -> None:
        if self._reads_since is None:
            self._reads_since = self.loop.time()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._give_up(ProblemError(431, f"What is not the body has more than {MAX_HEAD_BYTES:,} bytes; send fewer headers."))

    def on_headers_complete(self) -> None:
        """Take the request, or refuse it before anything is made of it."""
        crowded = len(self.connections) > MAX_CONNECTIONS
        if (crowded or len(self.tasks) - self._load.receiving >= MAX_IN_FLIGHT) and self._refusable():
            self._refuse(close=crowded)
            return
        # Counted apart until its body is here: who sends slowly takes nobody's place.
        self._load.receiving += 1
        self._receives = True
        super().on_headers_complete()
        self.cycle.send = _Sender(self.cycle, self.flow)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._head_bytes = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._received()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stuck_since = None

    def send_400_response(self, msg: str) -> None:
        """Answer and close the connection."""
        del msg
        self._end_with(ProblemError(400, "This is not a request of HTTP/1.1; see its method and headers."))

    def close_if_slow(self, now: float) -> None:
        """End the connection if its client has been sending one request, or taking one answer, for too long."""
        if self._stuck_since is not None and now - self._stuck_since > READ_SECONDS:
            self._refused["slow"] += 1
            self.transport.abort()  # to close it would be to wait for the client
        elif self._reads_since is not None and now - self._reads_since > READ_SECONDS and not self.transport.is_closing():
            self._refused["slow"] += 1
            self._give_up(ProblemError(408, f"The request did not come whole within {READ_SECONDS:g} seconds."))

    def _received(self) -> None:
        self._reads_since = None
        self._head_bytes = 0
        if self._receives:
            self._receives = False
            self._load.receiving -= 1

    def _refusable(self) -> bool:
        """Whether it is the connection's next answer, and nobody's probe."""
        cycle = self.cycle
        in_turn = cycle is None or cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]  # None before the first
        return in_turn and self.url not in PROBES

    def _refuse(self, *, close: bool) -> None:
        self._refused["busy"] += 1
        # Stands for a request that was answered, so that uvicorn drops its body.
        self.cycle = _ANSWERED
        self.transport.write(_BUSY)
        keep = self.parser is not None and self.parser.should_keep_alive()
        # After an unheeded `expect` nobody knows whether a body follows; and who does not read is not written to for ever.
        if close or self.expect_100_continue or self.flow.write_paused or not keep:
            self.transport.close()
        self.on_response_complete()

    def _give_up(self, problem: ProblemError) -> None:
        """Close the connection, with this problem for a client that asked and has no answer."""
        answered = self._receives and self.cycle.response_started
        if self.scope is None or answered:  # pyright: ignore[reportUnnecessaryComparison]  # None until a request begins
            self.transport.close()
        else:
            self._end_with(problem)

    def _end_with(self, problem: ProblemError) -> None:
        self.transport.write(_told(problem, _CLOSE))
        self.transport.close()


def _head(status: int, headers: Headers) -> bytes:
    return b"".join([STATUS_LINE[status], *[b"%s: %s\r\n" % header for header in headers]])


def _told(problem: ProblemError, *more: tuple[bytes, bytes]) -> bytes:
    status, headers, content = problem_answer(problem)
    return _head(status, [*headers, (b"content-length", b"%d" % len(content)), *more]) + b"\r\n" + content


_BUSY = _told(ProblemError(503, "There is too much to do at the moment; ask again in a second.", headers=RETRY_AFTER))
_ANSWERED: Any = SimpleNamespace(response_complete=True, response_started=True, message_event=asyncio.Event())
