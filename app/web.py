"""One ASGI endpoint for every route: bytes in, bytes out, problems and figures on the way."""

import logging
import traceback
from collections.abc import Awaitable, Callable
from time import perf_counter

from starlette.types import Message, Receive, Scope, Send

from app.metrics import Latency
from app.problems import PROBLEM_TYPE, ProblemError

MAX_BODY_BYTES = 2**20
JSON = b"application/json"
# nginx's number for it; it reaches the metrics only.
CLIENT_WENT_AWAY = 499

RETRY_AFTER = {"Retry-After": "1"}

Headers = list[tuple[bytes, bytes]]
Admit = Callable[[Headers], None]
logger = logging.getLogger("churn.web")


class Endpoint:
    """An ASGI application that answers what `answer` returns of the body; without `reads_json` the body is left alone.

    `admit` raises ProblemError for a request that is refused unread. `leaving` tells that the process is about to stop, so that
    clients keep no connection to it.
    """

    def __init__(
        self,
        answer: Callable[[bytes], Awaitable[bytes]],
        seen: Latency,
        leaving: Callable[[], bool],
        admit: Admit,
        *,
        reads_json: bool,
        status: int = 200,
        headers: Headers | None = None,
    ) -> None:
        self._answer = answer
        self._observe = seen.observe
        self._leaving = leaving
        self._admit = admit
        self._reads_json = reads_json
        self._status = status
        self._headers = headers or [(b"content-type", JSON)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        status, headers = self._status, self._headers
        try:
            self._admit(scope["headers"])
            content = await self._answer(await _json_body(scope, receive) if self._reads_json else b"")
        except ProblemError as problem:
            status, headers, content = problem_answer(problem)
        except _ClientWentAwayError:
            self._observe(CLIENT_WENT_AWAY, perf_counter() - started)
            return
        except Exception as exc:  # noqa: BLE001 # whatever it is, the client gets a problem and the log the place
            log_failure(exc)
            status, headers, content = problem_answer(ProblemError(500, "The service failed to answer; its log says why."))
        headers = [*headers, (b"content-length", b"%d" % len(content))]
        if self._leaving():
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        self._observe(status, perf_counter() - started)


class Room:
    """Room for so many at once: entered with `with`, looked at with `check`, which raises ProblemError 503 when there is none."""

    def __init__(self, places: int, refused: Callable[[], None]) -> None:
        self._free = places
        self._refused = refused

    def check(self, _: Headers | None = None) -> None:
        if not self._free:
            self._refused()
            raise ProblemError(503, "Too much is being worked on; ask again in a second.", headers=RETRY_AFTER)

    def __enter__(self) -> None:
        self.check()
        self._free -= 1

    def __exit__(self, *_: object) -> None:
        self._free += 1


def problem_answer(problem: ProblemError) -> tuple[int, Headers, bytes]:
    """Status, headers and content of a problem."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in problem.headers.items()]
    return problem.status, [(b"content-type", PROBLEM_TYPE), *headers], problem.content


def log_failure(exc: BaseException, event: str = "request_failed") -> None:
    """Log where it happened and what kind of error it was; its message may hold what a customer sent."""
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(exc.__traceback__)]
    logger.error(event, extra={"error": type(exc).__name__, "places": places})


class _ClientWentAwayError(Exception):
    pass


async def _json_body(scope: Scope, receive: Receive) -> bytes:
    _check_headers(scope["headers"])
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message["body"]
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
        return body
    return await _long_body(message, receive)


async def _long_body(message: Message, receive: Receive) -> bytes:
    body = bytearray()
    while message["type"] == "http.request":
        body += message["body"]
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
        if not message.get("more_body"):
            return bytes(body)
        message = await receive()
    raise _ClientWentAwayError


def _check_headers(headers: Headers) -> None:
    content_type = b""
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length" and int(value) > MAX_BODY_BYTES:
            raise _too_large()
    if content_type != JSON and content_type.split(b";")[0].strip().lower() != JSON:
        raise ProblemError(415, "The body must be JSON; send the header content-type: application/json.")


def _too_large() -> ProblemError:
    return ProblemError(413, f"The body is larger than {MAX_BODY_BYTES:,} bytes; send fewer customers at once.")
