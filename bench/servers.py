"""Servers to measure, each a process group of its own: what is sent to it, and what it takes of the machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.settings import Settings
from bench import load

CUSTOMER: dict[str, Any] = {
    "tenure_months": 5,
    "monthly_charges_usd": 70.35,
    "contract": "month-to-month",
    "payment_method": "electronic-check",
}
START_LIMIT_SECONDS = 120
# Timers and the like; looked at over several of the kernel's ticks.
LOOK_SECONDS, IDLE_SHARE = 0.2, 0.1
# Its code is compiled there; here by the first start, whatever the environment of this process says.
IMAGE_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "PYTHONOPTIMIZE": "2", "PYTHONDONTWRITEBYTECODE": ""}
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A running server and what to send it."""

    port: int
    content: bytes
    process: subprocess.Popen[bytes]
    start_seconds: float

    def resident_mb(self) -> float:
        """MiB of the process and its workers."""
        return sum(_resident_mb(pid) for pid in self._pids())

    def busy_seconds(self) -> float:
        """What the process and its workers have had of the processors so far."""
        return sum(_busy_seconds(pid) for pid in self._pids())

    def rest(self) -> None:
        """Wait until the process and its workers have nothing left to do."""
        busy_share = 1.0
        while busy_share > IDLE_SHARE:
            before = self.busy_seconds()
            time.sleep(LOOK_SECONDS)
            busy_share = (self.busy_seconds() - before) / LOOK_SECONDS

    def _pids(self) -> list[int]:
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [pid for pid in pids if _group_of(pid) == self.process.pid]


def ask(token: str | None = None) -> bytes:
    """The request for one prediction."""
    more = f"authorization: Bearer {token}\r\n" if token else ""
    return load.request("/v1/predict", json.dumps(CUSTOMER).encode(), more)


def app_server(settings: Settings, *, content: bytes, module: tuple[str, ...] = ("app",)) -> AbstractContextManager[Server]:
    """`python -m app` in the environment that the image gives it."""
    environ = {**os.environ, **IMAGE_ENVIRONMENT, **settings.environment()}
    return served([sys.executable, "-m", *module], settings.port, content, environ)


def floor_server(length: int) -> AbstractContextManager[Server]:
    """A constant answer of that length."""
    port = free_port()
    return _floor([str(Path(__file__).with_name("floor.py")), str(port)], port, length)


def granian_server(length: int) -> AbstractContextManager[Server]:
    """The same answer by granian, with one worker and the event loop that it runs best on."""
    port = free_port()
    options = ["--interface", "asgi", "--loop", "uvloop", "--port", str(port), "--no-ws", "--log-level", "error"]
    return _floor(["-m", "granian", *options, "bench.floor:app"], port, length)


def _floor(arguments: list[str], port: int, length: int) -> AbstractContextManager[Server]:
    return served([sys.executable, *arguments], port, ask(), {**os.environ, "FLOOR_BYTES": str(length)})


def mlflow_server(model: str, body: Any) -> AbstractContextManager[Server]:
    """MLflow's own server with one worker, asked for the same customer in the form that its model takes."""
    port = free_port()
    content = load.request("/invocations", json.dumps(body).encode())
    options = ["-m", model, "-p", str(port), "--env-manager", "local", "-w", "1"]
    # It starts uvicorn by name: the one beside this interpreter.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return served([sys.executable, "-m", "mlflow", "models", "serve", *options], port, content, {**os.environ, "PATH": path})


@contextmanager
def served(command: list[str], port: int, content: bytes, environ: dict[str, str] | None = None) -> Iterator[Server]:
    """The server once it has answered; a group of its own, so that its workers end with it."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)  # noqa: S603 # our own commands
        try:
            while not _answers(port, content):
                if process.poll() is not None or time.perf_counter() - started > START_LIMIT_SECONDS:
                    log.seek(0)
                    raise RuntimeError(f"{command} did not answer:\n{log.read().decode()[-3000:]}")
                time.sleep(0.002)
            yield Server(port, content, process, time.perf_counter() - started)
        finally:
            with suppress(ProcessLookupError):  # it ended by itself, and the log says why
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int, content: bytes) -> bool:
    try:
        return load.once(port, content).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None  # ended while the others were looked at


def _resident_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0.0
    return int(status.split("VmRSS:")[1].split()[0]) / 1024 if "VmRSS:" in status else 0.0


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _busy_seconds(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return 0.0
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS_PER_SECOND
