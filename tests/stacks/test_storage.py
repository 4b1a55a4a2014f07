import pytest

from stacks.config import AwsConfig
from stacks.storage import PURPOSES, Storage, StorageArgs
from tests.stacks.access import allowed, refused
from tests.stacks.conftest import Engine

BUCKETS = ["storage-artifacts", "storage-lake", "storage-logs"]
HOLDERS = ("Bucket", "Key", "Repository")
FLOW_LOGS, ACCESS_LOGS = "delivery.logs.amazonaws.com", "logging.s3.amazonaws.com"


def build(engine: Engine, config: AwsConfig) -> None:
    engine.run(lambda: Storage("storage", StorageArgs(config=config.storage, account_id="us", region="eu-west-1")))


def test_every_key_rotates_and_has_a_purpose(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    keys = engine.resources("Key")
    assert {each.name for each in keys} == {f"storage-{purpose}" for purpose in PURPOSES}
    assert all(each.inputs["enableKeyRotation"] for each in keys)


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_is_versioned_and_closed_to_the_public(engine: Engine, prod_aws: AwsConfig, name: str):
    build(engine, prod_aws)
    assert engine.one("BucketVersioning", f"{name}-versioning")["versioningConfiguration"] == {"status": "Enabled"}
    closed = engine.one("BucketPublicAccessBlock", f"{name}-public-access")
    assert all(closed.pop(key) for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"))
    assert closed == {"bucket": f"${{bucket/{name}.id}}"}
    assert engine.one("BucketOwnershipControls", f"{name}-ownership")["rule"] == {"objectOwnership": "BucketOwnerEnforced"}


@pytest.mark.parametrize("purpose", ["lake", "artifacts"])
def test_data_is_encrypted_with_the_key_of_its_purpose(engine: Engine, prod_aws: AwsConfig, purpose: str):
    build(engine, prod_aws)
    [rule] = engine.one("BucketServerSideEncryptionConfiguration", f"storage-{purpose}-encryption")["rules"]
    used = rule["applyServerSideEncryptionByDefault"]
    assert used == {"kmsMasterKeyId": f"${{key/storage-{purpose}.arn}}", "sseAlgorithm": "aws:kms"}


@pytest.mark.parametrize("name", BUCKETS)
@pytest.mark.parametrize(
    ("connection", "outcome"),
    [
        ({"aws_SecureTransport": "false"}, True),
        ({"aws_SecureTransport": "true", "s3_TlsVersion": "1.1"}, True),
        ({"aws_SecureTransport": "true", "s3_TlsVersion": "1.2"}, False),
    ],
    ids=["plain HTTP", "TLS 1.1", "TLS 1.2"],
)
def test_a_bucket_refuses_all_but_tls(
    engine: Engine, prod_aws: AwsConfig, name: str, connection: dict[str, str], *, outcome: bool
):
    build(engine, prod_aws)
    policy = engine.one("BucketPolicy", f"{name}-policy")["policy"]
    arn = f"${{bucket/{name}.arn}}"
    for action, resource in (("s3:GetObject", f"{arn}/key"), ("s3:ListBucket", arn)):
        assert refused(policy, "anybody", action, resource, **connection) is outcome


@pytest.mark.parametrize(
    ("who", "key", "account", "outcome"),
    [
        (FLOW_LOGS, "AWSLogs/us/vpcflowlogs/x", "us", True),
        (FLOW_LOGS, "AWSLogs/us/vpcflowlogs/x", "them", False),
        (FLOW_LOGS, "access/x", "us", False),
        (ACCESS_LOGS, "access/storage-lake/x", "us", True),
        (ACCESS_LOGS, "access/storage-lake/x", "them", False),
        (ACCESS_LOGS, "AWSLogs/us/x", "us", False),
    ],
)
def test_logs_are_taken_of_this_account_only(
    engine: Engine, prod_aws: AwsConfig, who: str, key: str, account: str, *, outcome: bool
):
    build(engine, prod_aws)
    policy = engine.one("BucketPolicy", "storage-logs-policy")["policy"]
    where, tls = f"${{bucket/storage-logs.arn}}/{key}", {"aws_SecureTransport": "true", "s3_TlsVersion": "1.3"}
    assert allowed(policy, who, "s3:PutObject", where, aws_SourceAccount=account, **tls) is outcome
    assert not allowed(policy, who, "s3:GetObject", where, aws_SourceAccount=account, **tls)


def test_reads_and_writes_of_data_are_logged(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    assert {each["targetPrefix"]: each["targetBucket"] for each in engine.inputs("BucketLogging")} == {
        "access/storage-lake/": "${bucket/storage-logs.id}",
        "access/storage-artifacts/": "${bucket/storage-logs.id}",
    }


def test_only_logs_expire_and_only_the_lake_cools(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    rules = {
        each.name: {rule["id"]: rule for rule in each.inputs["rules"]}
        for each in engine.resources("BucketLifecycleConfiguration")
    }
    common = {"old-versions", "unfinished"}
    assert {name: set(each) - common for name, each in rules.items()} == {
        "storage-artifacts-lifecycle": set(),
        "storage-lake-lifecycle": {"cool"},
        "storage-logs-lifecycle": {"expire"},
    }
    assert rules["storage-logs-lifecycle"]["expire"]["expiration"] == {"days": 365}
    assert rules["storage-lake-lifecycle"]["cool"]["transitions"] == [{"days": 90, "storageClass": "STANDARD_IA"}]


def test_an_image_tag_is_written_once_scanned_and_never_expires(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    [repository] = engine.inputs("Repository")
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    [lifecycle] = engine.inputs("LifecyclePolicy")
    assert [rule["selection"]["tagStatus"] for rule in lifecycle["policy"]["rules"]] == ["untagged"]


def test_protected_data_outlives_the_stack(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    holders = [each for kind in HOLDERS for each in engine.resources(kind) if each.type.startswith("aws:")]
    assert len(holders) == 4 + len(PURPOSES)
    assert all(each.protect and each.retain_on_delete for each in holders)
    assert not any(each.inputs.get("forceDestroy") or each.inputs.get("forceDelete") for each in holders)


def test_unprotected_data_goes_with_the_stack(engine: Engine, dev_aws: AwsConfig):
    build(engine, dev_aws)
    assert not any(each.protect or each.retain_on_delete for each in engine.plan.resources)
    assert all(each.inputs["forceDestroy"] for each in engine.resources("Bucket") if each.type.startswith("aws:"))


def test_images_are_never_deleted_along_with_a_stack(engine: Engine, dev_aws: AwsConfig):
    build(engine, dev_aws)
    [repository] = engine.inputs("Repository")
    assert repository["forceDelete"] is False
