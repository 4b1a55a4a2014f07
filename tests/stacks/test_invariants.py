"""What holds for everything that any stack declares."""

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from stacks import addon_grants, roles, runner
from stacks.pins import CHARTS
from stacks.record import Plan, Resource
from tests.stacks.access import listed, refused

TAGS = {"project", "stack", "owner", "cost-centre"}
REASONS = addon_grants.ANY_RESOURCE | roles.ANY_RESOURCE | runner.ANY_RESOURCE
Statement = dict[str, Any]


def on_aws(plan: Plan) -> list[Resource]:
    return [each for each in plan.resources if each.type.startswith("aws:")]


def in_kubernetes(plan: Plan) -> list[Resource]:
    return [each for each in plan.resources if each.type.startswith("kubernetes:")]


def taggable(resource: Resource) -> bool:
    _, module, kind = resource.type.split(":")
    declared = getattr(importlib.import_module(f"pulumi_aws.{module.split('/')[0]}"), kind)
    parameter = inspect.signature(declared._internal_init).parameters.get("tags")  # noqa: SLF001 - the only typed list of inputs
    return parameter is not None and "Mapping" in str(parameter.annotation)


def statements(plan: Plan) -> Iterator[tuple[str, Statement]]:
    """Every statement of every policy, with the key of the resource that it is of."""
    for resource in on_aws(plan):
        for document in (resource.inputs.get("policy"), resource.inputs.get("assumeRolePolicy")):
            if isinstance(document, dict) and "Statement" in document:
                yield from ((resource.key, each) for each in document["Statement"])


def pods(plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    for resource in in_kubernetes(plan):
        template = resource.inputs.get("spec", {}).get("template", {})
        if "containers" in template.get("spec", {}):
            yield resource.key, template["spec"]


def test_everything_goes_through_the_one_tagging_provider(whole: Plan):
    [provider] = [each for each in whole.resources if each.type == "pulumi:providers:aws"]
    assert provider.inputs["defaultTags"]["tags"].keys() == TAGS
    assert provider.inputs["defaultTags"]["tags"]["stack"] == whole.stack
    assert {each.provider for each in on_aws(whole)} == {provider.key}


def test_everything_taggable_names_its_component(whole: Plan):
    untagged = [each.key for each in on_aws(whole) if taggable(each) and "component" not in each.inputs.get("tags", {})]
    # The role that pulumi-eks makes for itself has the provider's tags alone.
    assert [key for key in untagged if "eksRole" not in key] == []
    assert any(not taggable(each) for each in on_aws(whole))


def test_everything_hangs_below_a_component(everywhere: Plan):
    keys = {each.key for each in everywhere.resources if each.type.startswith(("churn:", "eks:"))}
    assert [each.key for each in [*on_aws(everywhere), *in_kubernetes(everywhere)] if each.parent not in keys] == []


def test_every_bucket_is_encrypted_closed_versioned_and_refuses_plain_http(whole: Plan):
    buckets = [each.name for each in on_aws(whole) if each.type == "aws:s3/bucket:Bucket"]
    by_name = {each.name: each.inputs for each in on_aws(whole)}
    assert len(buckets) == 3
    for name in buckets:
        assert {f"{name}-encryption", f"{name}-public-access", f"{name}-versioning", f"{name}-lifecycle"} <= by_name.keys()
        policy, arn = by_name[f"{name}-policy"]["policy"], f"${{bucket/{name}.arn}}"
        assert refused(policy, "anybody", "s3:PutObject", f"{arn}/x", aws_SecureTransport="false")


def test_nobody_is_allowed_everything(whole: Plan):
    found = list(statements(whole))
    assert len(found) > 100
    for key, statement in found:
        if statement["Effect"] == "Allow":
            actions = listed(statement["Action"])
            # A key that its account has no say in is lost, and in a key's own policy `*` is that key.
            assert "*" not in actions, key
            assert not any(each.endswith(":*") for each in actions) or statement["Sid"] in REASONS | {"AccountDecides": ""}, key


def test_whoever_is_allowed_something_on_any_resource_has_a_reason(whole: Plan):
    for key, statement in statements(whole):
        # The policy of a resource is about that resource.
        if statement["Effect"] == "Allow" and "Principal" not in statement and "*" in listed(statement["Resource"]):
            assert REASONS.get(statement["Sid"]), (key, statement["Sid"])


def test_only_a_condition_lets_anybody_in(whole: Plan):
    for key, statement in statements(whole):
        if statement["Effect"] == "Allow" and statement.get("Principal") in ("*", {"AWS": "*"}):
            assert statement["Condition"]["ArnEquals"]["aws:PrincipalArn"].startswith("arn:aws:iam::${account.id}:role/"), key


def test_nothing_listens_to_the_internet(whole: Plan):
    assert not [each.key for each in on_aws(whole) if each.type.endswith("IngressRule") and "cidrIpv4" in each.inputs]
    assert not [each.key for each in on_aws(whole) if each.inputs.get("publiclyAccessible")]
    assert not [each.key for each in on_aws(whole) if each.inputs.get("mapPublicIpOnLaunch")]
    [cluster] = [each.inputs["vpcConfig"] for each in on_aws(whole) if each.type == "aws:eks/cluster:Cluster"]
    assert (cluster["endpointPrivateAccess"], cluster["endpointPublicAccess"]) == (True, False)
    assert {
        each.inputs["spec"].get("type", "ClusterIP") for each in in_kubernetes(whole) if each.type.endswith("v1:Service")
    } == {"ClusterIP"}


def test_whatever_can_be_encrypted_with_a_key_is(whole: Plan):
    by_type: dict[str, list[dict[str, Any]]] = {}
    for each in on_aws(whole):
        by_type.setdefault(each.type.rpartition(":")[2], []).append(each.inputs)
    assert {each["kmsKeyId"] for each in by_type["Instance"]} == {"${key/storage-database.arn}"}
    assert {each["kmsKeyId"] for each in by_type["LogGroup"]} == {"${key/storage-logs.arn}"}
    assert {each["kmsMasterKeyId"] for each in by_type["Topic"]} == {"${key/storage-alerts.arn}"}
    [images] = by_type["Repository"]
    assert images["encryptionConfigurations"] == [{"encryptionType": "KMS", "kmsKey": "${key/storage-images.arn}"}]
    [cluster] = [each for each in by_type["Cluster"] if "vpcConfig" in each]
    assert cluster["encryptionConfig"]["provider"]["keyArn"] == "${key/storage-cluster.arn}"
    disks = [disk["ebs"] for each in by_type["LaunchTemplate"] for disk in each["blockDeviceMappings"]]
    assert {(each["encrypted"], each["kmsKeyId"]) for each in disks} == {("true", "${key/storage-cluster.arn}")}


def test_every_key_rotates(whole: Plan):
    assert {each.inputs["enableKeyRotation"] for each in on_aws(whole) if each.type == "aws:kms/key:Key"} == {True}


def test_no_version_floats(everywhere: Plan):
    charts = {(each.name, each.version) for each in CHARTS}
    for each in everywhere.resources:
        if each.type == "kubernetes:helm.sh/v3:Release":
            assert (each.inputs["chart"], each.inputs["version"]) in charts
        if each.type == "aws:eks/addon:Addon":
            assert re.fullmatch(r"v\d+\.\d+\.\d+-eksbuild\.\d+", each.inputs["addonVersion"]), each.key
        if each.type == "aws:eks/nodeGroup:NodeGroup":
            assert each.inputs["releaseVersion"], each.key


def test_images_are_named_by_digest(whole: Plan):
    images = [container["image"] for _, pod in pods(whole) for container in [*pod["containers"], *pod.get("initContainers", [])]]
    assert len(images) >= 4
    assert [each for each in images if not re.search(r"@sha256:[0-9a-f]{64}$", each)] == []


def test_every_pod_of_ours_has_no_right_that_it_does_not_need(everywhere: Plan):
    found = list(pods(everywhere))
    assert len(found) == 2
    for key, pod in found:
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False), key
        assert pod["securityContext"]["runAsNonRoot"], key
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"], key
            assert not context["allowPrivilegeEscalation"], key
            assert context["capabilities"] == {"drop": ["ALL"]}, key
            assert container["resources"].keys() == {"requests", "limits"}, key
        assert all({"livenessProbe", "readinessProbe"} <= each.keys() for each in pod["containers"]), key


def test_no_secret_is_in_sight(everywhere: Plan):
    assert not [each.key for each in in_kubernetes(everywhere) if each.type.endswith(":Secret")]
    variables = [(key, each) for key, pod in pods(everywhere) for c in pod["containers"] for each in c.get("env", [])]
    assert variables
    assert not [found for found in variables if re.search("PASSWORD|SECRET|TOKEN$", found[1]["name"])]


@pytest.mark.parametrize("namespace", ["churn", "monitoring"])
def test_what_no_policy_opens_is_shut(everywhere: Plan, namespace: str):
    [shut] = [
        each.inputs["spec"]
        for each in in_kubernetes(everywhere)
        if each.type.endswith(":NetworkPolicy") and each.inputs["metadata"] == {"name": "default-deny", "namespace": namespace}
    ]
    assert shut == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_data_in_prod_is_protected(everywhere: Plan):
    kept = ("aws:s3/bucket:Bucket", "aws:rds/instance:Instance", "aws:kms/key:Key", "aws:ecr/repository:Repository")
    holders = [each for each in everywhere.resources if each.type in kept]
    assert {each.protect for each in holders} <= {everywhere.stack == "prod"}
