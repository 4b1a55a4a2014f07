"""What workloads may do in AWS, evaluated: every right that is granted, and the neighbours of it that are not."""

import pytest

from stacks import grants
from tests.stacks.access import may

ARTIFACTS, LAKE, SECRET, KEYS = "arn:aws:s3:::artifacts", "arn:aws:s3:::lake", "arn:secret", ("artifacts-key", "lake-key")
S3, SECRETS = {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}, {"kms:ViaService": "secretsmanager.eu-west-1.amazonaws.com"}
PLACES = {"region": "eu-west-1", "artifacts_arn": ARTIFACTS, "artifacts_key_arn": "artifacts-key"}
LAKES = {"lake_arn": LAKE, "lake_key_arn": "lake-key"}
INFERENCE = grants.inference(**PLACES, **LAKES)
TRAINING = grants.training(**PLACES, **LAKES)
PASSWORDS = {"secret_arn": SECRET, "secret_key_arn": "database-key"}
TRACKING = grants.tracking(**PLACES, **PASSWORDS)
VOLUMES = grants.volumes("cluster-key", "eu-west-1")
EC2 = {"kms:ViaService": "ec2.eu-west-1.amazonaws.com"}

GRANTED = {
    "inference": (
        INFERENCE,
        {
            ("s3:GetObject", f"{ARTIFACTS}/bundles/sha256/model.onnx"),
            ("s3:PutObject", f"{LAKE}/events/1.jsonl"),
            ("s3:AbortMultipartUpload", f"{LAKE}/events/1.jsonl"),
            ("kms:Decrypt", "artifacts-key"),
            ("kms:Decrypt", "lake-key"),
            ("kms:GenerateDataKey", "lake-key"),
        },
    ),
    "training": (
        TRAINING,
        {
            ("s3:GetObject", f"{ARTIFACTS}/bundles/sha256/model.onnx"),
            ("s3:GetObject", f"{LAKE}/events/1.jsonl"),
            ("s3:GetObject", f"{LAKE}/customers.parquet"),
            ("s3:ListBucket", LAKE),
            ("kms:Decrypt", "artifacts-key"),
            ("kms:Decrypt", "lake-key"),
        },
    ),
    "tracking": (
        TRACKING,
        {
            *((f"s3:{verb}Object", f"{ARTIFACTS}/mlflow/1/model") for verb in ("Get", "Put", "Delete")),
            ("s3:AbortMultipartUpload", f"{ARTIFACTS}/mlflow/1/model"),
            ("kms:Decrypt", "artifacts-key"),
            ("kms:GenerateDataKey", "artifacts-key"),
        },
    ),
}
OBJECTS = [
    f"{ARTIFACTS}/bundles/sha256/model.onnx",
    f"{ARTIFACTS}/mlflow/1/model",
    f"{LAKE}/events/1.jsonl",
    f"{LAKE}/customers.parquet",
]
ASKED = [
    *((f"s3:{verb}Object", each) for verb in ("Get", "Put", "Delete") for each in OBJECTS),
    *(("s3:AbortMultipartUpload", each) for each in OBJECTS),
    *((action, bucket) for action in ("s3:ListBucket", "s3:PutBucketPolicy", "s3:DeleteBucket") for bucket in (ARTIFACTS, LAKE)),
    *((f"kms:{verb}", key) for verb in ("Decrypt", "GenerateDataKey", "ScheduleKeyDeletion") for key in (*KEYS, "database-key")),
    ("secretsmanager:GetSecretValue", "arn:another"),
    ("sts:AssumeRole", "arn:aws:iam::1:role/deploy"),
]


@pytest.mark.parametrize("workload", GRANTED)
def test_a_workload_may_do_its_work_and_nothing_else(workload: str):
    statements, granted = GRANTED[workload]
    assert {(action, resource) for action, resource in ASKED if may(statements, action, resource, S3)} == granted


@pytest.mark.parametrize("workload", GRANTED)
def test_a_key_is_of_no_use_but_through_the_service_that_keeps_the_data(workload: str):
    statements, granted = GRANTED[workload]
    keys = [(action, key) for action, key in granted if action.startswith("kms:")]
    assert keys
    assert not any(may(statements, action, key, context) for action, key in keys for context in ({}, SECRETS))


@pytest.mark.parametrize(("prefix", "outcome"), [("mlflow/1", True), ("mlflow", True), ("bundles/", False), ("", False)])
def test_mlflow_lists_its_own_prefix(prefix: str, *, outcome: bool):
    assert may(TRACKING, "s3:ListBucket", ARTIFACTS, {"s3:prefix": prefix}) is outcome


def test_only_mlflow_reads_the_password_and_only_that_one():
    for action in ("GetSecretValue", "DescribeSecret"):
        assert may(TRACKING, f"secretsmanager:{action}", SECRET)
        assert not may(INFERENCE + TRAINING, f"secretsmanager:{action}", SECRET)
    assert may(TRACKING, "kms:Decrypt", "database-key", SECRETS)
    assert not may(TRACKING, "secretsmanager:PutSecretValue", SECRET)


def test_the_storage_driver_lends_its_key_to_aws_services_alone():
    assert may(VOLUMES, "kms:CreateGrant", "cluster-key", {"kms:GrantIsForAWSResource": "true", **EC2})
    assert not may(VOLUMES, "kms:CreateGrant", "cluster-key", {"kms:GrantIsForAWSResource": "false", **EC2})
    assert may(VOLUMES, "kms:Decrypt", "cluster-key", EC2)
    assert not may(VOLUMES, "kms:Decrypt", "cluster-key", S3)
