"""A bundle and a release that need no training: a logistic model over the contract's columns, made by hand."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import uvicorn
from onnx import TensorProto, helper, numpy_helper

from app.bundle import MODEL_INPUT, MODEL_OUTPUT, SCORE_BINS, Golden, Manifest, Reference, Shares, sha256
from app.contract import CONTRACT_DIGEST, FEATURES, Customer, matrix
from app.protocol import Protocol
from app.release import BusinessCase, Evidence, Image, Release, Variant, encode_release, sealed
from app.settings import Settings

NOW = datetime(2026, 1, 31, tzinfo=UTC)
ASKED = {"tenure_months": 5, "monthly_charges_usd": 70.5, "contract": "month-to-month", "payment_method": "electronic-check"}


def weights(tilt: float) -> np.ndarray:
    columns = np.linspace(-0.02, 0.3, len(FEATURES), dtype=np.float32)
    columns[:2] = (-0.03, 0.01)
    return columns * np.float32(1 + tilt)


def probability(customer: Customer, tilt: float = 0.0) -> float:
    """What the hand-made model must answer, worked out without it."""
    known = np.nan_to_num(matrix([customer])[0].astype(np.float64))
    return float(1 / (1 + np.exp(-(known @ weights(tilt).astype(np.float64) - 0.5))))


def graph(tilt: float = 0.0, features: int = len(FEATURES), *, unsqueezable: bool = False) -> bytes:
    """The model as ONNX; an `unsqueezable` one loads and cannot run."""
    constants = {
        "zero": np.float32(0),
        "w": weights(tilt)[:features, None],
        "b": np.array([-0.5], np.float32),
        "one": np.array([0 if unsqueezable else 1]),
    }
    nodes = [
        helper.make_node("IsNaN", [MODEL_INPUT], ["unknown"]),
        helper.make_node("Where", ["unknown", "zero", MODEL_INPUT], ["known"]),
        helper.make_node("MatMul", ["known", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["margin"]),
        helper.make_node("Sigmoid", ["margin"], ["column"]),
        helper.make_node("Squeeze", ["column", "one"], [MODEL_OUTPUT]),
    ]
    made = helper.make_graph(
        nodes,
        "logistic",
        [helper.make_tensor_value_info(MODEL_INPUT, TensorProto.FLOAT, ["n", features])],
        [helper.make_tensor_value_info(MODEL_OUTPUT, TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def bundle_files(tilt: float = 0.0, contract_digest: str = CONTRACT_DIGEST, **replaced: bytes) -> dict[str, bytes]:
    """A whole bundle; `golden=...`, `model=...`, `reference=...` replace a file, the manifest following."""
    customers = [Customer(**{**ASKED, "tenure_months": months}) for months in (0, 5, 72)]
    golden = Golden(customers=customers, churn_probabilities=[probability(c, tilt) for c in customers], tolerance=1e-5)
    even = {f.name: Shares(bins=list(f.bins), shares=[1 / len(f.bins)] * len(f.bins)) for f in FEATURES}
    scores = Shares(bins=list(SCORE_BINS), shares=[0.1] * 10)
    files = {
        "card.md": f"# Logistic, tilted by {tilt}\n".encode(),
        "golden.json": replaced.get("golden", msgspec.json.encode(golden)),
        "model.onnx": replaced.get("model", graph(tilt)),
        "reference.json": replaced.get("reference", msgspec.json.encode(Reference(fields=even, churn_probability=scores))),
    }
    manifest = Manifest(
        contract_digest=contract_digest,
        data_digest="d" * 64,
        algorithm="by hand",
        features_digest="f" * 64,
        seed=1,
        rows=3,
        parity_max_abs=0.0,
        versions={},
        files={name: sha256(content) for name, content in files.items()},
    )
    return {"manifest.json": msgspec.json.encode(manifest), **files}


def write_bundle(store: Path, files: Mapping[str, bytes]) -> str:
    digest = sha256(files["manifest.json"])
    for name, content in files.items():
        (store / digest).mkdir(parents=True, exist_ok=True)
        (store / digest / name).write_bytes(content)
    return digest


def variant(bundle_digest: str, role: Any = "champion", weight_percent: int = 100, version: str = "1.0.0") -> Variant:
    evidence = Evidence(
        evaluated_at=NOW,
        data_digest="d" * 64,
        contract_digest=CONTRACT_DIGEST,
        rows=3,
        seed=1,
        threshold=0.357143,
        metrics={},
        subgroups={},
        calibration_error=0.01,
        parity_max_abs=0.0,
    )
    return Variant(
        role=role,
        weight_percent=weight_percent,
        bundle_digest=bundle_digest,
        version=version,
        threshold=0.357143,
        evidence=evidence,
    )


def release(*variants: Variant) -> Release:
    image = Image(repository="example.org/churn", digest=f"sha256:{'a' * 64}", contract_digest=CONTRACT_DIGEST, commit="c" * 40)
    return sealed(
        Release(
            stack="dev",
            created_at=NOW,
            created_by="somebody@example.org",
            reason="first",
            image=image,
            variants=variants,
            business_case=BusinessCase(),
        )
    )


@dataclass(frozen=True)
class Place:
    """A folder with a bundle store, a release of one bundle and room for events."""

    root: Path

    def settings(self, **replaced: Any) -> Settings:
        told = {
            "release": self.root / "release.json",
            "bundles": (self.root / "bundles").as_uri(),
            "events": (self.root / "events").as_uri(),
            "port": 0,
            "metrics_port": 0,
            "grace_seconds": 2.0,
        }
        return Settings(**{**told, **replaced})

    def add_bundle(self, **what: Any) -> str:
        return write_bundle(self.root / "bundles", bundle_files(**what))

    def write_release(self, *variants: Variant) -> Release:
        written = release(*variants)
        (self.root / "release.json").write_bytes(encode_release(written))
        return written

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for path in (self.root / "events").glob("*.jsonl") for line in path.read_text().splitlines()]


class ServerProcess:
    """`python -m app`, started for real."""

    def __init__(self, settings: Settings, log: Path, **more: str) -> None:
        self._log = log
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CHURN_")}
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app"], env={**environ, **settings.environment(), **more}, stderr=stderr
            )

    def log(self) -> list[dict[str, Any]]:
        """What the process logged so far, line by line; anything but JSON fails the test that looks."""
        if self.process.poll() not in (None, 0):
            raise AssertionError(self._log.read_text())
        return [json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def said(self, event: str) -> dict[str, Any]:
        return wait_for(lambda: next((line for line in self.log() if line["event"] == event), None), f"a line {event}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.said('listening')['port']}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.said('listening')['metrics_port']}/metrics"

    def scrape(self) -> str:
        with urllib.request.urlopen(self.metrics_url, timeout=5) as answer:  # noqa: S310 # loopback
            return answer.read().decode()

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        self.process.send_signal(signal_number)
        return self.process.wait(20)


def wait_for(look: Callable[[], Any], what: str, seconds: float = 15) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come within {seconds} s")


def counted(server: ServerProcess, name: str) -> int:
    """What `churn_events_<name>` is at the moment."""
    [value] = re.findall(rf"^churn_events_{name} (\S+)$", server.scrape(), re.MULTILINE)
    return int(float(value))


@contextmanager
def serving(settings: Settings, log: Path, **more: str) -> Iterator[ServerProcess]:
    server = ServerProcess(settings, log, **more)
    try:
        server.said("listening")
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The address of the application, served as `python -m app` does but by a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, http=Protocol, loop="uvloop", lifespan="on", ws="none", log_config=None, server_header=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def aws(port: int) -> dict[str, str]:
    """The environment of a process whose object store is at this port of loopback."""
    told = {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x", "REGION": "us-east-1", "ALLOW_HTTP": "true"}
    return {f"AWS_{name}": value for name, value in {**told, "ENDPOINT": f"http://127.0.0.1:{port}"}.items()}


class Bucket:
    """An S3 endpoint on loopback that keeps what is put; the first `failures` times it is out of order."""

    def __init__(self, failures: int = 0) -> None:
        self.objects: dict[str, bytes] = {}
        self.failures = failures
        self.puts: list[str] = []
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                bucket.puts.append(self.path)
                bucket.failures -= 1
                if bucket.failures < 0:
                    bucket.keep(self.path, content)
                self.send_response(200 if bucket.failures < 0 else 403)
                self.send_header("etag", '"x"')
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # its name there
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def keep(self, path: str, content: bytes) -> None:
        self.objects[path] = content

    @contextmanager
    def open(self) -> Iterator[dict[str, str]]:
        """The environment of processes that write to it."""
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield aws(self.server.server_port)
        finally:
            self.server.shutdown()
            thread.join()
            self.server.server_close()

    def lines(self) -> list[bytes]:
        return [line for _, content in sorted(self.objects.items()) for line in content.splitlines()]
