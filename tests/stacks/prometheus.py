"""A real Prometheus on loopback."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.app.support import wait_for


@contextmanager
def prometheus(folder: Path, *scrapes: dict[str, Any]) -> Iterator[str]:
    """The address of a Prometheus with these jobs, once it is ready."""
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus: install Debian's package prometheus")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yaml").write_text(
        yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": list(scrapes)})
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
        try:
            wait_for(lambda: process.poll() is not None or _is_ready(address), "Prometheus", 60)
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(30)


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/-/ready").is_success
    except httpx.HTTPError:
        return False


def ask(address: str, query: str) -> float | None:
    """The one value of a query; None while there is none."""
    answer = httpx.get(f"{address}/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    found = answer["data"]["result"]
    return float(found[0]["value"][1]) if found else None
