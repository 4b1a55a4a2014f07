import msgspec
import pytest

from app.access import TokenHashes
from stacks.config import StackConfig, read
from stacks.guide import missing
from stacks.values import values_of

TOKENS = TokenHashes(predict=["1" * 64])


def changed(config: StackConfig, delivery: dict[str, str], tokens: TokenHashes | None = TOKENS) -> StackConfig:
    assert config.aws
    own = msgspec.structs.replace(config.aws, delivery=msgspec.structs.replace(config.aws.delivery, **delivery))
    return msgspec.structs.replace(config, base=own, inference=msgspec.structs.replace(config.inference, token_hashes=tokens))


def test_an_empty_account_is_told_what_to_run_for_each_part_that_waits(prod: StackConfig):
    release, client, image, runner = missing(prod, None)
    assert "no releases/prod.json: churn promote --stack prod --image" in release
    assert client.startswith("a client that may ask for predictions, as inference:tokenHashes has no hash for predict")
    assert ".venv/bin/python -m app.access prints into Pulumi.prod.yaml" in client
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
    said = list(missing(changed(prod, delivery), None))
    assert len(said) == len(left)
    assert all(line.startswith(part) for line, part in zip(said, left, strict=True))


def test_where_everybody_may_ask_no_token_is_missing(prod: StackConfig):
    said = [*missing(changed(prod, {}, tokens=None), None)], [*missing(changed(prod, {}, tokens=TokenHashes()), None)]
    assert [sum("tokenHashes" in line for line in lines) for lines in said] == [0, 1]


def test_without_an_account_only_a_release_can_be_missing():
    local = read("local", values_of("local"))
    assert [*missing(local, None)] == ["inference, as there is no releases/local.json: churn promote --stack local"]
