import json

import pytest

from stacks.alarms import BUDGETS, Alarms, AlarmsArgs
from stacks.config import AwsConfig
from stacks.keys import key_policy
from tests.stacks.access import allowed
from tests.stacks.conftest import Engine

US, THEM = "123456789012", "999999999999"


@pytest.fixture
def alarms(engine: Engine, prod_aws: AwsConfig) -> Engine:
    engine.run(lambda: Alarms("alarms", AlarmsArgs(account=prod_aws.account, account_id=US, key_arn="arn:key")))
    return engine


def test_whoever_is_named_is_told(alarms: Engine, prod_aws: AwsConfig):
    told = {(each["protocol"], each["endpoint"]) for each in alarms.inputs("TopicSubscription")}
    assert told == {("email", address) for address in prod_aws.account.alert_emails}


def test_the_budget_is_the_stacks_and_speaks_before_it_is_spent(alarms: Engine, prod_aws: AwsConfig):
    [budget] = alarms.inputs("Budget")
    assert (budget["limitAmount"], budget["limitUnit"]) == (str(prod_aws.account.budget_usd_per_month), "USD")
    assert budget["costFilters"] == [{"name": "TagKeyValue", "values": ["user:stack$test"]}]
    assert any(each["threshold"] < 100 for each in budget["notifications"])
    assert all(each["subscriberSnsTopicArns"] == ["${topic/alarms.arn}"] for each in budget["notifications"])


@pytest.mark.parametrize(("who", "account", "outcome"), [(BUDGETS, US, True), (BUDGETS, THEM, False), ("events", US, False)])
def test_budgets_of_this_account_write_to_the_topic_and_with_its_key(alarms: Engine, who: str, account: str, *, outcome: bool):
    context = {"aws:SourceAccount": account, "aws:SourceArn": f"arn:aws:budgets::{account}:budget/churn"}
    [topic], key = alarms.inputs("TopicPolicy"), json.loads(key_policy("alerts", US, "eu-west-1"))
    assert allowed(topic["policy"], who, "sns:Publish", "${topic/alarms.arn}", **context) is outcome
    assert allowed(key, who, "kms:GenerateDataKey", "*", **context) is outcome
    assert not allowed(topic["policy"], who, "sns:DeleteTopic", "${topic/alarms.arn}", **context)


def test_messages_are_encrypted_with_the_key_for_them(alarms: Engine):
    [topic] = alarms.inputs("Topic")
    assert topic["kmsMasterKeyId"] == "arn:key"
