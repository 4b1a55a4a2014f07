"""Every command of the README and of the quick start, run as it is written."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.app.support import wait_for
from tests.conftest import CHECKOUT
from tests.workflows.conftest import Checkout


def commands(page: str) -> list[str]:
    """The commands of a page's shell blocks: comments left out, lines that go on put together."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (CHECKOUT / page).read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", "").splitlines()
    return [stripped for line in lines if (stripped := re.sub(r"\s+#.*", "", line).strip())]


def free_ports() -> list[int]:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return [first.getsockname()[1], second.getsockname()[1]]


def answers(url: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def upped(checkout: Checkout, environment: dict[str, str], log: Path) -> Iterator[None]:
    """`make up`, until its server is ready; Ctrl-C at the end."""
    with log.open("wb") as out, subprocess.Popen(
        ["make", "up"], cwd=checkout.root, env=environment, stdout=out, stderr=out, start_new_session=True
    ) as process:  # fmt: skip
        try:
            url = f"http://localhost:{environment['PORT']}"
            wait_for(lambda: answers(url, process, log), "the end of the training", seconds=900)
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)


def test_the_readme_has_two_commands_and_the_other_is_what_runs_this():
    assert commands("README.md") == ["make up", "make test"]
    assert (CHECKOUT / ".ci" / "run").read_text().splitlines()[-1] == "make test"


def test_every_command_of_the_quick_start_does_what_it_says(checkout: Checkout, tmp_path: Path):
    up, *others = commands("docs/quickstart.md")
    assert up == "make up"
    # Of fewer customers than `make up` makes up, where there is no table yet, and with fewer trials.
    sample = ["churn", "sample", "var/sample.csv", "--rows", "1500"]
    port, metrics_port = free_ports()
    environment = checkout.environment() | {"PORT": str(port), "METRICS_PORT": str(metrics_port), "TRIALS": "1"}
    subprocess.run([checkout.root / ".venv/bin" / sample[0], *sample[1:]], cwd=checkout.root, env=environment, check=True)
    said: dict[str, str] = {}
    with upped(checkout, environment, tmp_path / "up"):
        for command in others:
            there = command.replace("localhost:8080", f"localhost:{port}")
            done = subprocess.run(
                ["bash", "-c", there], cwd=checkout.root, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            said[command] = done.stdout
    # As in CI, where there is no server; and what is trained already is not trained again.
    trained = checkout.home.candidate.stat()
    checkout.done("model", TRIALS="1")
    assert checkout.home.candidate.stat() == trained
    predict, model, smoke, releases, report, score, plan = said.values()
    assert '"churn_probability"' in predict
    assert '"cards"' in model
    assert smoke.count("pass ") == 5
    assert "1.0.0" in releases
    assert report.strip().endswith(".html")
    assert "1,500 customers scored" in score
    assert "USD" in plan
