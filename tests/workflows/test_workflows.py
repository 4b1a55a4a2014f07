"""GitHub's workflows: nothing but make in them, and nothing that a linter knows to be wrong."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.traffic import SECONDS_MAX
from stacks.config import read
from stacks.pins import KUBERNETES
from stacks.rollout import longest_seconds
from stacks.runner import DEPLOYMENT_MAX_MINUTES
from stacks.values import values_of
from tests.conftest import CHECKOUT

WORKFLOWS = sorted((CHECKOUT / ".github/workflows").glob("*.yml"))
ACTIONS = sorted((CHECKOUT / ".github/actions").glob("*/action.yml"))
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"


def run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield f"{path.stem} {name}", job


def steps() -> Iterator[dict[str, Any]]:
    for _, job in jobs():
        yield from job["steps"]
    for path in ACTIONS:
        yield from yaml.safe_load(path.read_text())["runs"]["steps"]


RUNS = sorted({each["run"] for each in steps() if "run" in each})


def test_the_linters_find_nothing():
    """Schemas with a time limit for each job, actionlint, zizmor: all that `make workflows` runs."""
    if not shutil.which("actionlint"):
        if not shutil.which("go"):
            run("make", "workflows", "ACTIONLINT=true")
            pytest.skip("all but actionlint, which is not here: install it, or Go, which then builds it")
        asked = subprocess.run(["go", "run", ACTIONLINT, "-version"], capture_output=True, text=True, check=False)
        if asked.returncode:
            run("make", "workflows", "ACTIONLINT=true")
            pytest.skip(f"all but actionlint, which Go cannot build here: {asked.stderr.splitlines()[-1]}")
    run("make", "workflows")


def test_the_makefile_runs_the_same_actionlint():
    assert ACTIONLINT in (CHECKOUT / "Makefile").read_text()


def test_without_a_cluster_its_tests_are_skipped_and_say_what_runs_them():
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KUBECONFIG", "PYTEST_", "COV"))}
    done = subprocess.run(["make", "cluster-test"], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "KUBECONFIG" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize("command", RUNS)
def test_a_step_runs_make_and_a_target_that_is_there(command: str):
    make, *words = shlex.split(command.replace("$STACK", "prod"))
    assert make == "make"
    assert "\n" not in command.strip()
    targets = [word for word in words if "=" not in word]
    assert targets
    # Whether there is a rule for it, without following it.
    run("make", "-n", *targets)


def test_an_action_is_named_by_one_commit_everywhere_with_its_version_beside_it():
    lines = [line for path in [*WORKFLOWS, *ACTIONS] for line in path.read_text().splitlines() if re.search(r"uses: [^.]", line)]
    pinned = {re.fullmatch(r".*uses: ([\w./-]+)@([0-9a-f]{40}) # (v[\d.]+)", line) for line in lines}
    assert None not in pinned
    named = [each.group(1, 2, 3) for each in pinned if each]
    assert len({name for name, _, _ in set(named)}) == len(set(named))


def test_a_job_has_a_time_limit_its_own_rights_and_leaves_no_token_in_the_checkout():
    for name, job in jobs():
        assert job["timeout-minutes"] <= 150, name
        assert "permissions" in job, name
        checked_out = [each for each in job["steps"] if each.get("uses", "").startswith("actions/checkout@")]
        assert all(each["with"]["persist-credentials"] is False for each in checked_out), name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_begins_without_any_right_and_says_what_may_overlap(path: Path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]


def test_a_role_is_taken_where_its_trust_lets_it_be_taken():
    # stacks/delivery.py: a role for releases and one for all else by environment, publishing on main, reading in pull requests.
    for name, job in jobs():
        for step in job["steps"]:
            role = step.get("with", {}).get("role-to-assume", "")
            if "-publish" in role:
                assert "environment" not in job, name
            if "'release' || 'deploy'" in role:
                [stack] = re.findall(r"churn-(\w+)-", role)
                asked = f"needs.affected.outputs.{stack} == 'release'"
                assert asked in role
                assert job["environment"] == f"${{{{ {asked} && '{stack}-release' || '{stack}' }}}}"


@pytest.mark.parametrize("stack", ["staging", "prod"])
def test_a_deployments_job_machine_session_and_traffic_last_as_long_as_its_canary_may(stack: str):
    job = dict(jobs())[f"cd {stack}"]
    [session] = [each["with"] for each in job["steps"] if "role-to-assume" in each.get("with", {})]
    assert job["timeout-minutes"] == DEPLOYMENT_MAX_MINUTES
    assert session["role-duration-seconds"] == SECONDS_MAX == DEPLOYMENT_MAX_MINUTES * 60
    assert longest_seconds(read(stack, values_of(stack))) < SECONDS_MAX


def test_objects_are_checked_by_the_kubernetes_that_the_stacks_run():
    [kind] = [each["with"] for each in dict(jobs())["ci objects"]["steps"] if "kind-action" in each.get("uses", "")]
    assert re.fullmatch(rf"kindest/node:v{re.escape(KUBERNETES)}\.\d+@sha256:[0-9a-f]{{64}}", kind["node_image"])
    assert re.fullmatch(r"v\d+\.\d+\.\d+", kind["version"])


def test_of_the_packages_those_are_installed_whose_program_is_not_there(tmp_path: Path):
    programs = {"id": "echo 0", "apt-get": f'echo "$@" >> {tmp_path}/log', "chromium": "", "git": ""}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    bash = shutil.which("bash")
    assert bash
    subprocess.run([bash, CHECKOUT / ".ci/packages"], env={"PATH": str(tmp_path)}, check=True)
    update, install = (tmp_path / "log").read_text().splitlines()
    assert update == "update -qq"
    wanted = set(install.split()) - {"postgresql"}
    assert wanted == {"install", "-y", "-qq", "--no-install-recommends", "graphviz", "openssh-client", "prometheus"}


def test_who_asks_what_is_deployed_may_read_it():
    asking = [(job, each) for _, job in jobs() for each in job["steps"] if each.get("run", "").startswith("make affected")]
    assert len(asking) == 2
    for job, step in asking:
        assert (job["permissions"]["deployments"], step["env"]["GH_TOKEN"]) == ("read", "${{ github.token }}")


def test_nothing_in_git_looks_like_a_secret():
    run("make", "-s", "secrets")
