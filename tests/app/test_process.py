"""`python -m app`, started and stopped for real."""

import errno
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.app.support import ASKED, Place, serving, wait_for


def test_a_process_gets_ready_answers_counts_and_logs_json(place: Place, tmp_path: Path):
    with serving(place.settings(), tmp_path / "log") as server:
        server.said("ready")
        answer = httpx.post(f"{server.url}/v1/predict", json=ASKED)
        assert answer.status_code == 200
        assert 'churn_requests_total{route="/v1/predict",status="200"} 1.0' in server.scrape()
        assert server.stop() == 0
        assert [line["event"] for line in server.log()] == ["listening", "ready", "stopping", "stopped"]
    assert "server" not in answer.headers
    [event] = place.events()
    assert event["prediction_id"] == answer.json()["prediction_id"]


def test_on_sigterm_it_is_not_ready_at_once_and_answers_until_nobody_asks(place: Place, tmp_path: Path):
    with serving(place.settings(grace_seconds=4.0), tmp_path / "log") as server:
        server.said("ready")
        address = server.url.removeprefix("http://")
        idle = http.client.HTTPConnection(address, timeout=5)
        idle.request("GET", "/livez")
        assert idle.getresponse().read() == b'{"status":"live"}'
        server.process.send_signal(signal.SIGTERM)
        server.said("stopping")
        assert httpx.get(f"{server.url}/readyz").status_code == 503
        assert "churn_ready 0.0" in server.scrape()
        # The connection that was kept open is served once more and told to go.
        idle.request("POST", "/v1/predict", json.dumps(ASKED), {"content-type": "application/json"})
        answer = idle.getresponse()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        answer.read()
        assert httpx.post(f"{server.url}/v1/predict", json=ASKED).status_code == 200
        assert server.process.wait(10) == 0
    assert len(place.events()) == 2


def is_refused(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_a_request_that_is_under_way_is_finished(place: Place, tmp_path: Path):
    body = json.dumps(ASKED).encode()
    head = (
        f"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    )
    with serving(place.settings(grace_seconds=8.0), tmp_path / "log") as server:
        server.said("ready")
        with socket.create_connection(("127.0.0.1", server.said("listening")["port"])) as connection:
            connection.sendall(head + body[:10])
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: is_refused(server.said("listening")["port"]), "the end of new connections")
            connection.sendall(body[10:])
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert server.process.wait(10) == 0
    assert len(place.events()) == 1


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]], ids=["Ctrl-C", "SIGTERM twice"])
def test_who_will_not_wait_need_not(place: Place, tmp_path: Path, signals: list[signal.Signals]):
    with serving(place.settings(grace_seconds=3600.0), tmp_path / "log") as server:
        server.said("ready")
        for number, each in enumerate(signals):
            server.process.send_signal(each)
            wait_for(lambda number=number: sum(line["event"] == "stopping" for line in server.log()) > number, "the signal")
        assert server.process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_who_says_that_it_listens_ends_in_order_from_then_on(place: Place, tmp_path: Path, number: signal.Signals):
    # Stays for a while in the instant between its line and the start of the event loop.
    (tmp_path / "sitecustomize.py").write_text(
        "import uvicorn.config\n"
        "def load(self, late=uvicorn.config.Config.get_loop_factory):\n"
        "    __import__('time').sleep(0.5)\n"
        "    return late(self)\n"
        "uvicorn.config.Config.get_loop_factory = load\n"
    )
    with serving(place.settings(), tmp_path / "log", PYTHONPATH=str(tmp_path)) as server:
        assert server.stop(number) == 0
        assert [line["event"] for line in server.log()][:2] == ["listening", "stopping"]


def test_a_release_that_cannot_be_served_leaves_it_alive_with_one_line_saying_why(place: Place, tmp_path: Path):
    (place.root / "release.json").write_text("{}")
    with serving(place.settings(), tmp_path / "log") as server:
        assert "release.json is not a release" in server.said("not_ready")["reason"]
        assert httpx.get(f"{server.url}/livez").status_code == 200
        problem = httpx.get(f"{server.url}/readyz")
        assert problem.status_code == 503
        assert str(place.root / "release.json") in problem.json()["detail"]
        assert server.stop() == 0
        assert [line["event"] for line in server.log()] == ["listening", "not_ready", "stopping", "stopped"]


def refused(**environment: str) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CHURN_")}
    ended = subprocess.run(
        [sys.executable, "-m", "app"], env={**environ, **environment}, capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    return ended.stderr


def test_bad_settings_end_it_with_2_and_a_line_for_each():
    assert [line.split()[0] for line in refused(CHURN_PORT="http").splitlines()] == [
        "CHURN_RELEASE",
        "CHURN_BUNDLES",
        "CHURN_EVENTS",
        "CHURN_PORT",
    ]


def test_a_port_that_is_taken_ends_it_with_2(place: Place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"CHURN_PORT is {port}: " in refused(**place.settings(port=port).environment())
        assert f"CHURN_METRICS_PORT is {port}" in refused(**place.settings(metrics_port=port).environment())


def test_customers_stay_out_of_log_and_metrics(place: Place, tmp_path: Path):
    secret = "somebody-known"  # noqa: S105 # no password
    with serving(place.settings(), tmp_path / "log") as server:
        server.said("ready")
        for body in ({**ASKED, "customer_id": secret}, {**ASKED, "contract": secret}, {secret: 1}):
            httpx.post(f"{server.url}/v1/predict", json=body)
        httpx.get(f"{server.url}/{secret}")
        assert secret not in server.scrape()
        server.stop()
    assert secret not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("head", ["FOO /livez HTTP/1.1", "GET /livez HTTP/9.9", "POST / HTTP/1.1\r\ncontent-length: many", "\0"])
def test_what_is_no_http_is_a_problem_too(place: Place, tmp_path: Path, head: str):
    with serving(place.settings(), tmp_path / "log") as server:
        with socket.create_connection(("127.0.0.1", server.said("listening")["port"]), timeout=5) as connection:
            connection.sendall(f"{head}\r\nhost: x\r\n\r\n".encode())
            answer = connection.makefile("rb").read()
        server.stop()
        # Or anybody could fill the log.
        assert {line["level"] for line in server.log()} == {"info"}
    head_of_answer, _, body = answer.partition(b"\r\n\r\n")
    assert head_of_answer.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head_of_answer
    assert json.loads(body)["status"] == 400
