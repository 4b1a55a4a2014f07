import json
import subprocess
import time
from datetime import date
from pathlib import Path

import pytest

from policies import pack
from policies.declared import Node, Resource, Unknown, UnreadableError, recorded, shown
from policies.guide import page
from policies.pack import RULES, facts_of
from policies.rule import Facts, Finding
from stacks.inference_pod import RELEASE_ANNOTATION
from tests.policies.scenes import scene

ROOT = Path(pack.__file__).parents[1]


def test_the_page_about_the_rules_is_current():
    assert (ROOT / "docs" / "policies.md").read_text() == page(), "run `make docs`"


def test_a_rule_says_what_people_need_to_know_of_it():
    for rule in RULES.values():
        assert rule.why.endswith(".")
        assert rule.frameworks
        assert "; " in rule.example or rule.id == "iam-no-users", rule.id


def test_the_gate_reads_the_annotation_that_the_program_writes():
    assert pack.model.ANNOTATION == RELEASE_ANNOTATION


def test_judging_a_stack_is_not_felt():
    prod = scene("prod")
    resources = prod.resources
    started = time.perf_counter()
    pack.verdicts(resources, prod.settings, prod.facts)
    assert time.perf_counter() - started < 0.25


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def test_what_was_live_comes_from_git_newest_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    git(tmp_path, "init", "-q")
    (tmp_path / "releases").mkdir()
    for text in ('{"digest": "1"}', "no JSON", '{"digest": "2"}'):
        (tmp_path / "releases" / "prod.json").write_text(text)
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", text)
    (tmp_path / "releases" / "allowed_signers").write_text("somebody")
    monkeypatch.setattr(pack, "ROOT", tmp_path)
    facts = facts_of("prod", date(2026, 1, 1))
    assert [each["digest"] for each in facts.committed()] == ["2", "1"]
    assert facts.allowed_signers == "somebody"
    assert facts_of("dev", None).committed() == ()


def test_without_git_there_is_no_history(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(pack, "ROOT", tmp_path)
    assert facts_of("prod", None).committed() == ()
    monkeypatch.setenv("PATH", "")
    assert facts_of("prod", None) != Facts()
    assert facts_of("prod", None).committed() == ()
    assert facts_of("prod", None).allowed_signers == ""


def test_a_reference_is_unknown_and_a_text_with_one_is_not():
    entry = {"type": "a:b:C", "name": "x", "parent": "", "provider": "", "protect": False}
    [found] = recorded(
        [
            entry
            | {
                "inputs": {
                    "whole": "${bucket/x.arn}",
                    "part": "${bucket/x.arn}/*",
                    "of IAM": "${aws:username}",
                    "kept": "[secret]",
                }
            }
        ]
    )
    assert found["whole"].value == Unknown("bucket/x.arn")
    assert found["part"].known == "${bucket/x.arn}/*"
    assert found["of IAM"].known == "${aws:username}"
    assert found["kept"].value == Unknown()


@pytest.mark.parametrize(
    "read", [lambda node: node["a"], list, lambda node: node.text, lambda node: node.number, lambda node: node.document]
)
def test_what_is_unknown_can_only_be_refused(read):
    with pytest.raises(UnreadableError, match="place is not known"):
        read(Node(Unknown(), "place"))


def test_leaves_are_all_scalars_with_their_places():
    node = Node({"a": [1, {"b": 2}], "c": Unknown()})
    assert [each.place for each in node.leaves] == ["a[0]", "a[1].b", "c"]


def test_a_resource_is_meant_by_reference_name_or_id():
    bucket = Resource(type="aws:s3/bucket:Bucket", name="lake", inputs=Node({"bucket": "lake-1"}))
    assert bucket.is_meant_by(Node(Unknown("bucket/lake.id")))
    assert bucket.is_meant_by(Node("lake-1"))
    assert not bucket.is_meant_by(Node(Unknown("bucket/lakes.id")))
    assert not bucket.is_meant_by(Node(None))
    assert not bucket.is_meant_by(Node("lake"))


def test_a_value_is_shown_on_one_short_line():
    assert shown("a\nb") == '"a\\nb"'
    assert len(shown("x" * 200)) == 80
    assert shown(None) == "missing"
    assert shown(Unknown()) == "not known yet"


def test_a_finding_about_no_single_resource_is_the_stacks():
    assert Finding(resource=None, message="").name == "stack"


def test_the_pack_lists_every_rule_once():
    listed = [rule.id for module in pack.MODULES for rule in module.RULES]
    assert len(listed) == len(set(listed)) == len(RULES)
    assert json.dumps(listed)
