import json

import pytest

from stacks import roles, runner
from stacks.documents import Document
from stacks.record import Plan
from stacks.roles import Scope, deploy, preview, publish, release, trust_policy
from tests.stacks.access import allowed, may, refused

SCOPE = Scope(stack="dev", region="eu-west-1", account_id="1", repository="team/churn", cluster_name="churn-dev")
IMAGES, ARTIFACTS, KEY = "arn:images", "arn:aws:s3:::storage-artifacts-1", "arn:key"
RIGHTS = {
    "preview": preview(SCOPE),
    "deploy": deploy(SCOPE),
    "release": release(SCOPE),
    "publish": publish(SCOPE, IMAGES, ARTIFACTS, KEY),
}
STATE = "arn:aws:s3:::churn-state-1/.pulumi/stacks/churn"
HERE = {"aws:RequestedRegion": "eu-west-1"}
OWN = {"aws:ResourceTag/project": "churn", "aws:ResourceTag/stack": "dev"}
NODES = "arn:aws:iam::1:role/cluster-nodes-1234567"


def take(subject: str, audience: str = "sts.amazonaws.com") -> bool:
    claims = {f"{roles.GITHUB}:sub": subject, f"{roles.GITHUB}:aud": audience}
    trust = trust_policy(SCOPE, "environment:dev")
    return allowed(trust, SCOPE.provider_arn, "sts:AssumeRoleWithWebIdentity", "*", **claims)


def test_a_role_is_taken_by_its_own_subject_in_this_repository_alone():
    assert take("repo:team/churn:environment:dev")
    for other in ("repo:team/churn:environment:dev-release", "repo:team/churn:pull_request", "repo:fork/churn:environment:dev"):
        assert not take(other)
    assert not take("repo:team/churn:environment:dev", audience="somebody else")


@pytest.mark.parametrize("role", RIGHTS)
@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:GetObject", "arn:aws:s3:::storage-lake-1/events/x"),
        ("s3:GetObject", f"{ARTIFACTS}/mlflow/x"),
        ("s3:DeleteObject", f"{ARTIFACTS}/bundles/x"),
        ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu-west-1:1:secret:rds!db"),
        ("iam:CreateUser", "arn:aws:iam::1:user/x"),
        ("iam:PutRolePolicy", "arn:aws:iam::1:role/churn-dev-deploy"),
        ("iam:UpdateAssumeRolePolicy", "arn:aws:iam::1:role/churn-dev-preview"),
        ("sts:AssumeRole", "arn:aws:iam::1:role/cluster-admin"),
        ("ecr:BatchDeleteImage", IMAGES),
        ("kms:Decrypt", "arn:aws:kms:eu-west-1:1:key/lake"),
    ],
)
def test_no_workflow_reads_data_or_raises_itself(role: str, action: str, resource: str):
    assert not may(RIGHTS[role], action, resource, HERE | OWN)


@pytest.mark.parametrize("action", ["eks:UpdateClusterConfig", "ec2:RunInstances", "s3:PutBucketPolicy", "iam:CreateRole"])
def test_a_preview_changes_nothing(action: str):
    assert may(RIGHTS["preview"], "eks:DescribeCluster", "*")
    assert not may(RIGHTS["preview"], action, NODES, HERE | OWN)


@pytest.mark.parametrize(("role", "writes"), [("preview", False), ("release", True), ("deploy", True), ("publish", None)])
def test_state_is_the_stacks_own(role: str, *, writes: bool | None):
    assert may(RIGHTS[role], "s3:GetObject", f"{STATE}/dev.json") is (writes is not None)
    assert may(RIGHTS[role], "s3:PutObject", f"{STATE}/dev.json") is bool(writes)
    assert not may(RIGHTS[role], "s3:GetObject", f"{STATE}/prod.json")
    assert not may(RIGHTS[role], "s3:GetObject", "arn:aws:s3:::churn-state-2/.pulumi/stacks/churn/dev.json")
    key, alias = "arn:aws:kms:eu-west-1:1:key/x", {"kms:ResourceAliases": "alias/churn-state"}
    assert may(RIGHTS[role], "kms:Decrypt", key, alias) is (writes is not None)


def test_a_release_reaches_its_cluster_and_changes_nothing_in_aws():
    reached = [each for each in RIGHTS["release"] if each["Sid"] not in {"ListState", "UseState", "DecryptState"}]
    assert [each["Action"] for each in reached] == [["eks:DescribeCluster"]]
    assert may(reached, "eks:DescribeCluster", "arn:aws:eks:eu-west-1:1:cluster/churn-dev")
    assert not may(reached, "eks:DescribeCluster", "arn:aws:eks:eu-west-1:1:cluster/churn-prod")


def test_publishing_adds_to_one_repository_and_to_the_bundles():
    published = RIGHTS["publish"]
    assert may(published, "ecr:PutImage", IMAGES)
    assert not may(published, "ecr:PutImage", "arn:other")
    assert may(published, "s3:PutObject", f"{ARTIFACTS}/bundles/x")
    assert not may(published, "s3:PutObject", f"{ARTIFACTS}/mlflow/x")


def test_a_deployment_stays_in_its_region_and_with_what_has_its_stacks_tag():
    assert may(RIGHTS["deploy"], "ec2:CreateVpc", "*", HERE)
    assert not may(RIGHTS["deploy"], "ec2:CreateVpc", "*", {"aws:RequestedRegion": "us-east-1"})
    assert may(RIGHTS["deploy"], "iam:PutRolePolicy", NODES, OWN)
    assert not may(RIGHTS["deploy"], "iam:PutRolePolicy", NODES, OWN | {"aws:ResourceTag/stack": "prod"})
    assert not may(RIGHTS["deploy"], "iam:PutRolePolicy", "arn:aws:iam::1:role/somebody-elses", OWN)


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("eks:AssociateAccessPolicy", "arn:aws:eks:eu-west-1:1:access-entry/churn-prod/role/1/x/y"),
        ("kms:PutKeyPolicy", "arn:aws:kms:eu-west-1:1:key/lake"),
        ("rds:DeleteDBInstance", "arn:aws:rds:eu-west-1:1:db:database-1"),
    ],
)
def test_a_deployment_changes_nothing_of_another_stack_of_the_account(action: str, resource: str):
    assert may(RIGHTS["deploy"], action, resource, HERE | OWN)
    assert not may(RIGHTS["deploy"], action, resource, HERE | {"aws:ResourceTag/stack": "prod"})


def test_a_deployment_does_not_decide_who_reads_the_state():
    key = "arn:aws:kms:eu-west-1:1:key/state"
    assert not may(RIGHTS["deploy"], "kms:PutKeyPolicy", key, HERE | {"kms:ResourceAliases": "alias/churn-state"})


# https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-iam.html
@pytest.mark.parametrize("action", ["ec2:CreateFlowLogs", "logs:CreateLogDelivery", "logs:DeleteLogDelivery"])
def test_a_deployment_may_make_flow_logs_anew(action: str):
    assert may(RIGHTS["deploy"], action, "*", HERE)


@pytest.mark.parametrize(("policy", "given"), [("AmazonEKSWorkerNodePolicy", True), ("AdministratorAccess", False)])
def test_of_awss_own_policies_roles_get_those_for_eks(policy: str, *, given: bool):
    named = {"iam:PolicyARN": f"arn:aws:iam::aws:policy/{policy}"}
    assert may(RIGHTS["deploy"], "iam:AttachRolePolicy", NODES, OWN | named) is given


@pytest.mark.parametrize("service", ["eks.amazonaws.com", "lambda.amazonaws.com"])
def test_roles_are_passed_to_the_services_that_they_are_for(service: str):
    passed = may(RIGHTS["deploy"], "iam:PassRole", NODES, {"iam:PassedToService": service})
    assert passed is (service == "eks.amazonaws.com")


@pytest.mark.parametrize(
    ("statements", "reasons"),
    [*((each, roles.ANY_RESOURCE) for each in RIGHTS.values()), (runner.runs("r", "1", "l", "c", ["s"]), runner.ANY_RESOURCE)],
)
def test_a_statement_on_any_resource_has_a_written_reason(statements: list[Document], reasons: dict[str, str]):
    wide = {each["Sid"] for each in statements if "*" in each["Resource"]}
    assert wide <= reasons.keys()


@pytest.mark.parametrize("role", RIGHTS)
def test_a_roles_rights_fit_into_one_policy(role: str):
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html, without white space.
    assert len(json.dumps(RIGHTS[role], separators=(",", ":"))) < 10_240


def test_a_deployment_may_make_every_role_of_the_program_and_give_it_its_rights(everything: Plan):
    made = [each for each in everything.resources if each.type == "aws:iam/role:Role" and not each.name.startswith("delivery-")]
    asked = {"aws:RequestTag/project": "churn", "aws:RequestTag/stack": "dev"}
    assert made
    for each in made:
        role = f"arn:aws:iam::1:role/{each.name}-1234567"
        assert may(RIGHTS["deploy"], "iam:CreateRole", role, asked)
        assert may(RIGHTS["deploy"], "iam:PutRolePolicy", role, OWN)
        assert not may(RIGHTS["deploy"], "iam:CreateRole", role, asked | {"aws:RequestTag/stack": "prod"})


def test_a_deployment_may_give_every_policy_of_aws_that_the_program_names(everything: Plan):
    given = [each.inputs["policyArn"] for each in everything.resources if each.type.endswith(":RolePolicyAttachment")]
    assert given
    assert all(may(RIGHTS["deploy"], "iam:AttachRolePolicy", NODES, OWN | {"iam:PolicyARN": each}) for each in given)


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:GetObject", "arn:aws:s3:::storage-lake-1/events/x"),
        ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu-west-1:1:secret:rds!db"),
        ("sts:AssumeRole", "arn:aws:iam::1:role/cluster-nodes-1234567"),
        ("iam:UpdateAssumeRolePolicy", "arn:aws:iam::1:role/churn-dev-deploy"),
        ("iam:DeleteOpenIDConnectProvider", SCOPE.provider_arn),
    ],
)
def test_a_deployment_is_refused_even_what_it_could_have_a_bucket_secret_or_role_allow_it(action: str, resource: str):
    assert refused({"Statement": RIGHTS["deploy"]}, "the role", action, resource)
    assert not refused({"Statement": RIGHTS["deploy"]}, "the role", "s3:PutObject", f"{STATE}/dev.json")
