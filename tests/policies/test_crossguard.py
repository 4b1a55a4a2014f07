"""The rules as the engine asks them, by an engine of the test's own."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from policies.crossguard import FIRST, Pack
from policies.pack import RULES

GUARD = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
POLICY = "aws:s3/bucketPolicy:BucketPolicy"
BUCKET = "aws:s3/bucket:Bucket"
LATER = object()


class NotKnownError(Exception):
    """What the engine's properties raise."""


class Props(Mapping[str, Any]):
    """Properties that raise where one is read that is not known yet."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        found = self._values[key]
        if found is LATER:
            raise NotKnownError(key)
        return Props(found) if isinstance(found, dict) else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass
class Options:
    protect: bool = False
    parent: str | None = None


@dataclass
class Given:
    """One resource, as a rule about single ones is asked, or as part of a stack."""

    resource_type: str
    name: str
    values: dict[str, Any]
    config: Mapping[str, Any] | None = None
    property_dependencies: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    provider: Any = None
    opts: Options = field(default_factory=Options)

    @property
    def urn(self) -> str:
        return f"urn:pulumi:prod::churn::churn:x:Y${self.resource_type}::{self.name}"

    @property
    def props(self) -> Props:
        return Props(self.values)

    def get_config(self) -> Mapping[str, Any] | None:
        return self.config


@dataclass
class Whole:
    resources: list[Any]
    config: Mapping[str, Any] | None = None

    def get_config(self) -> Mapping[str, Any] | None:
        return self.config


def ask(rule: str, args: Any, plans: Path = Path("/nowhere"), pack: Pack | None = None) -> list[tuple[str, str | None]]:
    said: list[tuple[str, str | None]] = []
    made = pack or Pack(unknown=NotKnownError, today=date(2026, 6, 1), plans=plans)
    made.asked(RULES[rule])(args, lambda message, urn=None: said.append((message, urn)))
    return said


def blocks(**changes: Any) -> dict[str, Any]:
    names = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    return dict.fromkeys(names, True) | changes


def test_a_good_resource_is_let_through():
    assert ask("bucket-public-access", Given(GUARD, "lake", blocks())) == []


def test_a_bad_one_is_refused_by_name_and_urn():
    bad = Given(GUARD, "lake", blocks(blockPublicAcls=False))
    assert ask("bucket-public-access", bad) == [("lake: blockPublicAcls is false; give true", bad.urn)]


def test_a_resource_of_another_type_is_none_of_a_rules_business():
    assert ask("bucket-public-access", Given(BUCKET, "lake", {})) == []


def test_what_is_not_known_yet_is_refused():
    [(message, _)] = ask("bucket-public-access", Given(GUARD, "lake", blocks(blockPublicAcls=LATER)))
    assert "blockPublicAcls is not known" in message


def recorded_plan(folder: Path, kind: str, inputs: dict[str, Any]) -> Path:
    entry = {"type": kind, "name": "lake", "parent": "", "provider": "", "protect": False, "inputs": inputs}
    (folder / "prod.json").write_text(json.dumps({"prod": {"resources": [entry]}}))
    return folder


def test_what_is_not_known_yet_is_read_in_the_recorded_plan(tmp_path: Path):
    plans = recorded_plan(tmp_path, GUARD, blocks(rules=[{"a": "b"}], bucket="${bucket/lake.id}"))
    good = Given(GUARD, "lake", blocks(blockPublicAcls=LATER, rules=[{"a": LATER}], bucket=LATER))
    assert ask("bucket-public-access", good, plans) == []
    bad = Given(GUARD, "lake", blocks(blockPublicAcls=LATER, blockPublicPolicy=False))
    assert [message for message, _ in ask("bucket-public-access", bad, plans)] == ["lake: blockPublicPolicy is false; give true"]


def test_what_is_known_is_not_read_in_the_plan(tmp_path: Path):
    plans = recorded_plan(tmp_path, GUARD, blocks())
    assert ask("bucket-public-access", Given(GUARD, "lake", blocks(blockPublicAcls=False)), plans)


def test_an_unreadable_plan_is_none(tmp_path: Path):
    (tmp_path / "prod.json").write_text("{")
    assert ask("bucket-public-access", Given(GUARD, "lake", blocks(blockPublicAcls=LATER)), tmp_path)


def test_a_setting_that_is_not_given_is_refused_with_where_to_give_it():
    key = Given("aws:kms/key:Key", "key", {"enableKeyRotation": True, "deletionWindowInDays": 30})
    [(message, _)] = ask("kms-keys", key)
    assert "deletionWindowDays is missing" in message
    assert "--policy-pack-config" in message
    key.config = {"deletionWindowDays": 30.0}
    assert ask("kms-keys", key) == []


def exempted(last_day: str) -> dict[str, Any]:
    return {"exemptions": [{"resource": "lake", "reason": "r", "owner": "o", "lastDay": last_day}]}


def test_an_exemption_spares_until_its_last_day():
    bad = Given(GUARD, "lake", blocks(blockPublicAcls=False), exempted("2026-06-01"))
    assert ask("bucket-public-access", bad) == []
    bad.config = exempted("2026-05-31")
    said = [message for message, _ in ask("bucket-public-access", bad)]
    assert said[0] == "lake: blockPublicAcls is false; give true"
    assert said[1] == "lake: its exemption ended on 2026-05-31; o mends what was exempted and takes it out"


def test_exemptions_are_counted_over_the_rules_that_were_asked():
    pack = Pack(unknown=NotKnownError, today=date(2026, 6, 1))
    for rule in ("bucket-public-access", "bucket-versioning"):
        ask(rule, Given(BUCKET, "lake", {}, exempted("2027-01-01")), pack=pack)
    said = ask("exemptions", Whole([Given(BUCKET, "lake", {})], {"most": 1}), pack=pack)
    assert said == [("stack: it has 2 exemptions; 1 are allowed: mend what is exempted", None)]


def test_a_rule_about_the_stack_sees_what_an_unknown_input_comes_from():
    bucket = Given(BUCKET, "lake", {"bucket": LATER})
    log_bucket = Given(BUCKET, "logs", {"bucket": LATER})
    logging = Given(
        "aws:s3/bucketLogging:BucketLogging",
        "logging",
        {"bucket": LATER, "targetBucket": LATER, "targetPrefix": "x"},
        property_dependencies={"bucket": [bucket], "targetBucket": [log_bucket]},
    )
    assert ask("bucket-access-logs", Whole([bucket, log_bucket, logging])) == []
    [(message, urn)] = ask("bucket-access-logs", Whole([bucket]))
    assert message.startswith("lake: nothing records")
    assert urn == bucket.urn


def test_a_resource_is_found_by_what_others_are_given_of_it():
    pack = Pack(unknown=NotKnownError, today=date(2026, 6, 1))
    vpc = Given("aws:ec2/vpc:Vpc", "vpc", {})
    group = Given(
        "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "default", {"vpcId": "vpc-1"}, property_dependencies={"vpcId": [vpc]}
    )
    ask(FIRST, group, pack=pack)
    assert ask("network-default-group", Whole([vpc, group]), pack=pack) == []


def test_a_rule_about_the_stack_sees_inputs_of_which_nothing_has_come_yet():
    pack = Pack(unknown=NotKnownError, today=date(2026, 6, 1))
    ask(FIRST, Given("aws:eks/addon:Addon", "network", {"addonName": "vpc-cni"}), pack=pack)
    cluster = Given("aws:eks/cluster:Cluster", "cluster", {"name": "a"})
    logs = Given("aws:cloudwatch/logGroup:LogGroup", "logs", {"name": "/aws/eks/a/cluster"})
    nothing_yet = Given("aws:eks/addon:Addon", "network", {})
    assert ask("eks-beside", Whole([cluster, logs, nothing_yet])) != []
    assert ask("eks-beside", Whole([cluster, logs, nothing_yet]), pack=pack) == []


def test_a_provider_comes_along_with_what_it_makes():
    bucket = Given(
        BUCKET, "lake", {}, provider=Given("pulumi:providers:aws", "default_7", {}), opts=Options(parent="urn:a::b::c$d::e")
    )
    said = ask("tags", Whole([bucket], {"required": {}}))
    assert [message for message, _ in said] == [
        "lake: it is made by a provider that the stack does not declare; give it the stack's"
    ]
