"""`python -m app`: one process that serves one release until it is told to stop."""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from datetime import UTC, datetime
from types import FrameType
from typing import Any, cast

# Read when numpy loads: its linear algebra is not used, and would keep memory for a thread per core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import uvicorn
from prometheus_client import start_http_server
from starlette.applications import Starlette
from uvicorn.server import HANDLED_SIGNALS

from app.main import DRAIN_SHARE, WAIT_SHARE, Process, create_app
from app.metrics import registry
from app.protocol import Protocol
from app.settings import Settings, SettingsError

# Longer than the balancer's idle timeout of 60 s, or it sends requests into connections that close under it.
KEEP_ALIVE_SECONDS = 75
# Of uvicorn's ticks, of which there are ten in a second.
TICKS_BETWEEN_LOOKS = 5
# For how long the thread that prepares a batch may keep the interpreter from the event loop; 5 ms unless told otherwise.
SWITCH_SECONDS = 0.0005
BAD_INPUT = 2
_PLAIN = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object for each line: time, level, event and what else was said with it."""

    def format(self, record: logging.LogRecord) -> str:
        said = {name: value for name, value in vars(record).items() if name not in _PLAIN}
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": time, "level": record.levelname.lower(), "event": record.getMessage(), **said}, default=str)


class Server(uvicorn.Server):
    """Leaves in order: not ready at once, a wait until nobody sends any more, then no new connections, then the end."""

    def __init__(self, config: uvicorn.Config, process: Process) -> None:
        super().__init__(config)
        self._process = process

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 # uvicorn's signature
        """Take the signal instead of uvicorn, which would drop idle connections at once and die of the signal in the end."""
        if sig == signal.SIGINT or self._process.leaving or not self.started:
            self._process.leave()
            self.should_exit = True  # somebody at a keyboard waits, or was told to twice, or nobody has been served yet
        else:
            self._process.leave()
            asyncio.get_running_loop().call_later(self._process.settings.grace_seconds * WAIT_SHARE, self._stop)
        logging.getLogger("churn").info("stopping", extra={"signal": signal.Signals(sig).name})

    async def on_tick(self, counter: int) -> bool:
        """Look after slow connections now and then: a timer for each request would cost more than all of them together."""
        if counter % TICKS_BETWEEN_LOOKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in tuple(self.server_state.connections):
                cast(Protocol, connection).close_if_slow(now)
        return await super().on_tick(counter)

    def _stop(self) -> None:
        self.should_exit = True


def main() -> int:
    """Serve until a signal; the exit code, 2 for settings that cannot be used."""
    logging.basicConfig(handlers=[_handler()], level=logging.INFO)
    # Its warnings are about what clients send: a line for each would let anybody fill the log.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    try:
        settings = Settings.load(os.environ)
    except SettingsError as exc:
        return _refuse(str(exc))
    try:
        listener = socket.create_server((settings.host, settings.port), backlog=2048)
    except OSError as exc:
        return _refuse(
            f"CHURN_HOST is {settings.host}, CHURN_PORT is {settings.port}: {exc}; give an address here and a free port"
        )
    try:
        app = create_app(settings)
    except SettingsError as exc:
        return _refuse(str(exc))
    process: Process = app.state.process
    try:
        metrics_server, _ = start_http_server(settings.metrics_port, settings.host, registry(process.metrics))
    except OSError as exc:
        return _refuse(f"CHURN_METRICS_PORT is {settings.metrics_port}: {exc}; give a free port")
    sys.setswitchinterval(SWITCH_SECONDS)
    server = Server(_config(app, settings), process)
    # Before anybody is told that it listens, and so may end it; uvicorn takes signals only once its loop runs.
    for number in HANDLED_SIGNALS:
        signal.signal(number, server.handle_exit)
    ports: dict[str, Any] = {"port": listener.getsockname()[1], "metrics_port": metrics_server.server_port}
    logging.getLogger("churn").info("listening", extra={"host": settings.host, **ports})
    server.run(sockets=[listener])
    return 0


def _config(app: Starlette, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Protocol,
        loop="uvloop",
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks who the client is
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(settings.grace_seconds * DRAIN_SHARE)),
    )


def _handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    return handler


def _refuse(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
