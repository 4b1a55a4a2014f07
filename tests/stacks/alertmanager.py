"""A real Alertmanager on loopback, and what stands for GitHub's API."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from tests.stacks.prometheus import listening

# The first that sends a body of one's own: https://github.com/prometheus/alertmanager/pull/5011
SINCE = (0, 32)


@contextmanager
def alertmanager(folder: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """The address of an Alertmanager with this configuration, once it is ready."""
    if _version() < SINCE:
        pytest.skip("no alertmanager from 0.32 on: put the one of prometheus.io/download on PATH")
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    with listening("alertmanager", folder, f"--storage.path={folder}/data", "--cluster.listen-address=") as address:
        yield address


@contextmanager
def github() -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """The address of a server that takes every event, and of each the path, the authorization and the body."""
    asked: list[tuple[str, str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append((self.path, self.headers["authorization"], body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def _version() -> tuple[int, ...]:
    if shutil.which("alertmanager") is None:
        return ()
    said = subprocess.run(["alertmanager", "--version"], capture_output=True, text=True, check=True)
    number = (said.stdout or said.stderr).split("version ")[1].split()[0]
    return tuple(int(part) for part in number.split(".")[:2])
