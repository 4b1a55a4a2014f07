"""The application: which routes there are, and what the process is at the moment."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.access import ROLES, Access, read_access
from app.api import Accepted, Batch, Outcomes, Predictions, State
from app.bundle import BundleError, StoreError
from app.contract import Customer
from app.events import EventLog
from app.metrics import Latency, Metrics
from app.openapi import document
from app.page import Page
from app.problems import ProblemError, reader
from app.protocol import Load
from app.release import ReleaseError
from app.service import Loaded, Service, load
from app.settings import Settings
from app.web import RETRY_AFTER, Admit, Endpoint, Headers, Room, log_failure, problem_answer

SERVICE_VERSION = "0.1.0"
GETS = ("/v1/model", "/livez", "/readyz", "/openapi.json", "/")
POSTS = ("/v1/predict", "/v1/predict/batch", "/v1/outcomes")
UNMATCHED = "unmatched"
# Batches that are worked on or wait for it: one of a thousand takes some ten milliseconds, and a few keep the thread busy.
MAX_BATCHES = 4
BATCH_SECONDS = 5.0
STORE_AGAIN_SECONDS = 5.0
# Of the seconds of grace: wait until nobody sends here any more, finish the requests, and the rest for the log.
WAIT_SHARE, DRAIN_SHARE = 0.25, 0.5

_T = TypeVar("_T")

logger = logging.getLogger("churn")
_encode = msgspec.json.Encoder().encode


class Process:
    """What this process is: loading, refusing its release, ready, or leaving."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics((*POSTS, *GETS, UNMATCHED))
        self.load = Load()
        self.service: Service | None = None
        self.not_ready = "The release is being loaded; ask again in a moment."
        self.leaving = False

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncGenerator[None, None]:
        """Load beside the event loop, so that the process says that it lives even while a store is slow."""
        loading = asyncio.create_task(self._load())
        yield
        self.leave()
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await loading
        if self.service:
            await self.service.close(self.settings.grace_seconds * (1 - WAIT_SHARE - DRAIN_SHARE))
        logger.info("stopped")

    def leave(self) -> None:
        """Say that no more requests should come. Those that do are answered all the same."""
        self.leaving = True
        self.metrics.ready = False

    def is_leaving(self) -> bool:
        return self.leaving

    def ready(self) -> Service:
        """The service. Raises ProblemError 503 saying why there is none."""
        if self.service is None:
            raise ProblemError(503, self.not_ready)
        return self.service

    async def _load(self) -> None:
        try:
            loaded = await self._loaded()
            self.service = Service(loaded, EventLog(self.settings.events), self.metrics)
        except (ReleaseError, BundleError) as exc:
            self.not_ready = str(exc)
            logger.error("not_ready", extra={"reason": str(exc)})
        except Exception as exc:  # noqa: BLE001 # not ready with a reason is better than gone without one
            self.not_ready = f"The release could not be loaded: {type(exc).__name__}; the log says where."
            log_failure(exc)
        else:
            self.metrics.ready = not self.leaving
            logger.info("ready", extra={"release": loaded.release.digest, "stack": loaded.release.stack})

    async def _loaded(self) -> Loaded:
        """What the settings name, however long its store is down: a restart would not bring it back any sooner."""
        while True:
            try:
                return await asyncio.to_thread(load, self.settings)
            except StoreError as exc:
                if self.not_ready != str(exc):
                    self.not_ready = str(exc)
                    logger.error("not_ready", extra={"reason": str(exc)})
                await asyncio.sleep(STORE_AGAIN_SECONDS)


class Application(Starlette):
    """Starlette with a shortcut to the routes that are asked for by their very names, past its layers for what is not."""

    def __init__(self, endpoints: dict[tuple[str, str], Endpoint], **more: Any) -> None:
        super().__init__(routes=[Route(path, each, methods=[method]) for (method, path), each in endpoints.items()], **more)
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        await (endpoint or super()).__call__(scope, receive, send)


def create_app(settings: Settings) -> Starlette:
    """The service of one release. `app.state.process` is what it is at the moment. Raises SettingsError for a bad token file."""
    process = Process(settings)
    routes = _routes(process, read_access(settings.tokens) if settings.tokens else None)
    app = Application(
        {("POST" if path in POSTS else "GET", path): endpoint for path, endpoint in routes.items()},
        exception_handlers={HTTPException: _no_such_route(process.metrics.routes[UNMATCHED])},
        lifespan=process.lifespan,
    )
    # A path is right or wrong; a redirect would hide a client's mistake and lose its body.
    app.router.redirect_slashes = False
    app.state.process = process
    return app


def _routes(process: Process, access: Access | None) -> dict[str, Endpoint]:
    page, openapi = Page(), _encode(document(SERVICE_VERSION, guarded=access is not None))
    batches = Room(MAX_BATCHES, lambda: process.metrics.refused.update(("batches",)))
    read_customer, read_batch, read_outcomes = reader(Customer), reader(Batch), reader(Outcomes)

    async def predict(body: bytes) -> bytes:
        return _encode(await process.ready().predict(read_customer(body)))

    async def predict_batch(body: bytes) -> bytes:
        with batches:
            predictions = await _in_time(process.ready().predict_batch(read_batch(body).customers))
        return _encode(Predictions(predictions=predictions))

    async def record(body: bytes) -> bytes:
        service = process.ready()
        outcomes = read_outcomes(body).outcomes
        service.record(outcomes)
        return _encode(Accepted(accepted=len(outcomes)))

    async def model_in_use(_: bytes) -> bytes:
        return _encode(process.ready().model_in_use)

    async def live(_: bytes) -> bytes:
        return _encode(State(status="live"))

    async def ready(_: bytes) -> bytes:
        if process.leaving:
            raise ProblemError(503, "The process is about to stop; ask another one.")
        process.ready()
        return _encode(State(status="ready"))

    async def describe(_: bytes) -> bytes:
        return openapi

    async def index(_: bytes) -> bytes:
        return page.render(process.service.release if process.service else None, process.not_ready)

    answers = dict(
        zip((*POSTS, *GETS), (predict, predict_batch, record, model_in_use, live, ready, describe, index), strict=True)
    )
    html = [(b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", page.policy.encode())]
    return {
        path: _endpoint(process, path, answer, _admit(access, path, batches), html if path == "/" else None)
        for path, answer in answers.items()
    }


def _admit(access: Access | None, path: str, batches: Room) -> Admit:
    """What is asked before a body is read: who it is, and whether there is room."""
    role, room = ROLES.get(path), batches.check if path == "/v1/predict/batch" else None
    if access is None or role is None:
        return room or _anybody
    known = partial(access.check, role)
    if room is None:
        return known

    def admit(headers: Headers) -> None:
        known(headers)
        room(headers)

    return admit


async def _in_time(answer: Awaitable[_T]) -> _T:
    try:
        return await asyncio.wait_for(answer, BATCH_SECONDS)
    except TimeoutError:
        detail = f"The batch was not scored within {BATCH_SECONDS:g} seconds; ask again."
        raise ProblemError(503, detail, headers=RETRY_AFTER) from None


def _anybody(_: Headers) -> None:
    pass


def _endpoint(
    process: Process, path: str, answer: Callable[[bytes], Awaitable[bytes]], admit: Admit, headers: Headers | None
) -> Endpoint:
    return Endpoint(
        answer,
        process.metrics.routes[path],
        process.is_leaving,
        admit,
        reads_json=path in POSTS,
        status=202 if path == "/v1/outcomes" else 200,
        headers=headers,
    )


def _no_such_route(seen: Latency) -> Callable[[Request, Exception], Response]:
    def answer(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)  # noqa: S101 # for the type checker: registered for this class alone
        detail = "There is no such route; /openapi.json lists those that there are."
        if exc.status_code == 405:  # noqa: PLR2004 # HTTP's number
            detail = f"{request.method} is not allowed here; use {(exc.headers or {}).get('Allow')}."
        status, headers, content = problem_answer(ProblemError(exc.status_code, detail, headers=exc.headers))
        seen.observe(status, 0.0)
        return Response(content, status, {name.decode("latin-1"): value.decode("latin-1") for name, value in headers})

    return answer
