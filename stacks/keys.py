"""Who may use a key beside those whom the account's own policies name."""

import json

from stacks.documents import Document, policy

# What a service does with data of ours that it keeps encrypted.
USE = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]


def key_policy(purpose: str, account_id: str, region: str) -> str:
    """The policy of the key for a purpose: the account's own policies decide, and some services are let in beside them."""
    services = {"cluster": machines, "logs": log_groups, "alerts": budgets}
    let_in = services[purpose](account_id, region) if purpose in services else []
    return json.dumps(policy(by_the_account(account_id), *let_in))


def by_the_account(account_id: str) -> Document:
    """The default policy: in a key's own, `*` is that key, and a key that the account has no say in is lost."""
    # https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
    principal = {"AWS": f"arn:aws:iam::{account_id}:root"}
    return {"Sid": "AccountDecides", "Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*"}


def machines(account_id: str, _region: str) -> list[Document]:
    """Auto scaling, which starts nodes with encrypted disks by a role whose policy knows no keys."""
    # https://docs.aws.amazon.com/autoscaling/ec2/userguide/key-policy-requirements-EBS-encryption.html
    role = f"arn:aws:iam::{account_id}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
    # As a condition, since a principal must exist and an empty account gets this role only with its first node group.
    of_role = {"ArnEquals": {"aws:PrincipalArn": role}}
    base: Document = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Resource": "*"}
    for_disks = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    return [
        base | {"Sid": "NodeDisks", "Action": USE, "Condition": of_role},
        base | {"Sid": "NodeDisksAttached", "Action": ["kms:CreateGrant"], "Condition": of_role | for_disks},
    ]


def log_groups(account_id: str, region: str) -> list[Document]:
    """CloudWatch, for the log groups of this account in this region."""
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
    groups = {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:{region}:{account_id}:log-group:*"}
    return [
        {
            "Sid": "LogGroups",
            "Effect": "Allow",
            "Principal": {"Service": f"logs.{region}.amazonaws.com"},
            "Action": USE,
            "Resource": "*",
            "Condition": {"ArnLike": groups},
        }
    ]


def budgets(account_id: str, _region: str) -> list[Document]:
    """AWS Budgets, for the topic that it writes to on behalf of this account."""
    # https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-sns-policy.html
    return [
        {
            "Sid": "Budgets",
            "Effect": "Allow",
            "Principal": {"Service": "budgets.amazonaws.com"},
            "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
            "Resource": "*",
            "Condition": {
                "StringEquals": {"aws:SourceAccount": account_id},
                "ArnLike": {"aws:SourceArn": f"arn:aws:budgets::{account_id}:*"},
            },
        }
    ]
