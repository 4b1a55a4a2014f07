"""What the waiter makes of what Kubernetes says; tests/cluster has a server say it."""

from typing import Any

import msgspec
import pytest

from stacks.rollout import Rollout, Run, decided, main

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
