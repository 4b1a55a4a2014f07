"""The policy pack on Pulumi's own engine: what `make preview` and `make deploy` refuse, and when."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.release import Release
from tests.engine.conftest import ROOT, Project
from tests.policies.scenes import OWN_IMAGE, approved, signers
from tests.releases import make_evidence, make_release, make_variant
from tests.stacks.wholes import TOKEN_HASHES

ENVIRONMENT = ROOT / "policies" / ".venv"
pytestmark = pytest.mark.skipif(not ENVIRONMENT.exists(), reason="the pack has no environment: `make policies/.venv/complete`")


def release() -> Release:
    return approved(make_release(stack="prod", image=OWN_IMAGE))


def guarded(project: Project) -> tuple[str, ...]:
    """The options that run the pack, from a copy whose files are the project's own."""
    copy = project.folder / "policies"
    if not copy.exists():
        shutil.copytree(ROOT / "policies", copy, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
        (copy / ".venv").symlink_to(ENVIRONMENT)
        (project.folder / "releases").mkdir()
        (project.folder / "releases" / "allowed_signers").write_text(signers())
    return ("--policy-pack", str(copy), "--policy-pack-config", str(copy / f"config.{project.stack}.json"))


def plan(project: Project) -> None:
    """What `make preview` records before it asks the engine."""
    values = {"delivery:mlflowImageDigest": OWN_IMAGE.digest, "inference:tokenHashes": TOKEN_HASHES}
    options = [f"--set={key}={value}" for key, value in values.items()]
    options.append(f"--release={project.folder / 'release.json'}")
    command = [sys.executable, "-m", "stacks.plan", project.stack, "--json", *options]
    folder = project.folder / "var" / "plans"
    folder.mkdir(parents=True, exist_ok=True)
    printed = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    (folder / f"{project.stack}.json").write_text(printed.stdout)


@pytest.fixture
def prod(empty: Callable[[str], Project]) -> Project:
    made = empty("prod")
    made.go_live(release())
    plan(made)
    return made


def previewed(project: Project) -> tuple[int, str]:
    ended = project.pulumi("preview", *guarded(project))
    return ended.returncode, ended.stdout + ended.stderr


def test_an_empty_account_may_have_the_good_release_and_none_without_evidence(prod: Project):
    code, said = previewed(prod)
    assert code == 0, said
    unproven = make_variant(evidence=make_evidence(metrics={}, subgroups={}))
    prod.go_live(approved(make_release(stack="prod", image=OWN_IMAGE, variants=(unproven,))))
    plan(prod)
    code, said = previewed(prod)
    assert code != 0
    assert "model-gate" in said
    assert "has no metric auc" in said


def test_without_a_recorded_plan_what_is_unknown_is_refused(prod: Project):
    shutil.rmtree(prod.folder / "var")
    code, said = previewed(prod)
    assert code != 0
    assert "is not known before the resource is made" in said


def test_an_up_makes_nothing_that_a_rule_refuses_even_without_a_preview(prod: Project):
    prod.go_live(make_release(stack="prod", image=OWN_IMAGE))
    ended = prod.pulumi("up", "--yes", "--skip-preview", *guarded(prod))
    assert ended.returncode != 0
    assert not [each for each in prod.state() if each["type"].endswith(":Rollout")]


def test_what_stands_is_judged_from_its_exported_state(prod: Project, tmp_path: Path):
    prod.done("up", "--yes", "--skip-preview", *guarded(prod))
    exported = tmp_path / "state.json"
    exported.write_text(prod.done("stack", "export"))
    command = ["pulumi", "policy", "analyze", "--file", str(exported), *guarded(prod)]
    home = {"PULUMI_HOME": f"{prod.folder}/home", "PULUMI_BACKEND_URL": f"file://{prod.folder}/state"}
    ended = subprocess.run(
        command, cwd=prod.folder, env=prod.environment | home, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
