"""The inference service against its floor and against `mlflow models serve`, measured in one run on one machine.

    python -m bench.serving [TABLE] [--seconds 5] [--rounds 3]

Trains histogram gradient boosting on TABLE (the Telco table) and serves it three ways: by this service, with events and metrics
on; by MLflow as the pipeline on a frame that a notebook would log; and by MLflow as the ONNX graph alone that `churn train`
registers. Rounds are interleaved, so that a noisy neighbour meets all of them, and the median counts. Only ratios mean anything
on shared cores. Writes bench/results/serving.json and serving.md.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import onnx
from mlflow.onnx import save_model  # pyright: ignore[reportUnknownVariableType]  # untyped keyword arguments

from app.bundle import MODEL_INPUT
from app.contract import Customer, matrix
from app.settings import Settings
from bench import load
from bench.frame_model import FrameModel
from training.candidates import BOOSTING, fit
from training.data import load_table
from training.home import REPOSITORY, Home
from training.prepare import clean, split
from training.promote import Request, promote
from training.settings import Settings as TrainingSettings
from training.train import Trained, train

RESULTS = Path(__file__).with_name("results")
CONNECTIONS = (1, 16, 64)
CUSTOMER: dict[str, Any] = {
    "tenure_months": 5,
    "monthly_charges_usd": 70.35,
    "contract": "month-to-month",
    "payment_method": "electronic-check",
}
_ASK = load.request("/v1/predict", json.dumps(CUSTOMER).encode())
STARTS = 5
START_LIMIT_SECONDS = 120
MLFLOW_FRAME, MLFLOW_ONNX = "mlflow (frame)", "mlflow (graph)"
APP = "app"
FLOOR = "floor"
IMAGE_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "PYTHONOPTIMIZE": "2"}


@dataclass
class Server:
    """A running server and what to send it."""

    port: int
    content: bytes
    process: subprocess.Popen[bytes]
    start_seconds: float

    def resident_mb(self) -> float:
        """Of the process and its workers, which share its group."""
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return sum(_resident_mb(pid) for pid in pids if _group_of(pid) == self.process.pid)


def main() -> None:
    """Train, measure, print, write."""
    told = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        trained = train(load_table(str(told.table)), home, TrainingSettings(only=BOOSTING.name))
        digest = trained.training.bundle_digest
        promote(home, Request(stack="local", created_by="bench", reason="to be measured"))
        settings = Settings(
            release=home.release("local"),
            bundles=home.bundles_url,
            events=(home.var / "events").as_uri(),
            port=_free_port(),
            metrics_port=0,
        )
        bodies = {
            MLFLOW_FRAME: (_frame_model(home, trained, told.table), {"dataframe_records": [CUSTOMER]}),
            MLFLOW_ONNX: (_onnx_model(home, digest), {"inputs": {MODEL_INPUT: matrix([Customer(**CUSTOMER)]).tolist()}}),
        }
        found = measure(settings, bodies, told.seconds, told.rounds)
    found |= {"bundle": digest, "algorithm": trained.training.chosen, "cores": os.cpu_count()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "serving.json").write_text(json.dumps(found, indent=2) + "\n")
    (RESULTS / "serving.md").write_text(table(found))
    sys.stdout.write(table(found))


def _frame_model(home: Home, trained: Trained, table: Path) -> str:
    """The same model as a data scientist would log it: a pipeline that takes a frame of the contract's fields."""
    rows = split(clean(load_table(str(table)))[0], trained.training.settings.seed).train
    own = next(one for one in trained.training.competitors if one.name == BOOSTING.name)
    pipeline = fit(BOOSTING, own.params, rows.matrix, rows.churned, trained.training.settings.seed)
    path = home.var / "frame_model"
    mlflow.pyfunc.save_model(str(path), python_model=FrameModel(pipeline), pip_requirements=[])
    return str(path)


def _onnx_model(home: Home, digest: str) -> str:
    path = home.var / "onnx_model"
    save_model(onnx.load(str(home.bundle(digest) / "model.onnx")), str(path), pip_requirements=[])
    return str(path)


def measure(settings: Settings, mlflow_models: dict[str, tuple[str, Any]], seconds: float, rounds: int) -> dict[str, Any]:
    """Requests a second by connections and server, starts and memory."""
    starts: dict[str, list[float]] = {APP: [], FLOOR: []}
    length = 0
    for _ in range(STARTS):
        with app_server(settings) as server:
            starts[APP].append(server.start_seconds)
            length = len(load.once(server.port, server.content).partition(b"\r\n\r\n")[2])
        with floor_server(length) as server:
            starts[FLOOR].append(server.start_seconds)
    with ExitStack() as stack:
        servers = {APP: stack.enter_context(app_server(settings)), FLOOR: stack.enter_context(floor_server(length))}
        for name, (model, body) in mlflow_models.items():
            servers[name] = stack.enter_context(mlflow_server(model, body))
        fresh = {name: server.resident_mb() for name, server in servers.items()}
        runs = [_round(servers, seconds) for _ in range(rounds)]
        resident = {name: server.resident_mb() for name, server in servers.items()}
    return {
        "rounds": rounds,
        "seconds": seconds,
        "answer_bytes": length,
        "start_seconds": {name: statistics.median(each) for name, each in starts.items()},
        "resident_mb_fresh": fresh,
        "resident_mb_after_load": resident,
        "load": {name: {str(c): _median([each[name, c] for each in runs]) for c in CONNECTIONS} for name in servers},
    }


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown, ratios beside them."""
    names = list(found["load"])
    about = (
        f"{found['algorithm']} of bundle {found['bundle'][:12]}, {found['cores']} cores shared by server and client, median of"
    )
    lines = [f"{about} {found['rounds']} interleaved rounds of {found['seconds']:g} s. `make bench` writes this.", ""]
    lines.append("| connections | " + " | ".join(f"{name}, req/s (p50 / p99 ms)" for name in names) + " | ")
    lines[-1] += " | ".join(f"app / {name}" for name in names[1:]) + " |"
    lines.append("|" + "---|" * (2 * len(names)))
    for connections in map(str, CONNECTIONS):
        rates = {name: found["load"][name][connections] for name in names}
        cells = [f"{r['requests_per_second']:,.0f} ({r['median_ms']:.2f} / {r['p99_ms']:.2f})" for r in rates.values()]
        ratios = [f"{rates[APP]['requests_per_second'] / rates[name]['requests_per_second']:.2f}" for name in names[1:]]
        lines.append("| " + " | ".join([connections, *cells, *ratios]) + " |")
    starts, fresh, loaded = found["start_seconds"], found["resident_mb_fresh"], found["resident_mb_after_load"]
    lines += ["", "| | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    lines.append("| start to first answer, s | " + " | ".join(f"{starts[n]:.2f}" if n in starts else "" for n in names) + " |")
    lines.append("| resident, MiB, fresh | " + " | ".join(f"{fresh[name]:.0f}" for name in names) + " |")
    lines.append("| resident, MiB, after the load | " + " | ".join(f"{loaded[name]:.0f}" for name in names) + " |")
    return "\n".join([*lines, ""])


def app_server(settings: Settings) -> AbstractContextManager[Server]:
    """`python -m app` in the environment that the image gives it."""
    environ = {**os.environ, **IMAGE_ENVIRONMENT, **settings.environment()}
    return _served([sys.executable, "-m", "app"], settings.port, _ASK, environ)


def floor_server(length: int) -> AbstractContextManager[Server]:
    """A constant answer of that length."""
    port = _free_port()
    return _served([sys.executable, str(Path(__file__).with_name("floor.py")), str(port), str(length)], port, _ASK)


def mlflow_server(model: str, body: Any) -> AbstractContextManager[Server]:
    """MLflow's own server with one worker, asked for the same customer in the form that its model takes."""
    port = _free_port()
    content = load.request("/invocations", json.dumps(body).encode())
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        model,
        "-p",
        str(port),
        "--env-manager",
        "local",
        "-w",
        "1",
    ]
    # It starts uvicorn by name: the one beside this interpreter.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return _served(command, port, content, {**os.environ, "PATH": path})


@contextmanager
def _served(command: list[str], port: int, content: bytes, environ: dict[str, str] | None = None) -> Iterator[Server]:
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


def _round(servers: dict[str, Server], seconds: float) -> dict[tuple[str, int], load.Load]:
    """One run of each server at each number of connections, taking turns."""
    return {
        (name, connections): load.run(server.port, server.content, connections, seconds)
        for connections in CONNECTIONS
        for name, server in servers.items()
    }


def _median(runs: list[load.Load]) -> dict[str, float]:
    return {name: statistics.median(getattr(run, name) for run in runs) for name in load.Load.__annotations__}


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None  # ended while the others were looked at


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024 if "VmRSS:" in status else 0.0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, nargs="?", default=REPOSITORY / "var" / "telco.csv")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
