"""A real Prometheus on loopback."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.app.support import wait_for
from tests.stacks.postgres import free_port


@contextmanager
def prometheus(folder: Path, *scrapes: dict[str, Any]) -> Iterator[str]:
    """The address of a Prometheus with these jobs, once it is ready."""
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus: install Debian's package prometheus")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yaml").write_text(
        yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": list(scrapes)})
    )
    with listening("prometheus", folder, f"--storage.tsdb.path={folder}/data") as address:
        yield address


@contextmanager
def listening(name: str, folder: Path, *options: str) -> Iterator[str]:
    """The address of one of Prometheus' servers with the `<name>.yaml` of the folder, once it is ready."""
    address = f"127.0.0.1:{free_port()}"
    command = [name, f"--config.file={folder}/{name}.yaml", f"--web.listen-address={address}", *options]
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(lambda: process.poll() is not None or _is_ready(address), name, 60)
            assert process.poll() is None, (folder / f"{name}.log").read_text()
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
