import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from images.describe import LOCKS
from tests.image.conftest import CHECKOUT

BIN = Path(sys.executable).parent


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("lock", LOCKS.values())
def test_every_locked_package_has_a_wheel_for_both_kinds_of_machines(lock: str, machine: str, tmp_path: Path):
    # Nothing is installed or fetched: uv looks for a wheel of the base's platform with a hash that the lock names.
    platform = ["--python-platform", f"{machine}-unknown-linux-gnu", "--python-version", "3.11", "--only-binary", ":all:"]
    known = ["--offline", "--no-deps", "--require-hashes", "-r", CHECKOUT / f"requirements/{lock}.lock"]
    command = [BIN / "uv", "pip", "install", "--dry-run", "--target", tmp_path, *platform, *known]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if "not found in the cache" in done.stderr:
        pytest.skip("uv's cache does not list the packages' files: make .venv anew, with a network")
    assert done.returncode == 0, done.stderr


class Vulnerabilities(BaseHTTPRequestHandler):
    """OSV's answer to one question, https://google.github.io/osv.dev/post-v1-query/: Starlette has something."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = asked["package"]["name"]
        affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [], "versions": [asked["version"]]}]
        known = {"vulns": [{"id": "PYSEC-1", "modified": "2026-01-01T00:00:00Z", "affected": affected}]}
        body = json.dumps(known if name == "starlette" else {}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Nothing: the tests' output is the tests'."""


@pytest.fixture
def database() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Vulnerabilities) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def test_the_audit_asks_about_every_locked_package_and_fails_on_a_known_vulnerability(database: str):
    command = ["make", "-o", ".venv/complete", "audit", f"AUDIT=-s osv --osv-url {database} --progress-spinner off"]
    done = subprocess.run(command, cwd=CHECKOUT, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "starlette" in done.stdout
    assert "PYSEC-1" in done.stdout
    assert "Found 1 known vulnerability in 1 package" in done.stderr


def offline(advisories: Path) -> subprocess.CompletedProcess[str]:
    """The end of an audit that asks nobody."""
    if not shutil.which("osv-scanner"):
        pytest.skip("`osv-scanner` is not on PATH: `go install github.com/google/osv-scanner/v2/cmd/osv-scanner@v2.5.1`")
    command = ["make", "-o", ".venv/complete", "audit", "OFFLINE=1", f"ADVISORIES={advisories}"]
    return subprocess.run(command, cwd=CHECKOUT, check=False, capture_output=True, text=True)


def test_an_audit_without_a_network_knows_what_was_brought(tmp_path: Path):
    archive = tmp_path / "osv-scalibr/PyPI/all.zip"
    archive.parent.mkdir(parents=True)
    [locked] = re.findall(r"^starlette==(\S+)", (CHECKOUT / "requirements/app.lock").read_text(), re.MULTILINE)
    affected = [{"package": {"name": "starlette", "ecosystem": "PyPI"}, "versions": [locked]}]
    with zipfile.ZipFile(archive, "w") as into:
        into.writestr("PYSEC-1.json", json.dumps({"id": "PYSEC-1", "modified": "2026-01-01T00:00:00Z", "affected": affected}))
    done = offline(tmp_path)
    assert done.returncode != 0
    assert "PYSEC-1" in done.stdout


def test_an_audit_without_a_network_and_without_what_is_known_does_not_pass(tmp_path: Path):
    done = offline(tmp_path)
    assert done.returncode != 0
    assert "no offline version of the OSV database" in done.stdout + done.stderr
