import msgspec
import pytest

from stacks.config import StackConfig, read
from stacks.guide import missing
from stacks.values import values_of


def changed(config: StackConfig, **delivery: str) -> StackConfig:
    assert config.aws
    own = msgspec.structs.replace(config.aws, delivery=msgspec.structs.replace(config.aws.delivery, **delivery))
    return msgspec.structs.replace(config, base=own)


def test_an_empty_account_is_told_what_to_run_for_each_part_that_waits(prod: StackConfig):
    release, image, runner = missing(prod, None)
    assert "no releases/prod.json: churn promote --stack prod --image" in release
    assert "pulumi config set --stack prod delivery:mlflowImageDigest" in image
    assert "pulumi config set --stack prod delivery:githubConnection confirmed" in runner


@pytest.mark.parametrize(
    ("delivery", "left"),
    [
        ({"mlflow_image_digest": f"sha256:{'0' * 64}"}, ["inference", "the runner"]),
        ({"github_connection": "confirmed"}, ["inference", "MLflow"]),
    ],
    ids=["image", "connection"],
)
def test_what_is_there_is_not_asked_for(prod: StackConfig, delivery: dict[str, str], left: list[str]):
    said = list(missing(changed(prod, **delivery), None))
    assert len(said) == len(left)
    assert all(line.startswith(part) for line, part in zip(said, left, strict=True))


def test_without_an_account_only_a_release_can_be_missing():
    local = read("local", values_of("local"))
    assert [*missing(local, None)] == ["inference, as there is no releases/local.json: churn promote --stack local"]
