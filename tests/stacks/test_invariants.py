"""What holds for everything that any stack declares."""

import importlib
import inspect

from stacks.record import Plan, Resource
from tests.stacks.access import refused

TAGS = {"project", "stack", "owner", "cost-centre"}


def on_aws(plan: Plan) -> list[Resource]:
    return [each for each in plan.resources if each.type.startswith("aws:")]


def taggable(resource: Resource) -> bool:
    _, module, kind = resource.type.split(":")
    declared = getattr(importlib.import_module(f"pulumi_aws.{module.split('/')[0]}"), kind)
    return "tags" in inspect.signature(declared._internal_init).parameters  # noqa: SLF001 - the only typed list of inputs


def test_everything_goes_through_the_one_tagging_provider(whole: Plan):
    [provider] = [each for each in whole.resources if each.type == "pulumi:providers:aws"]
    assert provider.inputs["defaultTags"]["tags"].keys() == TAGS
    assert provider.inputs["defaultTags"]["tags"]["stack"] == whole.stack
    assert {each.provider for each in on_aws(whole)} == {provider.key}


def test_everything_taggable_names_its_component(whole: Plan):
    untagged = [each.key for each in on_aws(whole) if taggable(each) and "component" not in each.inputs.get("tags", {})]
    assert untagged == []
    assert any(not taggable(each) for each in on_aws(whole))


def test_everything_hangs_below_a_component(whole: Plan):
    keys = {each.key for each in whole.resources if each.type.startswith("churn:")}
    assert all(each.parent in keys for each in on_aws(whole))


def test_every_bucket_is_encrypted_closed_versioned_and_refuses_plain_http(whole: Plan):
    buckets = [each.name for each in on_aws(whole) if each.type == "aws:s3/bucket:Bucket"]
    by_name = {each.name: each.inputs for each in on_aws(whole)}
    assert len(buckets) == 3
    for name in buckets:
        assert {f"{name}-encryption", f"{name}-public-access", f"{name}-versioning", f"{name}-lifecycle"} <= by_name.keys()
        policy, arn = by_name[f"{name}-policy"]["policy"], f"${{bucket/{name}.arn}}"
        assert refused(policy, "anybody", "s3:PutObject", f"{arn}/x", aws_SecureTransport="false")


def test_no_statement_allows_everybody_or_everything(whole: Plan):
    policies = [each.inputs["policy"] for each in on_aws(whole) if "Statement" in each.inputs.get("policy", {})]
    allowing = [each for policy in policies for each in policy["Statement"] if each["Effect"] == "Allow"]
    assert allowing
    for statement in allowing:
        assert statement["Principal"] != "*"
        assert "*" not in statement["Action"]
        assert statement["Resource"] != "*"
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "${account.id}"}}


def test_nothing_listens_to_the_internet(whole: Plan):
    assert not [each.key for each in on_aws(whole) if each.type.endswith("IngressRule") and "cidrIpv4" in each.inputs]
    assert not [each.key for each in on_aws(whole) if each.inputs.get("publiclyAccessible")]
    assert not [each.key for each in on_aws(whole) if each.inputs.get("mapPublicIpOnLaunch")]


def test_whatever_can_be_encrypted_with_a_key_is(whole: Plan):
    [database] = [each.inputs for each in on_aws(whole) if each.type.endswith(":Instance")]
    [images] = [each.inputs for each in on_aws(whole) if each.type.endswith(":Repository")]
    assert database["kmsKeyId"] == "${key/storage-database.arn}"
    assert images["encryptionConfigurations"] == [{"encryptionType": "KMS", "kmsKey": "${key/storage-images.arn}"}]
