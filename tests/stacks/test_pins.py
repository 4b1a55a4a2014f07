import re
from pathlib import Path

import pytest

from stacks import pins
from stacks.config import read
from stacks.pins import ADDONS, CHARTS, KUBERNETES, PinError, addon_version, base_image, chart, gaps, main
from stacks.plan import values_of

DIGEST = "sha256:" + "a" * 64


def test_every_version_is_exact_and_says_where_it_was_read():
    for each in pins.pins():
        assert re.fullmatch(r"v?\d+\.\d+\.\d+(-eksbuild\.\d+|-\d{8})?|sha256:[0-9a-f]{64}", each.version), each
        assert "/" in each.source, each


def test_what_is_pinned_fits_the_kubernetes_that_every_stack_runs():
    for stack in ("dev", "staging", "prod"):
        aws = read(stack, values_of(stack)).aws
        assert aws
        assert aws.cluster.version == KUBERNETES
    assert addon_version("kube-proxy").startswith(f"v{KUBERNETES}.")
    assert pins.NODE_AMI.version.startswith(f"{KUBERNETES}.")


def test_a_chart_and_an_addon_are_found_by_name():
    assert {chart(each.name) for each in CHARTS} == set(CHARTS)
    assert {addon_version(name) for name in ADDONS} == {each.version for each in ADDONS.values()}


def test_the_base_image_is_the_dockerfiles():
    found = base_image(f"# Read somewhere.\nARG BASE=python:3.11@{DIGEST}\nFROM x\n")
    assert (found.name, found.version, found.source) == ("image python:3.11", DIGEST, "Read somewhere.")


@pytest.mark.parametrize("line", ["ARG BASE=python:3.11", "ARG BASE=python@sha256:abc", "FROM python"])
def test_a_base_image_without_a_digest_is_refused(line: str):
    with pytest.raises(PinError, match="give name:tag@sha256"):
        base_image(f"# Read somewhere.\n{line}\n")


def test_what_only_the_owner_knows_is_a_gap_with_its_command():
    [gap] = gaps({"dev": "  delivery:mlflowImageDigest: unpublished\n", "prod": f"  delivery:mlflowImageDigest: {DIGEST}\n"})
    assert gap.name == "mlflow image of dev"
    assert "pulumi config set --stack dev delivery:mlflowImageDigest" in gap.run


def test_pins_come_first_and_gaps_last(capsys: pytest.CaptureFixture[str]):
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    versions = [number for number, line in enumerate(lines) if line.startswith("chart keda  ")]
    missing = [number for number, line in enumerate(lines) if line.startswith("NOT PINNED")]
    assert len(versions) == 1
    assert all(number > versions[0] for number in missing)
    assert len([line for line in lines if "read in " in line]) == len(pins.pins())


def test_a_floating_base_image_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "Dockerfile").write_text("# Nowhere.\nARG BASE=python:latest\n")
    monkeypatch.setattr(pins, "ROOT", tmp_path)
    assert main() == 1
    assert "Dockerfile: ARG BASE is" in capsys.readouterr().err
