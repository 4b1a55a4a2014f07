from typing import Any

import pulumi
import pytest

from stacks.identity import PodIdentity, PodIdentityArgs, trust_policy
from tests.stacks.access import allowed
from tests.stacks.conftest import Engine

PODS = "pods.eks.amazonaws.com"
STATEMENT = {"Sid": "Read", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:bucket/*"]}
OURS = {
    "aws:RequestTag/eks-cluster-name": "churn-test",
    "aws:RequestTag/kubernetes-namespace": "churn",
    "aws:RequestTag/kubernetes-service-account": "inference",
}


def build(engine: Engine, **changes: Any) -> None:
    def program() -> None:
        given: dict[str, Any] = {"statements": pulumi.Output.from_input([STATEMENT])} | changes
        args = PodIdentityArgs(cluster_name="churn-test", namespace="churn", service_account="inference", **given)
        made = PodIdentity("inference", args)
        pulumi.export("role_arn", made.role_arn)
        pulumi.export("service_account", made.service_account)

    engine.run(program)


def test_a_service_account_gets_one_role_with_its_statements(engine: Engine):
    build(engine)
    assert engine.one("RolePolicy", "inference")["policy"]["Statement"] == [STATEMENT]
    association = engine.one("PodIdentityAssociation", "inference")
    assert (association["namespace"], association["serviceAccount"]) == ("churn", "inference")
    assert association["roleArn"] == engine.plan.outputs["role_arn"] == "${role/inference.arn}"


def test_software_of_aws_gets_the_policy_that_aws_keeps_for_it(engine: Engine):
    build(engine, statements=None, policy_arns=["arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"])
    [attached] = engine.inputs("RolePolicyAttachment")
    assert attached["policyArn"] == "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"
    assert not engine.inputs("RolePolicy")


def test_pods_get_the_role_once_it_has_its_rights(engine: Engine):
    build(engine)
    [association] = engine.resources("PodIdentityAssociation")
    assert "aws:iam/rolePolicy:RolePolicy inference" in association.waits_for


@pytest.mark.parametrize("action", ["sts:AssumeRole", "sts:TagSession"])
def test_only_pods_of_the_service_account_get_the_role(action: str):
    trust = trust_policy("churn-test", "churn", "inference")
    assert allowed(trust, PODS, action, "*", **OURS)
    assert not allowed(trust, "ec2.amazonaws.com", action, "*", **OURS)
    for key in OURS:
        assert not allowed(trust, PODS, action, "*", **OURS | {key: "another"})
        assert not allowed(trust, PODS, action, "*", **{other: value for other, value in OURS.items() if other != key})
