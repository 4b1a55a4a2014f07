"""What a push asks for, by the files that it changes and by what was deployed last."""

from pathlib import Path

import pytest

from pipelines.affected import asked_of, builds
from tests.workflows.conftest import Checkout
from tests.workflows.github import Repository


@pytest.mark.parametrize(
    ("changed", "build", "staging", "prod"),
    [
        ("", False, "none", "none"),
        ("releases/staging.json", False, "release", "none"),
        ("releases/prod.json", False, "none", "release"),
        ("releases/allowed_signers", False, "none", "none"),
        ("README.md docs/a/b.md tests/app/x.py bench/x.py typings/x.pyi", False, "none", "none"),
        (".github/workflows/ci.yml .secrets.baseline cliff.toml LICENSE .ci/packages", False, "none", "none"),
        (".github/workflows/cd.yml", True, "all", "all"),
        (".github/actions/setup/action.yml", True, "all", "all"),
        ("training/templates/card.md", True, "none", "none"),
        ("Dockerfile", True, "none", "none"),
        ("stacks/x.py", False, "all", "all"),
        ("Pulumi.staging.yaml", False, "all", "none"),
        ("policies/config.prod.json", False, "none", "all"),
        ("policies/release.py", True, "all", "all"),
        ("Pulumi.yaml README.md releases/prod.json", False, "all", "all"),
        ("app/main.py releases/staging.json", True, "all", "all"),
        ("something/new", True, "all", "all"),
    ],
)
def test_a_push_builds_and_deploys_what_is_made_of_what_it_changes(changed: str, *, build: bool, staging: str, prod: str):
    files = dict.fromkeys(changed.split(), "M")
    assert (builds(files), asked_of("staging", files), asked_of("prod", files)) == (build, staging, prod)


def outputs(checkout: Checkout, tmp_path: Path, before: str, **environment: str) -> dict[str, str]:
    (tmp_path / "outputs").unlink(missing_ok=True)
    checkout.done("affected", f"BEFORE={before}", f"OUT={tmp_path / 'outputs'}", **environment)
    return dict(line.split("=") for line in (tmp_path / "outputs").read_text().splitlines())


def change(checkout: Checkout, *names: str) -> str:
    for name in names:
        (checkout.root / name).parent.mkdir(parents=True, exist_ok=True)
        with (checkout.root / name).open("a") as file:
            file.write(name)
    return checkout.commit("change")


def test_a_push_that_changes_nothing_asks_for_nothing(checkout: Checkout, tmp_path: Path):
    found = outputs(checkout, tmp_path, checkout.head())
    assert (found["build"], found["staging"], found["prod"]) == ("false", "none", "none")


def test_the_first_release_of_a_stack_and_the_end_of_its_last_ask_for_all_of_it(checkout: Checkout, tmp_path: Path):
    without = checkout.head()
    released = change(checkout, "releases/prod.json")
    found = outputs(checkout, tmp_path, without)
    assert (found["staging"], found["prod"], found["prod_released"]) == ("none", "all", "true")
    (checkout.root / "releases/prod.json").unlink()
    checkout.commit("without")
    found = outputs(checkout, tmp_path, released)
    assert (found["staging"], found["prod"], found["prod_released"]) == ("none", "all", "false")


def test_what_was_not_deployed_is_asked_for_again_by_the_next_push(checkout: Checkout, repository: Repository, tmp_path: Path):
    deployed = change(checkout, "releases/staging.json", "releases/prod.json")
    repository.deploy("staging", deployed, "inactive", "success", "in_progress")
    repository.deploy("prod", deployed, "success")
    failed = change(checkout, "stacks/x.py")
    repository.deploy("staging", failed, "failure", "in_progress")
    # And one that waited gave way to the next.
    before = change(checkout, "releases/staging.json")
    change(checkout, "README.md")
    found = outputs(checkout, tmp_path, before, **repository.environment())
    assert (found["build"], found["staging"], found["staging_released"]) == ("false", "all", "true")
    assert (found["staging_before"], found["prod_before"]) == (deployed, deployed)
    # What a release deploys counts as well, and only what came after it is left.
    repository.deploy("staging-release", before, "success")
    found = outputs(checkout, tmp_path, before, **repository.environment())
    assert (found["staging"], found["staging_before"], found["prod"]) == ("none", before, "all")


def test_without_any_deployment_the_push_itself_says_what_changed(checkout: Checkout, repository: Repository, tmp_path: Path):
    before = change(checkout, "releases/staging.json")
    change(checkout, "releases/staging.json")
    repository.deploy("staging", before, "failure")
    found = outputs(checkout, tmp_path, before, **repository.environment())
    assert (found["staging"], found["prod"], found["staging_before"]) == ("release", "none", before)


def test_after_a_history_that_was_written_anew_all_is_deployed(checkout: Checkout, repository: Repository, tmp_path: Path):
    repository.deploy("staging", "1" * 40, "success")
    found = outputs(checkout, tmp_path, checkout.head(), **repository.environment())
    assert (found["build"], found["staging"], found["prod"]) == ("false", "all", "none")


def test_if_github_does_not_say_what_is_deployed_nothing_is(checkout: Checkout, repository: Repository):
    ended = checkout.make("affected", f"BEFORE={checkout.head()}", **(repository.environment() | {"GH_TOKEN": "wrong"}))
    assert (ended.returncode, ended.stdout, "401" in ended.stderr) == (2, "", True)
