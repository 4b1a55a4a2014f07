import json

import pytest

from stacks.keys import key_policy
from stacks.storage import PURPOSES
from tests.stacks.access import allowed

AUTO_SCALING = "arn:aws:iam::us:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
LOGS, GROUP = "logs.eu-west-1.amazonaws.com", "kms:EncryptionContext:aws:logs:arn"


def may(purpose: str, who: str, action: str, **context: str) -> bool:
    return allowed(json.loads(key_policy(purpose, "us", "eu-west-1")), who, action, "the key", **context)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_key_can_always_be_managed_by_the_account_and_used_by_nobody_from_outside(purpose: str):
    assert may(purpose, "arn:aws:iam::us:root", "kms:PutKeyPolicy")
    assert not may(purpose, "arn:aws:iam::them:root", "kms:PutKeyPolicy")
    assert not may(purpose, "arn:aws:iam::them:root", "kms:Decrypt")


@pytest.mark.parametrize("action", ["kms:GenerateDataKeyWithoutPlaintext", "kms:Decrypt", "kms:ReEncryptFrom"])
def test_auto_scaling_starts_nodes_with_encrypted_disks_and_nobody_else_does(action: str):
    assert may("cluster", "them", action, **{"aws:PrincipalArn": AUTO_SCALING})
    assert not may("cluster", "them", action, **{"aws:PrincipalArn": "arn:aws:iam::us:role/else"})
    assert not may("lake", "them", action, **{"aws:PrincipalArn": AUTO_SCALING})


def test_auto_scaling_lends_the_key_to_aws_services_alone():
    who = {"aws:PrincipalArn": AUTO_SCALING}
    assert may("cluster", "them", "kms:CreateGrant", **who, **{"kms:GrantIsForAWSResource": "true"})
    assert not may("cluster", "them", "kms:CreateGrant", **who, **{"kms:GrantIsForAWSResource": "false"})


def test_cloudwatch_encrypts_the_log_groups_of_this_account_and_region():
    ours = "arn:aws:logs:eu-west-1:us:log-group:/aws/eks/churn-prod/cluster"
    assert may("logs", LOGS, "kms:GenerateDataKey", **{GROUP: ours})
    assert not may("logs", LOGS, "kms:GenerateDataKey", **{GROUP: ours.replace(":us:", ":them:")})
    assert not may("logs", LOGS, "kms:GenerateDataKey")
    assert not may("images", LOGS, "kms:GenerateDataKey", **{GROUP: ours})
