"""`make smoke` against a real process, and against answers that are not as they should be."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import msgspec
import pytest

from app.release import encode_release
from tests.app.support import ASKED, Place, release, serving, variant
from tests.conftest import CHECKOUT


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.write_release(variant(made.add_bundle()))
    return made


def smoke(url: str, *arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.smoke", url, *arguments]
    environment = os.environ | {"SMOKE_TOKEN": token}
    return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False, timeout=60)


def verdicts(ended: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """By check: pass or FAIL."""
    return {line.split()[1]: line.split()[0] for line in ended.stdout.splitlines()}


def test_an_endpoint_that_does_what_it_says_passes_by_make(place: Place, tmp_path: Path):
    with serving(place.settings(), tmp_path / "log") as server:
        server.said("ready")
        command = ["make", "--no-print-directory", "smoke", f"URL={server.url}", f"RELEASE={place.root / 'release.json'}"]
        ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert verdicts(ended) == dict.fromkeys(("ready", "openapi", "model", "prediction", "refusal"), "pass")


def test_a_guarded_endpoint_passes_with_a_token_and_says_what_it_lacks_without(place: Place, tmp_path: Path):
    hashes = [sha256(b"churn_t").hexdigest()]
    (tmp_path / "tokens.json").write_text(json.dumps({"predict": hashes, "operate": hashes}))
    with serving(place.settings(tokens=tmp_path / "tokens.json"), tmp_path / "log") as server:
        server.said("ready")
        assert smoke(server.url, token="churn_t").returncode == 0  # noqa: S106 - of this test alone
        ended = smoke(server.url)
    assert ended.returncode == 1
    assert verdicts(ended) == {"ready": "pass", "openapi": "pass", "model": "FAIL", "prediction": "FAIL", "refusal": "FAIL"}
    assert "give a token with the roles predict and operate" in ended.stdout


def test_another_release_than_gits_fails(place: Place, tmp_path: Path):
    other = tmp_path / "other.json"
    other.write_bytes(encode_release(release(variant(place.add_bundle(tilt=0.5)))))
    with serving(place.settings(), tmp_path / "log") as server:
        server.said("ready")
        ended = smoke(server.url, "--release", str(other))
    assert (ended.returncode, verdicts(ended)["model"]) == (1, "FAIL")
    assert "git says" in ended.stdout


def test_an_endpoint_that_has_no_model_fails(place: Place, tmp_path: Path):
    (place.root / "release.json").write_text("{}")
    with serving(place.settings(), tmp_path / "log") as server:
        ended = smoke(server.url)
    assert (ended.returncode, verdicts(ended)["ready"]) == (1, "FAIL")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://"], ids=["nobody there", "no address", "half of one"])
def test_where_nobody_answers_the_input_is_bad(url: str):
    ended = smoke(url)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "give the address" in ended.stderr
    assert "Traceback" not in ended.stderr


@contextmanager
def lying(server: str, **changes: Any) -> Iterator[str]:
    """The address of a proxy that changes what a prediction says."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            got = httpx.request(self.command, server + self.path, content=body, headers={"content-type": "application/json"})
            content = got.content
            if self.path == "/v1/predict" and got.status_code == 200:
                content = msgspec.json.encode(got.json() | changes)
            self.send_response(changes.get("status", got.status_code) if self.path == "/v1/predict" else got.status_code)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815 - the names that http.server asks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
            """Nothing: who fails says so."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        thread = Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_port}"
        finally:
            proxy.shutdown()
            thread.join()


def test_each_lie_of_an_answer_is_found(place: Place, tmp_path: Path):
    with serving(place.settings(), tmp_path / "log") as server:
        server.said("ready")
        honest = httpx.post(f"{server.url}/v1/predict", json=ASKED).json()["decision"]
        lies: list[dict[str, Any]] = [
            {"decision": "none" if honest == "offer" else "offer"},
            {"expected_value_usd": 1234.5},
            {"version": "9.9.9"},
            {"variant": "challenger"},
            {"churn_probability": 1.5},
            {"status": 500},
        ]
        for lie in lies:
            with lying(server.url, **lie) as url:
                ended = smoke(url)
            assert (ended.returncode, verdicts(ended)["prediction"], verdicts(ended)["model"]) == (1, "FAIL", "pass"), lie
