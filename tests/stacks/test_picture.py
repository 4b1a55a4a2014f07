import shutil
from pathlib import Path

import pytest

from stacks.parts import FLOWS, Found, boxes, places
from stacks.picture import dot, draw
from stacks.plan import main, plan
from stacks.record import Plan
from stacks.values import PlanError

NEEDS_DOT = pytest.mark.skipif(not shutil.which("dot"), reason="dot is not on PATH: install the package graphviz")


def test_with_nothing_missing_every_part_and_flow_is_drawn(everything: Plan):
    made = {each.id for each in boxes(Found(everything))}
    ends = {end for flow in FLOWS for end in (flow.source, flow.target)}
    # The volume is what a cluster without AWS has.
    assert ends - made == {"volume"}
    assert all(f"  {flow.source} -> {flow.target} " in dot(everything) for flow in FLOWS if flow.target != "volume")


def test_a_part_stands_in_a_place_that_there_is(everything: Plan):
    around = places(Found(everything))
    assert {each.place for each in boxes(Found(everything))} <= {"", *around}
    assert {parent for parent, _ in around.values()} <= {"", *around}


def test_what_a_stack_has_not_is_not_drawn():
    text = dot(plan("local"))
    assert "MLflow" in text
    assert "a cluster that is there" in text
    for absent in ("VPC", "AWS services", "inference ->", "S3"):
        assert absent not in text


def test_parts_say_what_they_are_set_to(everything: Plan):
    said = {each.id: " ".join((each.title, *each.lines)) for each in boxes(Found(everything))}
    assert "PostgreSQL 17" in said["database"]
    assert "standby" in said["database"]
    assert said["nat"].startswith("3 NAT gateways")
    assert said["inference"].startswith("inference Rollout, ")
    assert "spot" in said["nodes"]


@NEEDS_DOT
@pytest.mark.parametrize(("name", "begins"), [("it.svg", b"<?xml"), ("it.png", b"\x89PNG")])
def test_a_picture_is_drawn_in_the_format_of_its_name(everything: Plan, tmp_path: Path, name: str, begins: bytes):
    draw(everything, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_without_graphviz_the_package_is_named(everything: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlanError, match="install the package graphviz"):
        draw(everything, tmp_path / "it.svg")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["local", "--picture", "it.jpg"], r"ends in .png or .svg"), (["dev", "local", "--picture", "it.svg"], "give one stack")],
    ids=["format", "several stacks"],
)
def test_what_cannot_be_drawn_is_bad_input(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
