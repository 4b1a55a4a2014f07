"""The make targets that workflows call, run as they call them."""

import json
import os
import shutil
from pathlib import Path

import pytest

from app.release import Release, decode_release
from tests.training.released import IMAGE, add_bundle
from tests.workflows.conftest import Checkout
from tests.workflows.github import Repository


def released(checkout: Checkout, stack: str = "staging") -> Release:
    path = checkout.home.root / "releases" / f"{stack}.json"
    return decode_release(path.read_bytes(), str(path))


def promoted(checkout: Checkout, seed: int, **evidence: str) -> str:
    """The bundle that staging's file names, not committed yet."""
    digest = add_bundle(checkout.home, seed, **evidence)
    checkout.done("promote", "STACK=staging", f"IMAGE={IMAGE}", CREATED_BY="bob@example.com")
    return digest


def test_a_promotion_ends_in_one_pull_request_that_changes_the_release_file_only(checkout: Checkout, repository: Repository):
    promoted(checkout, 1)
    said = checkout.done("pull-request", "STACK=staging", **repository.environment())
    assert said == "https://github.example/pulls/1\n"
    base, changed = repository.tree_of("release/staging")
    assert (base, list(changed)) == (checkout.tree("HEAD"), ["releases/staging.json"])
    assert changed["releases/staging.json"] == (checkout.root / "releases/staging.json").read_text()
    assert repository.commit_of("release/staging")["parents"] == [checkout.head()]
    [pull] = repository.pulls
    assert (pull["head"], pull["base"], pull["title"]) == ("release/staging", "main", "release(staging): champion 1.0.0")
    assert "churn approve --stack staging" in pull["body"]
    assert "bob@example.com" in pull["body"]


def test_a_second_promotion_updates_the_pull_request_that_is_open(checkout: Checkout, repository: Repository):
    for seed in (1, 2):
        (checkout.root / "releases/staging.json").unlink(missing_ok=True)
        digest = promoted(checkout, seed)
        checkout.done("pull-request", "STACK=staging", **repository.environment())
    assert len(repository.pulls) == 1
    _, changed = repository.tree_of("release/staging")
    assert digest in changed["releases/staging.json"]


def test_what_is_live_already_is_not_proposed(checkout: Checkout, repository: Repository):
    promoted(checkout, 1)
    checkout.commit("release(staging): 1.0.0")
    assert "nothing to propose" in checkout.done("pull-request", "STACK=staging", **repository.environment())
    assert (repository.pulls, repository.branches) == ([], {})


def test_the_way_back_from_a_release_is_a_release_that_goes_on_the_chain(checkout: Checkout, repository: Repository):
    first = promoted(checkout, 1)
    before = checkout.commit("release(staging): 1.0.0")
    promoted(checkout, 2, compared=first)
    live = released(checkout)
    checkout.commit("release(staging): 1.0.1")
    checkout.done("revert-pull-request", "STACK=staging", f"BEFORE={before}", **repository.environment())
    base, changed = repository.tree_of("release/staging")
    assert base == checkout.tree(before)
    back = json.loads(changed["releases/staging.json"])
    assert back["variants"][0]["bundle_digest"] == first
    assert (back["previous"], bool(back["rollback_of"])) == (live.digest, True)
    assert repository.pulls[0]["title"] == f"revert(staging): back to {before[:12]}"


def test_the_way_back_from_a_change_of_code_is_the_files_as_they_were(checkout: Checkout, repository: Repository):
    promoted(checkout, 1)
    before = checkout.commit("release(staging): 1.0.0")
    (checkout.root / "stacks" / "new.py").write_text("")
    head = checkout.commit("feat(stacks): add something")
    checkout.done("revert-pull-request", "STACK=staging", f"BEFORE={before}", **repository.environment())
    assert repository.tree_of("release/staging") == (checkout.tree(before), {})
    assert repository.commit_of("release/staging")["parents"] == [head]


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"GH_TOKEN": "wrong"}, "401"),
        ({"GITHUB_API_URL": "http://127.0.0.1:1"}, "ConnectError"),
        ({"GH_TOKEN": ""}, "GH_TOKEN=<a token>"),
    ],
    ids=["wrong token", "nobody there", "no token"],
)
def test_who_is_refused_by_github_is_told_by_whom(
    checkout: Checkout, repository: Repository, environment: dict[str, str], reason: str
):
    promoted(checkout, 1)
    ended = checkout.make("pull-request", "STACK=staging", **(repository.environment() | environment))
    assert ended.returncode == 2
    assert reason in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_better_model_becomes_a_challenger_with_a_tenth_of_the_customers(checkout: Checkout, tmp_path: Path):
    first = promoted(checkout, 1)
    checkout.commit("release(staging): 1.0.0")
    add_bundle(checkout.home, 2, compared=first)
    checkout.done("challenge", "STACK=staging", f"OUT={tmp_path / 'outputs'}", f"WHY={tmp_path / 'why'}")
    assert (tmp_path / "outputs").read_text() == "better=true\n"
    assert [(each.role, each.weight_percent) for each in released(checkout).variants] == [("champion", 90), ("challenger", 10)]


def test_when_nothing_is_better_it_says_why_and_nothing_is_changed(checkout: Checkout, tmp_path: Path):
    promoted(checkout, 1)
    checkout.commit("release(staging): 1.0.0")
    add_bundle(checkout.home, 2)
    checkout.done("challenge", "STACK=staging", f"OUT={tmp_path / 'outputs'}", f"WHY={tmp_path / 'why'}")
    assert (tmp_path / "outputs").read_text() == "better=false\n"
    assert "was compared with nothing" in (tmp_path / "why").read_text()
    assert len(released(checkout).variants) == 1


def test_a_bundle_is_published_and_brought_back_as_the_champion_byte_by_byte(checkout: Checkout, tmp_path: Path):
    digest = promoted(checkout, 1)
    store = tmp_path / "store"
    checkout.done("publish", f"BUNDLES={store.as_uri()}")
    shutil.rmtree(checkout.home.var / "bundles")
    assert checkout.done("champion", "STACK=staging", f"BUNDLES={store.as_uri()}") == f"{digest}\n"
    assert (checkout.home.bundle(digest) / "model.onnx").read_bytes() == (store / digest / "model.onnx").read_bytes()
    (store / digest / "model.onnx").write_bytes(b"another")
    ended = checkout.make("champion", "STACK=staging", f"BUNDLES={store.as_uri()}")
    assert (ended.returncode, "model.onnx" in ended.stderr) == (2, True)


# In place of Docker and Trivy: each writes down what it is asked, the scanner refuses the image that REFUSED names.
DOCKER = """#!/bin/sh
echo docker "$@" >> "$LOG"
case "$*" in
  "buildx imagetools inspect"*--format*) echo "sha256:$(echo "$4" | sed 's/.*-//')" ;;
  "buildx imagetools inspect"*) exit 1 ;;
  save*) tar -cf - -T /dev/null ;;
esac
"""
TRIVY = """#!/bin/sh
echo trivy "$@" >> "$LOG"
case "$*" in *"images/${REFUSED:-none} "*) exit 1 ;; esac
"""


@pytest.fixture
def builder(tmp_path: Path) -> dict[str, str]:
    """The environment in which Docker and Trivy are these."""
    for name, text in (("docker", DOCKER), ("trivy", TRIVY)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    return {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "LOG": str(tmp_path / "log")}


def test_images_are_pushed_once_both_machines_are_scanned_and_each_is_named(
    checkout: Checkout, builder: dict[str, str], tmp_path: Path
):
    checkout.done("push", "REPOSITORY=registry/churn", f"OUT={tmp_path / 'outputs'}", **builder)
    told = dict(line.split("=") for line in (tmp_path / "outputs").read_text().splitlines())
    assert told == {
        **{each: f"sha256:{each}" for each in ("app", "training", "mlflow")},
        "image": "registry/churn@sha256:app",
    }
    calls = Path(builder["LOG"]).read_text().splitlines()
    pushed = [index for index, call in enumerate(calls) if "push=true" in call]
    scanned = [index for index, call in enumerate(calls) if call.startswith("trivy ")]
    assert (len(scanned), len(pushed)) == (6, 3)
    assert max(scanned) < min(pushed)
    assert all("--platform linux/amd64,linux/arm64" in calls[index] for index in pushed)


def test_when_the_scanner_refuses_one_image_none_is_pushed(checkout: Checkout, builder: dict[str, str]):
    ended = checkout.make("push", "REPOSITORY=registry/churn", REFUSED="mlflow", **builder)
    assert ended.returncode == 2
    assert "push=true" not in Path(builder["LOG"]).read_text()


def test_a_table_is_validated_and_ingested_and_a_bad_one_ends_in_one_issue(checkout: Checkout, repository: Repository):
    checkout.done("var/sample.csv")
    checkout.done("validate", "ingest", "DATA=var/sample.csv", "STACK=staging", "LAKE=var/lake")
    assert "keeps the contract" in (checkout.root / "var/validation.txt").read_text()
    assert list((checkout.root / "var/lake").rglob("*.parquet"))
    table = checkout.root / "bad.csv"
    table.write_text((checkout.root / "var/sample.csv").read_text().replace("month-to-month", "weekly"))
    ended = checkout.make("validate", "DATA=bad.csv", "STACK=staging")
    assert ended.returncode == 2
    for _ in range(2):
        checkout.done("data-issue", **repository.environment())
    [issue] = repository.issues
    assert (issue["labels"], "weekly" in issue["body"], len(repository.comments)) == (["data"], True, 1)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ([], ("false", "none", "none", "false")),
        (["releases/staging.json"], ("false", "release", "none", "true")),
        (["releases/prod.json"], ("false", "none", "release", "false")),
        (["releases/allowed_signers"], ("false", "none", "none", "false")),
        (["README.md", "releases/prod.json"], ("true", "all", "all", "false")),
    ],
    ids=["nothing", "a release of staging", "a release of prod", "who may approve", "code as well"],
)
def test_only_a_release_asks_for_the_role_that_can_touch_nothing_else(
    checkout: Checkout, tmp_path: Path, changed: list[str], expected: tuple[str, ...]
):
    before = checkout.head()
    for name in changed:
        (checkout.root / name).parent.mkdir(exist_ok=True)
        (checkout.root / name).write_text(name)
    if changed:
        checkout.commit("change")
    checkout.done("affected", f"BEFORE={before}", f"OUT={tmp_path / 'outputs'}")
    found = dict(line.split("=") for line in (tmp_path / "outputs").read_text().splitlines())
    assert tuple(found[name] for name in ("build", "staging", "prod", "staging_released")) == expected


def test_a_release_on_github_needs_the_tag_of_the_projects_version(checkout: Checkout, repository: Repository):
    ended = checkout.make("github-release", "TAG=v9.9.9", **repository.environment())
    assert (ended.returncode, "pyproject.toml says 0.1.0" in ended.stderr) == (2, True)
    checkout.done("github-release", "TAG=v0.1.0", **repository.environment())
    assert [each["tag_name"] for each in repository.releases] == ["v0.1.0"]


def test_the_changelog_is_made_of_the_commits(checkout: Checkout):
    (checkout.root / "more").write_text("more")
    checkout.commit("fix(app): answer again")
    changes = checkout.done("changelog")
    assert "### New" in changes
    assert "**app** answer again" in changes
