import json
import subprocess
import sys
from pathlib import Path

import pulumi
import pytest

from stacks import plan as module
from stacks.plan import main
from stacks.record import record

STACKS = Path(module.__file__).parent


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_the_plan_is_the_same_bytes_from_run_to_run(capsys: pytest.CaptureFixture[str]):
    here = printed(capsys, "dev", "prod", "--json")
    command = [sys.executable, "-m", "stacks.plan", "dev", "prod", "--json"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == here


def test_stacks_in_one_process_do_not_see_each_other(capsys: pytest.CaptureFixture[str]):
    together = json.loads(printed(capsys, "prod", "dev", "--json"))
    assert together["dev"] == json.loads(printed(capsys, "dev", "--json"))["dev"]


def test_the_tree_shows_a_resource_below_its_component_with_its_settings(capsys: pytest.CaptureFixture[str]):
    lines = printed(capsys, "prod").splitlines()
    component = lines.index("database  Database")
    [instance] = [line for line in lines[component + 1 :] if line.startswith("  database  Instance  PROTECTED")]
    assert "multiAz=true" in instance
    assert any("storage-lake-policy" in line and "RefusePlainHttp=Deny" in line for line in lines)
    assert "  budget_usd_per_month = 2500" in lines


def test_nothing_is_different_from_itself(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    kept = tmp_path / "kept.json"
    kept.write_text(printed(capsys, "dev", "--json"))
    assert printed(capsys, "dev", "--against", str(kept)) == "stack dev: no change\n"


def test_a_diff_names_what_is_added_removed_and_changed(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    dev, prod = tmp_path / "dev.json", tmp_path / "prod.json"
    dev.write_text(printed(capsys, "dev", "--json"))
    prod.write_text(printed(capsys, "prod", "--json"))
    grown = printed(capsys, "prod", "--against", str(dev)).splitlines()
    assert "+ aws:ec2/natGateway:NatGateway network-nat-b" in grown
    changed = grown[grown.index("~ aws:rds/instance:Instance database") :]
    assert "    multiAz: false -> true" in changed
    assert "    (protect): false -> true" in changed
    assert "    budget_usd_per_month: 400 -> 2500" in grown[grown.index("~ outputs") :]
    assert "- aws:ec2/natGateway:NatGateway network-nat-b" in printed(capsys, "dev", "--against", str(prod)).splitlines()


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is not a plan"), ("[]", "is not a plan"), ("{}", "has plans of no stack; give one that has dev")],
    ids=["no file", "another file", "no plan in it"],
)
def test_a_file_that_is_no_plan_is_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str | None, said: str):
    path = tmp_path / "kept.json"
    if content is not None:
        path.write_text(content)
    assert main(["dev", "--against", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_an_unknown_stack_is_bad_input(capsys: pytest.CaptureFixture[str]):
    assert main(["qa"]) == 2
    assert "the stacks there are: dev, local, prod, staging" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["config: [", "config: 3"], ids=["no YAML", "no values"])
def test_a_file_of_values_that_cannot_be_read_is_bad_input(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
):
    (tmp_path / "Pulumi.odd.yaml").write_text(content)
    monkeypatch.setattr("stacks.plan.ROOT", tmp_path)
    monkeypatch.setattr("stacks.config.ROOT", tmp_path)
    assert main(["odd"]) == 2
    assert "Pulumi.odd.yaml cannot be read" in capsys.readouterr().err


def test_a_secret_is_masked():
    class Holder(pulumi.CustomResource):
        def __init__(self) -> None:
            super().__init__("churn:test:Holder", "holder", {"word": pulumi.Output.secret("hush"), "share": 0.5})

    [holder] = record(Holder, "test", {}).resources
    assert holder.inputs == {"word": "[secret]", "share": 0.5}


def test_the_table_of_contents_stays_one():
    assert len((STACKS / "__main__.py").read_text().splitlines()) <= 60
