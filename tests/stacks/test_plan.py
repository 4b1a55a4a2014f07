import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import msgspec
import pulumi
import pytest

from app.release import encode_release
from policies.config import load
from policies.pack import RULES
from policies.rule import Exemption
from stacks import plan as module
from stacks.config import StackConfig, stacks
from stacks.cost import over_budget, price
from stacks.documents import policy
from stacks.pins import chart
from stacks.plan import main, planned
from stacks.record import Plan, Resource, record
from stacks.render import difference
from stacks.values import PlanError, values_of
from tests.releases import IMAGE, make_release
from tests.stacks.wholes import grown

STACKS = Path(module.__file__).parent
NO_DOT = "dot is not on PATH: install the package graphviz"


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


def test_a_plan_says_what_is_missing_what_charts_are_set_to_why_so_many_and_what_it_costs(capsys: pytest.CaptureFixture[str]):
    text = printed(capsys, "prod")
    assert "churn promote --stack prod" in text.partition("not declared\n")[2]
    assert f"chart keda {chart('keda').version} from {chart('keda').repository}\n    " in text
    assert "requests/s at peak" in text.partition("size of inference\n")[2]
    [cost] = [line.removeprefix("cost: ") for line in text.splitlines() if line.startswith("cost: ")]
    assert "USD a month, at most" in cost
    assert text.splitlines()[0].endswith(cost)
    assert "list prices of us-east-1" in text.partition("assumed\n")[2]


@pytest.mark.parametrize("stack", stacks())
def test_every_stack_is_within_its_budget_and_nothing_in_it_is_unknown_to_the_prices(
    capsys: pytest.CaptureFixture[str], stack: str
):
    cost = json.loads(printed(capsys, stack, "--json"))[stack]["cost"]
    assert not [each for each in cost["unpriced"] if "unknown" in each or "not in stacks/prices.py" in each]


def test_with_nothing_missing_prod_is_within_its_budget_and_priced(everything: Plan, prod: StackConfig):
    assert prod.aws
    cost = price(everything)
    assert over_budget(cost, prod.aws.account.budget_usd_per_month, "prod") is None
    assert not [each for each in cost.unpriced if "unknown" in each or "not in stacks/prices.py" in each]
    assert {"cluster", "database", "inference", "monitoring", "network", "storage"} == cost.by_component.keys()


def test_a_changed_value_is_seen_with_what_it_costs(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    kept = tmp_path / "kept.json"
    kept.write_text(printed(capsys, "dev", "--json"))
    lines = printed(capsys, "dev", "--set", "network:nat=per-zone", "--against", str(kept)).splitlines()
    assert "+ aws:ec2/natGateway:NatGateway network-nat-b" in lines
    assert "~ aws:ec2/route:Route network-private-b" in lines
    assert any(line.endswith("network: 36.50 -> 109.50") and "+73.00" in line for line in lines)


def test_above_the_budget_a_plan_is_printed_and_refused(capsys: pytest.CaptureFixture[str]):
    assert main(["dev", "--set", "account:budgetUsdPerMonth=100"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("stack dev: ")
    assert "above account:budgetUsdPerMonth 100; the largest part is cluster" in said.err


def test_a_release_is_planned_with_before_it_is_committed(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    text = printed(capsys, "local", "--release", grown("local", tmp_path)["churn:release"])
    assert "inference  Deployment" in text
    assert "churn promote" not in text


def test_manifests_are_written_by_stack_if_there_are_several(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    printed(capsys, "dev", "local", "--manifests", str(tmp_path))
    assert (tmp_path / "dev" / "namespace-churn.yaml").exists()
    assert (tmp_path / "local" / "deployment-mlflow.yaml").exists()
    printed(capsys, "local", "--manifests", str(tmp_path / "one"))
    assert (tmp_path / "one" / "persistentvolumeclaim-churn.yaml").exists()


@pytest.mark.parametrize(
    "option", ["--manifests", pytest.param("--picture", marks=pytest.mark.skipif(not shutil.which("dot"), reason=NO_DOT))]
)
def test_what_cannot_be_written_is_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "it.svg"
    assert main(["local", option, str(place)]) == 2
    assert f"{option} {place} cannot be written: " in capsys.readouterr().err


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
    assert "~ aws:ec2/subnet:Subnet network-private-a  REPLACED" in grown
    assert "- aws:ec2/natGateway:NatGateway network-nat-b" in printed(capsys, "dev", "--against", str(prod)).splitlines()


def test_an_action_less_in_a_policy_is_one_line_of_a_diff():
    def may(*actions: str) -> Plan:
        inputs = {"policy": policy({"Sid": "Read", "Effect": "Allow", "Action": list(actions), "Resource": ["*"]})}
        given = {"parent": "", "provider": "", "protect": False, "retain_on_delete": False, "inputs": inputs}
        return Plan(stack="test", outputs={}, resources=(Resource(type="aws:iam/rolePolicy:RolePolicy", name="it", **given),))

    _, *lines = difference(may("ec2:Get*", "iam:Get*", "s3:Get*"), may("iam:Get*", "s3:Get*"))
    assert lines == ["    policy.Statement[Read].Action[ec2:Get*]: ec2:Get* -> null"]


def test_no_change_hides_behind_another_of_the_same_name():
    def reading(*paths: str) -> Plan:
        inputs = {"mounts": [{"name": "data", "path": path} for path in paths]}
        given = {"parent": "", "provider": "", "protect": False, "retain_on_delete": False, "inputs": inputs}
        return Plan(stack="test", outputs={}, resources=(Resource(type="churn:test:Pod", name="it", **given),))

    assert "    mounts[0].path: /a -> /b" in difference(reading("/a", "/c"), reading("/b", "/c"))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("network:nat", "--set network:nat has no value; give KEY=VALUE"),
        ("=one", "--set =one has no key; give KEY=VALUE"),
        ("network:zones=[a", "--set network:zones=[a is no list or map; give one such as [eu-west-1a,eu-west-1b]"),
        ("network:nats=one", "network:nats is one, but no such key is read; give network:nat"),
        ("network:zones=[eu-west-1a]", "network:zones has 1, too few"),
    ],
    ids=["no value", "no key", "no list", "no such key", "too few"],
)
def test_a_setting_that_cannot_be_is_bad_input(capsys: pytest.CaptureFixture[str], setting: str, said: str):
    assert main(["dev", "--set", setting]) == 2
    assert said in capsys.readouterr().err


def test_a_release_that_is_none_is_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert main(["dev", "--release", str(tmp_path / "none.json")]) == 2
    assert "give a file that `churn promote --stack dev` wrote" in capsys.readouterr().err


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
    monkeypatch.setattr("stacks.values.ROOT", tmp_path)
    monkeypatch.setattr("stacks.config.ROOT", tmp_path)
    assert main(["odd"]) == 2
    assert "Pulumi.odd.yaml cannot be read" in capsys.readouterr().err


def test_what_pulumi_itself_writes_into_the_file_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "Pulumi.odd.yaml").write_text("secretsprovider: awskms://alias/x\nencryptedkey: abc\nconfig: {a:b: [1]}\n")
    monkeypatch.setattr("stacks.values.ROOT", tmp_path)
    monkeypatch.setattr("stacks.config.ROOT", tmp_path)
    assert values_of("odd") == {"a:b": "[1]"}


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("encryptionsalt: v1:abc", "by a passphrase"),
        ("secretsprovider: passphrase\nencryptionsalt: v1:abc", "by passphrase"),
        ("secretsprovider: awskms://alias/mine?region=eu-west-1\nencryptedkey: abc", "by awskms://alias/mine"),
        ("secretsprovider: awskms://alias/churn-state?region=eu-west-1\nencryptedkey: abc", ""),
        ("", ""),
    ],
)
def test_secrets_in_the_state_of_a_stack_on_aws_are_encrypted_by_the_accounts_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, found: str
):
    (tmp_path / "Pulumi.odd.yaml").write_text(f"{written}\nconfig: {{churn:platform: aws, account:region: eu-west-1}}\n")
    monkeypatch.setattr("stacks.values.ROOT", tmp_path)
    monkeypatch.setattr("stacks.config.ROOT", tmp_path)
    if not found:
        assert values_of("odd")["churn:platform"] == "aws"
        return
    with pytest.raises(PlanError, match=found) as raised:
        values_of("odd")
    assert 'change-secrets-provider --stack odd "awskms://alias/churn-state?region=eu-west-1"' in str(raised.value)


def test_a_secret_is_masked():
    class Holder(pulumi.CustomResource):
        def __init__(self) -> None:
            super().__init__("churn:test:Holder", "holder", {"word": pulumi.Output.secret("hush"), "share": 0.5})

    [holder] = record(Holder, "test", {}).resources
    assert holder.inputs == {"word": "[secret]", "share": 0.5}


def test_the_table_of_contents_stays_one():
    assert len((STACKS / "__main__.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize("stack", stacks())
def test_every_committed_stack_keeps_to_every_rule(stack: str):
    assert planned(stack, {}).verdicts == ()


def test_a_release_that_a_rule_refuses_is_named_on_the_side_and_the_plan_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    path = tmp_path / "prod.json"
    path.write_bytes(encode_release(make_release(stack="prod", image=IMAGE)))
    assert main(["prod", "--release", str(path)]) == 1
    captured = capsys.readouterr()
    assert "stack prod: model-gate: approval: prod needs an approval" in captured.err
    assert "  mandatory  model-gate: approval: prod needs an approval" in captured.out


def test_a_release_that_nobody_has_a_token_for_is_refused_with_what_to_give(
    capsys: pytest.CaptureFixture[str], complete: dict[str, str]
):
    release = ["--release", complete["churn:release"]]
    assert main(["prod", *release]) == 1
    found = capsys.readouterr()
    assert "pod-clients: annotation churn/tokens has no sha256 for predict" in found.err
    assert "inference:tokenHashes has no hash for predict: put the sha256 that" in found.out
    assert main(["prod", *release, "--set=inference:tokenHashes=null"]) == 1
    assert "pod-clients: container inference has no CHURN_TOKENS" in capsys.readouterr().err
    main(["prod", *release, f"--set=inference:tokenHashes={{predict: [{'a' * 64}]}}"])
    found = capsys.readouterr()
    assert "tokenHashes" not in found.out + found.err


def test_an_exemption_ends_with_its_last_day_where_a_day_is_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    spared = Exemption(resource="stack", reason="first up", owner="ada", last_day=date(2026, 3, 31))
    settings = load("dev", RULES)
    rule = next(iter(settings))
    exempted = settings | {rule: msgspec.structs.replace(settings[rule], exemptions=(spared,))}
    monkeypatch.setattr("stacks.plan.load", lambda *_: exempted)
    assert [main(["dev", "--today", day]) for day in ("2026-03-31", "2026-04-01")] == [0, 1]
    assert f"stack dev: {rule}: its exemption ended on 2026-03-31" in capsys.readouterr().err
