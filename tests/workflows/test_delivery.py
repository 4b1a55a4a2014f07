"""The make targets that workflows call, run as they call them."""

import json
import os
import re
import shutil
from pathlib import Path

import msgspec
import pytest

from app.release import Evidence, Release, Variant, decode_release
from tests.training.released import IMAGE, add_bundle, churn, of_another_contract, write_evidence
from tests.workflows.conftest import Checkout
from tests.workflows.github import Repository
from training.sample import write_sample


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
    base, [changed] = repository.tree_of("release/staging")
    assert (base, changed["path"]) == (checkout.tree("HEAD"), "releases/staging.json")
    assert changed["content"] == (checkout.root / "releases/staging.json").read_text()
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
    _, [changed] = repository.tree_of("release/staging")
    assert digest in changed["content"]


def test_what_is_live_already_is_not_proposed(checkout: Checkout, repository: Repository):
    promoted(checkout, 1)
    checkout.commit("release(staging): 1.0.0")
    assert "nothing to propose" in checkout.done("pull-request", "STACK=staging", **repository.environment())
    assert (repository.pulls, repository.branches) == ([], {})


def test_the_way_back_from_a_release_is_a_release_that_goes_on_the_chain(checkout: Checkout, repository: Repository):
    first = promoted(checkout, 1)
    before = checkout.commit("release(staging): 1.0.0")
    second = promoted(checkout, 2, compared=first)
    checkout.commit("release(staging): 1.0.1")
    promoted(checkout, 3, compared=second)
    live = released(checkout)
    checkout.commit("release(staging): 1.0.2")
    given = {"CREATED_BY": "bob@example.com"} | repository.environment()
    checkout.done("revert-pull-request", "STACK=staging", f"BEFORE={before}", **given)
    base, [changed] = repository.tree_of("revert/staging")
    assert (base, changed["path"]) == (checkout.tree("HEAD"), "releases/staging.json")
    back = json.loads(changed["content"])
    assert (back["variants"][0]["bundle_digest"], back["created_by"]) == (first, "bob@example.com")
    assert (back["previous"], bool(back["rollback_of"])) == (live.digest, True)
    [pull] = repository.pulls
    assert (pull["title"], "git switch revert/staging" in pull["body"]) == (f"revert(staging): back to {before[:12]}", True)


def test_the_way_back_from_a_change_of_code_is_the_files_as_they_were_but_for_releases_and_workflows(
    checkout: Checkout, repository: Repository
):
    promoted(checkout, 1)
    before = checkout.commit("release(staging): 1.0.0")
    for name in ("stacks/new.py", "releases/prod.json", ".github/workflows/new.yml"):
        (checkout.root / name).write_text("new")
    (checkout.root / "app/split.py").unlink()
    (checkout.root / "app/main.py").write_text("changed")
    head = checkout.commit("feat(stacks): change something")
    checkout.done("revert-pull-request", "STACK=staging", f"BEFORE={before}", **repository.environment())
    base, changed = repository.tree_of("revert/staging")
    assert (base, repository.commit_of("revert/staging")["parents"]) == (checkout.tree("HEAD"), [head])
    assert {each["path"]: each["sha"] for each in changed} == {
        "app/main.py": checkout.named(f"{before}:app/main.py"),
        "app/split.py": checkout.named(f"{before}:app/split.py"),
        "stacks/new.py": None,
    }


def test_the_way_back_from_a_first_release_is_none(checkout: Checkout, repository: Repository):
    before = checkout.head()
    promoted(checkout, 1)
    checkout.commit("release(staging): 1.0.0")
    checkout.done("revert-pull-request", "STACK=staging", f"BEFORE={before}", **repository.environment())
    _, [changed] = repository.tree_of("revert/staging")
    assert (changed["path"], changed["sha"]) == ("releases/staging.json", None)


def test_a_promotion_that_is_open_stays_so_beside_a_way_back(checkout: Checkout, repository: Repository):
    first = promoted(checkout, 1)
    before = checkout.commit("release(staging): 1.0.0")
    (checkout.root / "stacks/new.py").write_text("")
    checkout.commit("feat(stacks): add something")
    promoted(checkout, 2, compared=first)
    checkout.done("pull-request", "STACK=staging", **repository.environment())
    checkout.done("revert-pull-request", "STACK=staging", f"BEFORE={before}", **repository.environment())
    assert [each["head"] for each in repository.pulls] == ["release/staging", "revert/staging"]
    assert [each["path"] for each in repository.tree_of("release/staging")[1]] == ["releases/staging.json"]
    assert [each["path"] for each in repository.tree_of("revert/staging")[1]] == ["stacks/new.py"]


def test_where_nothing_differs_there_is_no_way_back_and_it_says_so(checkout: Checkout, repository: Repository):
    said = checkout.done("revert-pull-request", "STACK=staging", f"BEFORE={checkout.head()}", **repository.environment())
    assert "nothing to bring back" in said
    assert (repository.pulls, repository.branches) == ([], {})
    ended = checkout.make("revert-pull-request", "STACK=staging", "BEFORE=", **repository.environment())
    assert ended.returncode == 2
    assert (repository.pulls, repository.branches) == ([], {})


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


@pytest.mark.parametrize("again", [1, 2], ids=["the champion", "the challenger"])
def test_a_table_that_makes_a_live_model_again_is_an_answer(checkout: Checkout, tmp_path: Path, again: int):
    made = {1: promoted(checkout, 1)}
    made[2] = add_bundle(checkout.home, 2, compared=made[1])
    checkout.commit("release(staging): 1.0.0")
    checkout.done("challenge", "STACK=staging", f"OUT={os.devnull}", f"WHY={os.devnull}")
    before = (checkout.root / "releases/staging.json").read_bytes()
    checkout.home.candidate.write_text(made[again])
    checkout.done("challenge", "STACK=staging", f"OUT={tmp_path / 'outputs'}", f"WHY={tmp_path / 'why'}")
    assert (tmp_path / "outputs").read_text() == "better=false\n"
    live = {1: "champion 1.0.0", 2: "challenger 1.0.1"}[again]
    assert (tmp_path / "why").read_text() == f"Nothing to propose: table and code made {live} again, which is live.\n"
    assert (checkout.root / "releases/staging.json").read_bytes() == before


def test_what_another_stack_has_is_judged_beside_the_own_champion_in_the_case_that_it_comes_with(checkout: Checkout):
    home, case, take_over = checkout.home, ("--offer-cost-usd", "30"), ("promote", "STACK=prod", "FROM=dev")
    author = {"CREATED_BY": "bob@example.com"}

    def live_on_dev(*more: str) -> Variant:
        ended = churn(home, "promote", "--stack", "dev", "--image", IMAGE, "--created-by", "bob@example.com", *more)
        assert ended.returncode == 0, ended.stderr
        return released(checkout, "dev").champion

    def trained(seed: int, *more: str) -> str:
        write_sample(home.var / "sample.csv", rows=2_000, seed=seed)
        ended = churn(home, "train", f"{home.var}/sample.csv", "--only", "logistic-regression", "--trials", "1", *more)
        assert ended.returncode == 0, ended.stderr
        return home.candidate.read_text().strip()

    first = trained(0)
    live_on_dev()
    checkout.done(*take_over, **author)
    checkout.commit("release(prod): 1.0.0")
    second = add_bundle(home, 2, compared=first)
    live_on_dev()
    third = trained(1, "--stack", "prod", *case)
    found = msgspec.json.decode(home.evidence(third).read_bytes(), type=Evidence)
    write_evidence(home, third, msgspec.structs.replace(found, compared_with=second))
    dev = live_on_dev(*case)
    assert f"was compared with {second}, the live champion is {first}" in checkout.make(*take_over, **author).stderr
    checkout.done("compare", *take_over, "DATA=var/sample.csv", **author)
    prod = released(checkout, "prod")
    assert (prod.champion.bundle_digest, prod.business_case.offer_cost_usd) == (third, 30)
    assert (prod.champion.evidence.compared_with, prod.champion.evidence.threshold) == (first, dev.threshold)
    ended = churn(home, "evaluate", "TABLE", "--from", "dev", "--bundle", third)
    assert (ended.returncode, "give one of them" in ended.stderr) == (2, True)
    # What promote does not need either is no reason to stop.
    of_another_contract(home, "dev")
    assert "the champion of dev is of contract 999999999999" in checkout.done("compare", "STACK=prod", "FROM=dev", "DATA=TABLE")


def test_without_a_trained_bundle_there_is_nothing_to_challenge_with(checkout: Checkout):
    ended = checkout.make("challenge", "STACK=staging", f"OUT={os.devnull}", "WHY=/dev/stderr")
    assert ended.returncode == 2
    assert "no bundle was trained yet; run `churn train TABLE`" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_hinders_the_lake_is_in_the_report_of_the_issue(checkout: Checkout):
    ended = checkout.make("ingest", "DATA=nowhere.csv", "LAKE=var/lake", "REPORT=var/report.txt")
    assert ended.returncode == 2
    assert "nowhere.csv" in (checkout.root / "var/report.txt").read_text()


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
    # Of another contract it tells this code nothing, and is no reason not to train.
    of_another_contract(checkout.home, "staging")
    assert checkout.done("champion", "STACK=staging", f"BUNDLES={store.as_uri()}") == ""


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


@pytest.fixture
def engine(checkout: Checkout, tmp_path: Path) -> dict[str, str]:
    """The environment in which Pulumi writes down what it is asked and ends with CODE; tests/engine has the real one."""
    program = tmp_path / "bin" / "pulumi"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho pulumi "$@" >> "$LOG"\nexit ${CODE:-0}\n')
    program.chmod(0o755)
    # The rules' own environment is for the real one.
    (checkout.root / "policies/.venv").mkdir()
    (checkout.root / "policies/.venv/complete").touch()
    return {"PATH": f"{program.parent}:{os.environ['PATH']}", "LOG": str(tmp_path / "log")}


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


def test_what_was_built_is_scanned_image_by_image(checkout: Checkout, builder: dict[str, str]):
    checkout.done("scan", **builder)
    scanned = re.findall(r"--input var/images/(\w+)", Path(builder["LOG"]).read_text())
    assert scanned == ["app", "training", "mlflow"]
    assert checkout.make("scan", REFUSED="app", **builder).returncode == 2


def test_a_deployment_is_under_the_rules_held_to_what_it_may_touch_and_ends_with_its_canary(
    checkout: Checkout, engine: dict[str, str]
):
    said = checkout.done("deploy", "STACK=staging", "ONLY=inference", **engine)
    [call] = Path(engine["LOG"]).read_text().splitlines()
    rules = "--policy-pack policies --policy-pack-config policies/config.staging.json"
    assert call == f"pulumi up --stack staging {rules} --target **churn:inference:**"
    assert json.loads((checkout.root / "var/plans/staging.json").read_text())
    assert said == "deployed: nothing is live on staging\n"


def test_a_deployment_that_the_engine_refuses_waits_for_no_canary(checkout: Checkout, engine: dict[str, str]):
    ended = checkout.make("deploy", "STACK=dev", CODE="255", **engine)
    assert (ended.returncode, "deployed" in ended.stdout) == (2, False)


def test_when_the_scanner_refuses_one_image_none_is_pushed(checkout: Checkout, builder: dict[str, str]):
    ended = checkout.make("push", "REPOSITORY=registry/churn", REFUSED="mlflow", **builder)
    assert ended.returncode == 2
    assert "push=true" not in Path(builder["LOG"]).read_text()


def test_without_a_release_there_is_nothing_to_bring_to_a_local_cluster(checkout: Checkout):
    ended = checkout.make("local-load")
    assert (ended.returncode, "releases/local.json is not there; run `make model`" in ended.stderr) == (2, True)


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
    # Not even fetched: silence would be taken for good data.
    checkout.done("data-issue", "REPORT=var/nowhere.txt", **repository.environment())
    assert "before there was a report" in repository.comments[-1]["body"]


def test_newer_packages_are_proposed_with_what_moves_and_not_installed(checkout: Checkout, repository: Repository):
    assert "nothing to propose" in checkout.done("lock-pull-request", **repository.environment())
    locks = {path: path.read_text() for path in (checkout.root / f"requirements/{name}.lock" for name in ("app", "dev"))}
    [version] = {each for text in locks.values() for each in re.findall(r"^starlette==(\S+)", text, re.MULTILINE)}
    for path, text in locks.items():
        path.write_text(text.replace(f"starlette=={version}", "starlette==99.0"))
    before = (checkout.root / ".venv/complete").stat()
    for _ in range(2):
        checkout.done("lock-pull-request", **repository.environment())
    assert (checkout.root / ".venv/complete").stat() == before
    [pull] = repository.pulls
    assert (pull["head"], pull["title"]) == ("locks", "build(requirements): lock newer packages")
    assert f"| starlette | {version} | 99.0 |" in pull["body"]
    _, changes = repository.tree_of("locks")
    assert [each["path"] for each in changes] == ["requirements/app.lock", "requirements/dev.lock"]


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
