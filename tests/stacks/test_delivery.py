import msgspec
import pytest

from stacks.config import AwsConfig, StackConfig
from stacks.delivery import Delivery, DeliveryArgs
from stacks.rollout import longest_seconds
from tests.stacks.conftest import Engine

ACCOUNT = "123456789012"


def build(engine: Engine, own: AwsConfig, **changes: str) -> None:
    args = DeliveryArgs(
        config=msgspec.structs.replace(own.delivery, **changes),
        account=own.account,
        account_id=ACCOUNT,
        cluster_name="churn-test",
        images_arn="arn:images",
        artifacts_arn="arn:aws:s3:::artifacts",
        artifacts_key_arn="arn:key",
        alerts_key_arn="arn:alerts",
    )
    engine.run(lambda: Delivery("delivery", args))


def subjects(engine: Engine) -> dict[str, str]:
    return {
        each["name"]: each["assumeRolePolicy"]["Statement"][0]["Condition"]["StringEquals"][
            "token.actions.githubusercontent.com:sub"
        ]
        for each in engine.inputs("Role")
    }


def test_each_role_is_for_one_kind_of_run(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    assert subjects(engine) == {
        "churn-test-preview": "repo:retention-team/churn:pull_request",
        "churn-test-deploy": "repo:retention-team/churn:environment:test",
        "churn-test-release": "repo:retention-team/churn:environment:test-release",
        "churn-test-publish": "repo:retention-team/churn:ref:refs/heads/main",
    }


def test_a_role_gets_the_rights_that_are_its_own(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    first = {each.name: each.inputs["policy"]["Statement"][0]["Sid"] for each in engine.resources("RolePolicy")}
    assert first == {
        "delivery-preview": "ReadSettings",
        "delivery-deploy": "ReadSettings",
        "delivery-release": "ReachCluster",
        "delivery-publish": "LogInToImages",
    }
    publish = engine.one("RolePolicy", "delivery-publish")["policy"]["Statement"]
    assert [each["Resource"] for each in publish][1:3] == [["arn:images"], ["arn:aws:s3:::artifacts/bundles/*"]]


def test_a_role_that_deploys_is_held_as_long_as_a_canary_may_take(engine: Engine, prod_aws: AwsConfig, prod: StackConfig):
    build(engine, prod_aws)
    sessions = {each["name"]: each["maxSessionDuration"] for each in engine.inputs("Role")}
    assert {name for name, seconds in sessions.items() if seconds > 3600} == {"churn-test-deploy", "churn-test-release"}
    assert sessions["churn-test-release"] == sessions["churn-test-deploy"] > longest_seconds(prod)


@pytest.mark.parametrize(("provider", "count"), [("made-here", 1), ("there-already", 0)])
def test_an_account_has_one_identity_provider(engine: Engine, prod_aws: AwsConfig, provider: str, count: int):
    build(engine, prod_aws, identity_provider=provider)
    assert len(engine.resources("OpenIdConnectProvider")) == count
    [federated] = {each["assumeRolePolicy"]["Statement"][0]["Principal"]["Federated"] for each in engine.inputs("Role")}
    assert federated == f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
