"""What the waiter makes of what Kubernetes says; tests/cluster has a server say it."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stacks import rollout as waiter
from stacks.rollout import Rollout, Run, decided, main, progress

STEPS = [{"setWeight": 10}, {"analysis": {}}, {"setWeight": 25}, {"analysis": {}}]


def rollout(generation: int = 3, **status: Any) -> Rollout:
    told = {"observedGeneration": "3", "phase": "Progressing", **status}
    content = {"metadata": {"generation": generation}, "spec": {"strategy": {"canary": {"steps": STEPS}}}, "status": told}
    return msgspec.convert(content, Rollout)


def run(step: int = 3, **metrics: tuple[str, dict[str, str]]) -> Run:
    results = [{"name": name, "phase": phase, "measurements": [{}, last]} for name, (phase, last) in metrics.items()]
    return msgspec.convert({"metadata": {"labels": {"step-index": str(step)}}, "status": {"metricResults": results}}, Run)


WAITING = {"phase": "Paused", "pauseConditions": [{"reason": "InconclusiveAnalysisRun"}]}


def test_all_of_the_traffic_is_a_promotion():
    said = decided(rollout(phase="Healthy"), None)
    assert said
    assert (said.code, said.text) == (0, "promoted: all requests go to what is declared")


def test_a_roll_back_names_what_was_bad_and_at_which_share():
    bad = run(errors=("Failed", {"value": "[12.25]"}), requests=("Successful", {"value": "[3000]"}))
    said = decided(rollout(phase="Degraded", message="RolloutAborted"), bad)
    assert said
    assert said.code == 1
    assert said.text == "rolled back: errors was 12.2 at 25 % of the requests; what served before serves all of them"


def test_a_roll_back_because_nobody_could_be_asked_says_so():
    said = decided(rollout(phase="Degraded"), run(errors=("Error", {"message": "connection refused"})))
    assert said
    assert "errors could not be asked: connection refused" in said.text


def test_while_nobody_can_be_asked_it_is_not_decided_and_says_so():
    asked = run(errors=("Running", {"phase": "Error", "message": "connection refused"}), requests=("Running", {"value": "[9]"}))
    waiting = rollout(currentStepIndex=1, message="more replicas need to be updated")
    assert decided(waiting, asked) is None
    assert progress(waiting, asked) == (
        "10 % of the requests: more replicas need to be updated; errors cannot be asked: connection refused"
    )


def test_pods_that_do_not_get_ready_are_a_roll_back_in_the_controllers_words():
    said = decided(rollout(phase="Degraded", message="ProgressDeadlineExceeded: timed out"), None)
    assert said
    assert (said.code, "ProgressDeadlineExceeded: timed out" in said.text) == (1, True)


def test_too_few_requests_are_neither_and_are_counted():
    said = decided(rollout(**WAITING), run(1, requests=("Inconclusive", {"value": "[412.3]"})))
    assert said
    assert said.code == 1
    assert said.text == "insufficient evidence: 412 of 1,000 predictions at 10 % of the requests; it stays there"


@pytest.mark.parametrize(
    "unfinished",
    [
        rollout(),
        rollout(phase="Paused", pauseConditions=[{"reason": "CanaryPauseStep"}]),
        # What is said of the revision before.
        *(rollout(generation=4, **status) for status in ({"phase": "Healthy"}, {"phase": "Degraded"}, WAITING)),
        msgspec.convert({"metadata": {"generation": 1}, "spec": {"strategy": {"canary": {}}}}, Rollout),
    ],
    ids=["goes on", "paused by somebody", "stale promotion", "stale roll back", "stale pause", "new"],
)
def test_nothing_is_said_before_it_is_decided(unfinished: Rollout):
    assert decided(unfinished, run(requests=("Inconclusive", {"value": "[1]"}))) is None


@pytest.mark.parametrize(("stack", "why"), [("dev", "takes a change all at once"), ("prod", "nothing is live on prod")])
def test_without_a_canary_there_is_nothing_to_wait_for(stack: str, why: str, capsys: pytest.CaptureFixture[str]):
    assert main([stack]) == 0
    assert why in capsys.readouterr().out


@pytest.mark.parametrize("options", [["nowhere"], ["prod", "--kubeconfig", "/nowhere"]], ids=["no stack", "no cluster"])
def test_what_cannot_be_read_is_bad_input(options: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(options) == 2
    assert capsys.readouterr().err


@contextmanager
def kubernetes(folder: Path, *answers: bytes) -> Iterator[Path]:
    """The kubeconfig of a server that says these things of the rollout, one after another, the last for good."""
    left = list(answers)
    others = {"/version/": b'{"major": "1", "minor": "35", "gitVersion": "v1.35.4"}'}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "/rollouts/" in self.path:
                said = left.pop(0) if len(left) > 1 else left[0]
            else:
                said = others.get(self.path.rstrip("/") + "/", b'{"items": []}')
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = {"name": "it", "context": {"cluster": "it", "user": "me"}}
        cluster = {"name": "it", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "it", "contexts": [context], "clusters": [cluster]}
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config | {"users": [{"name": "me", "user": {}}]}))
        try:
            yield path
        finally:
            server.shutdown()


def said_by_kubernetes(phase: str) -> bytes:
    status = {"observedGeneration": "3", "phase": phase}
    return json.dumps({"metadata": {"generation": 3}, "spec": {"strategy": {"canary": {}}}, "status": status}).encode()


NONSENSE = (b"<html>", b"{}", b'{"metadata": 5}')


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_an_answer_that_cannot_be_read_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nonsense: bytes
):
    monkeypatch.setattr(waiter, "POLL_SECONDS", 0.01)
    with kubernetes(tmp_path, said_by_kubernetes("Progressing"), nonsense, said_by_kubernetes("Healthy")) as path:
        assert main(["prod", "--kubeconfig", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("promoted: ")
    assert len(said.err.splitlines()) == 2


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_what_never_could_be_read_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str], nonsense: bytes):
    with kubernetes(tmp_path, nonsense) as path:
        assert main(["prod", "--kubeconfig", str(path)]) == 2
    assert "the rollout of inference cannot be read: " in capsys.readouterr().err


def test_what_nobody_foresaw_does_not_say_that_it_was_rolled_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def surprise(*_: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(waiter, "live_on", surprise)
    assert main(["prod"]) == 2
    assert "KeyError: 'surprise'" in capsys.readouterr().err
