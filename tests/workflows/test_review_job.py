"""What a pull request is answered: the steps of the jobs in ci.yml, run as they stand there, against GitHub on loopback."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import CHECKOUT
from tests.training.released import git
from tests.workflows.conftest import Checkout
from tests.workflows.github import TOKEN, Repository

MARKER = "<!-- churn-review -->"
JOBS = yaml.safe_load((CHECKOUT / ".github/workflows/ci.yml").read_text())["jobs"]
PR = 12
# What GitHub would put in place of an expression.
EXPRESSIONS = {
    "github.token": TOKEN,
    "github.event.pull_request.number": str(PR),
    "matrix.stack": "prod",
    "vars.AWS_ACCOUNT_ID": "1",
}


class Job:
    """A job of ci.yml in a checkout: what it is given and what came of it."""

    def __init__(self, name: str, checkout: Checkout, repository: Repository) -> None:
        self.job, self.checkout = JOBS[name], checkout
        self.summary = checkout.root.parent / "summary"
        self.given = checkout.environment() | {
            "GITHUB_API_URL": repository.url,
            "GITHUB_REPOSITORY": "ada/churn",
            "GITHUB_RUN_ID": "7",
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_STEP_SUMMARY": str(self.summary),
        }

    def run(self, only: str = "") -> list[int]:
        """The exit codes of the steps that are reached, of those whose command has `only` in it."""
        codes: list[int] = []
        for step in self.job["steps"]:
            # Without a condition a step is skipped once one has failed.
            if only in step.get("run", "") and "run" in step and (not any(codes) or "!cancelled()" in step.get("if", "")):
                codes.append(self._run(step))
        return codes

    def _run(self, step: Mapping[str, Any]) -> int:
        environment = self.given | dict(_evaluated({**self.job.get("env", {}), **step.get("env", {})}))
        command = ["bash", "-e", "-c", step["run"]]
        return subprocess.run(command, cwd=self.checkout.root, env=environment, check=False, timeout=300).returncode


def _evaluated(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in environment.items():
        yield name, re.sub(r"\$\{\{ (.*?) \}\}", lambda found: EXPRESSIONS[found.group(1)], value)


def changed(checkout: Checkout, old: str, new: str) -> None:
    path = checkout.root / "Pulumi.dev.yaml"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    checkout.commit(new)


@pytest.fixture
def refused(checkout: Checkout) -> Checkout:
    """Checked out as GitHub does it: a pull request that breaks a rule, merged into a main that went on after it began."""
    for stack in ("local", "staging", "prod"):
        (checkout.root / f"Pulumi.{stack}.yaml").unlink()
    checkout.commit("one stack takes less time")
    git(checkout.root, "checkout", "--quiet", "-b", "proposed")
    changed(checkout, "publicAccessCidrs: []", "publicAccessCidrs: [203.0.113.7/32]")
    git(checkout.root, "checkout", "--quiet", "main")
    changed(checkout, "cluster:systemNodesMin: 2", "cluster:systemNodesMin: 3")
    git(checkout.root, "merge", "--quiet", "--no-edit", "proposed")
    git(checkout.root, "checkout", "--quiet", "--detach")
    return checkout


def test_a_refused_pull_request_is_told_why_in_its_one_comment_and_stays_red(refused: Checkout, repository: Repository):
    job = Job("review", refused, repository)
    # People may quote a review: what they said stays theirs.
    for number in range(120):
        repository.say(PR, f"{MARKER}\nas I said in {number}", "User")
    review, comment = job.run()
    assert (review != 0, comment) == (True, 0)
    written = repository.comments[120:]
    assert [each["number"] for each in written] == [PR]
    assert written[0]["body"].startswith(f"{MARKER}\n")
    assert "eks-private-endpoint" in written[0]["body"]
    assert "https://github.example/ada/churn/actions/runs/7" in written[0]["body"]
    assert "minSize" not in written[0]["body"], "main's own change is not the pull request's"

    # Of the next push the comment is the same one.
    (refused.root / "var/review.md").write_text(f"{MARKER}\nanother")
    assert job.run("review-comment") == [0]
    assert [each["body"].split("\n")[1] for each in repository.comments[120:]] == ["another"]
    assert all(each["body"].startswith(f"{MARKER}\nas I said") for each in repository.comments[:120])

    # What a fork starts may not comment.
    repository.reads_only = True
    assert job.run("review-comment") == [0]
    assert job.summary.read_text().startswith(f"{MARKER}\nanother")


@pytest.mark.parametrize(
    ("content", "environment", "reason"),
    [
        (None, {}, "cannot be read: No such file or directory; write it with `make review OUT=review.md`"),
        ("no mark", {}, "the first line is 'no mark'; give a file that begins with a mark"),
        (MARKER, {"GH_TOKEN": ""}, "GH_TOKEN=<a token>"),
        (MARKER, {"GH_TOKEN": "wrong"}, "401"),
    ],
    ids=["no file", "no mark", "no token", "wrong token"],
)
def test_a_comment_that_cannot_be_written_says_why(
    checkout: Checkout, repository: Repository, content: str | None, environment: dict[str, str], reason: str
):
    if content is not None:
        (checkout.root / "review.md").write_text(content)
    ended = checkout.make("review-comment", f"PR={PR}", "OUT=review.md", **(repository.environment() | environment))
    assert ended.returncode == 2
    assert reason in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not repository.comments


@pytest.mark.parametrize("code", [0, 255])
def test_what_the_engine_previews_is_in_the_runs_summary_and_in_the_log(
    checkout: Checkout, repository: Repository, tmp_path: Path, code: int, capfd: pytest.CaptureFixture[str]
):
    engine = tmp_path / "bin" / "pulumi"
    engine.parent.mkdir()
    engine.write_text(f'#!/bin/sh\necho "~ aws:eks:NodeGroup $*"\necho "error: a policy" >&2\nexit {code}\n')
    engine.chmod(0o755)
    # The rules' own environment is for the real engine.
    (checkout.root / "policies/.venv").mkdir()
    (checkout.root / "policies/.venv/complete").touch()
    job = Job("preview", checkout, repository)
    job.given["PATH"] = f"{engine.parent}:{job.given['PATH']}"
    [ended] = job.run()
    assert (ended != 0) == (code != 0)
    summary = job.summary.read_text()
    assert summary.startswith(
        "### `pulumi preview` of prod\n\n``````text\n~ aws:eks:NodeGroup preview --color never --stack prod"
    )
    assert summary.endswith("error: a policy\n``````\n")
    assert "error: a policy" in capfd.readouterr().out
