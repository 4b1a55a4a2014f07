"""`churn serve`: the pod's process on this machine."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from app.bundle import fetch_bundle, sha256
from tests.app.support import wait_for
from training.bundle import write_bundle
from training.home import Home
from training.promote import Request, promote

CHURN = "from training.cli import main; main()"


@pytest.fixture
def released(trained_home: Home, tmp_path: Path) -> Home:
    home = Home(tmp_path)
    shutil.copytree(trained_home.var / "bundles", home.var / "bundles")
    shutil.copytree(trained_home.var / "evidence", home.var / "evidence")
    shutil.copy(trained_home.candidate, home.candidate)
    promote(home, Request(stack="local", created_by="ada@example.com"))
    return home


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return first.getsockname()[1], second.getsockname()[1]


def command(home: Home, port: int, metrics_port: int) -> list[str]:
    ports = ["--port", str(port), "--metrics-port", str(metrics_port)]
    return [sys.executable, "-c", CHURN, "--home", str(home.root), "serve", *ports]


@contextmanager
def serving(home: Home, port: int, metrics_port: int, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    with out.open("wb") as log, subprocess.Popen(command(home, port, metrics_port), stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


def refused(home: Home, port: int, metrics_port: int) -> str:
    ended = subprocess.run(command(home, port, metrics_port), capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_it_prints_a_curl_line_whose_answer_is_the_one_that_it_prints(released: Home, tmp_path: Path):
    port, metrics_port = free_ports()
    out = tmp_path / "out"
    with serving(released, port, metrics_port, out) as process:
        wait_for(lambda: "curl" in out.read_text() and out.read_text().endswith("}\n"), "the curl line", seconds=30)
        [line] = [line for line in out.read_text().splitlines() if line.startswith("curl")]
        printed = json.loads(out.read_text().splitlines()[-1])
        assert json.loads(line.partition(" -d ")[2].strip("'")).keys() == {
            "tenure_months",
            "monthly_charges_usd",
            "contract",
            "payment_method",
        }
        answer = asked(line, port)
        changing = {"prediction_id"}
        assert answer.keys() == printed.keys()
        assert {k: v for k, v in answer.items() if k not in changing} == {k: v for k, v in printed.items() if k not in changing}
        golden = fetch_bundle(released.bundles_url, released.candidate.read_text().strip()).golden
        assert answer["churn_probability"] == pytest.approx(golden.churn_probabilities[1], abs=1e-5)
        assert answer["version"] == "1.0.0"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert [*(released.var / "events").rglob("*")]


def test_when_it_is_killed_nothing_keeps_its_ports(released: Home, tmp_path: Path):
    port, metrics_port = free_ports()
    out = tmp_path / "out"
    with serving(released, port, metrics_port, out) as process:
        wait_for(lambda: "curl" in out.read_text(), "the curl line", seconds=30)
        process.kill()
        process.wait(10)
        for each in (port, metrics_port):
            socket.create_server(("127.0.0.1", each)).close()


def asked(line: str, port: int) -> dict[str, object]:
    if shutil.which("curl"):
        return json.loads(subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True).stdout)
    body = line.partition(" -d ")[2].strip("'").encode()
    url = f"http://localhost:{port}/v1/predict"
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:  # noqa: S310  # ours
        return json.load(response)


def test_without_a_release_it_says_what_to_run(tmp_path: Path):
    assert "local.json is not there; run `churn promote --stack local` first" in refused(Home(tmp_path), *free_ports())


class Imposter(BaseHTTPRequestHandler):
    """Answers that it is ready, whoever asks."""

    def do_GET(self) -> None:  # the library's name
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:  # type: ignore[override]
        """Say nothing."""


def test_a_port_that_another_server_has_is_refused_though_that_one_is_ready(released: Home):
    port, metrics_port = free_ports()
    with HTTPServer(("127.0.0.1", 0), Imposter) as other:
        thread = Thread(target=other.serve_forever)
        thread.start()
        try:
            assert f"the port is {other.server_port}: Address already in use" in refused(
                released, other.server_port, metrics_port
            )
            assert f"the metrics port is {other.server_port}: " in refused(released, port, other.server_port)
        finally:
            other.shutdown()
            thread.join()


def test_a_bundle_that_was_changed_is_named(released: Home):
    digest = released.candidate.read_text().strip()
    (released.bundle(digest) / "card.md").write_text("another")
    assert "card.md was changed" in refused(released, *free_ports())


def test_a_model_that_does_not_answer_as_it_should_leaves_it_alive_but_not_ready_saying_why(released: Home, tmp_path: Path):
    spoil(released)
    port, metrics_port = free_ports()
    out = tmp_path / "out"
    with serving(released, port, metrics_port, out) as process:
        wait_for(lambda: '"not_ready"' in out.read_text(), "the reason", seconds=30)
        assert process.poll() is None
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz")
    assert "golden.json row 0" in out.read_text()
    assert "curl" not in out.read_text()


def spoil(home: Home) -> None:
    """Release a bundle that is whole, but whose golden rows the model misses."""
    digest = home.candidate.read_text().strip()
    files = {path.name: path.read_bytes() for path in home.bundle(digest).iterdir()}
    golden = json.loads(files["golden.json"])
    golden["churn_probabilities"][0] += 0.1
    files["golden.json"] = json.dumps(golden).encode()
    manifest = json.loads(files["manifest.json"])
    manifest["files"]["golden.json"] = sha256(files["golden.json"])
    files["manifest.json"] = json.dumps(manifest).encode()
    spoilt = write_bundle(files, home).digest
    home.release("local").unlink()
    shutil.copy(home.evidence(digest), home.evidence(spoilt))
    promote(home, Request(stack="local", bundle=spoilt, created_by="ada@example.com"))
