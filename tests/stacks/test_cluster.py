"""The cluster as it is declared: closed, logged, encrypted, and made in an order in which each part can work."""

import msgspec
import pulumi
import pytest

from stacks.cluster import Cluster, ClusterArgs
from stacks.config import AwsConfig
from stacks.record import Resource
from tests.stacks.conftest import Engine

ORDER = ["vpc-cni", "kube-proxy", "eks-pod-identity-agent"]


def build(engine: Engine, own: AwsConfig, **changes: object) -> None:
    args = ClusterArgs(
        config=msgspec.structs.replace(own.cluster, **changes),
        cluster_name="churn-test",
        region="eu-west-1",
        account_id="111122223333",
        vpc_id="vpc",
        subnet_ids=["one", "two"],
        workload_security_group_id="workload",
        cluster_key_arn="cluster-key",
        logs_key_arn="logs-key",
        inference_nodes_min=2,
        inference_nodes_max=5,
        tags={"stack": "test"},
        delivery_roles={"admin": {"deploy": "arn:deploy"}},
    )

    def program() -> None:
        made = Cluster("cluster", args)
        pulumi.export("kubeconfig", made.kubeconfig)
        pulumi.export("security_group_id", made.security_group_id)

    engine.run(program)


def control_plane(engine: Engine) -> Resource:
    [made] = [each for each in engine.resources("Cluster") if each.type == "aws:eks/cluster:Cluster"]
    return made


def reached(engine: Engine, start: str) -> set[str]:
    """The keys of all that a resource waits for, directly or by way of others."""
    waits = {each.key: {*each.waits_for, each.parent} for each in engine.plan.resources}
    seen, ahead = set[str](), {start}
    while ahead:
        seen |= ahead
        ahead = {after for each in ahead for after in waits.get(each, ())} - seen
    return seen - {start}


def test_the_control_plane_is_private(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    place = control_plane(engine).inputs["vpcConfig"]
    assert (place["endpointPrivateAccess"], place["endpointPublicAccess"]) == (True, False)
    assert "publicAccessCidrs" not in place


def test_the_first_up_comes_from_the_addresses_named_and_no_others(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws, public_access_cidrs=("203.0.113.7/32",))
    place = control_plane(engine).inputs["vpcConfig"]
    assert (place["endpointPrivateAccess"], place["endpointPublicAccess"]) == (True, True)
    assert place["publicAccessCidrs"] == ["203.0.113.7/32"]


def test_secrets_are_encrypted_and_everything_is_logged_to_a_group_made_first(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    made = control_plane(engine).inputs
    assert made["encryptionConfig"] == {"provider": {"keyArn": "cluster-key"}, "resources": ["secrets"]}
    assert set(made["enabledClusterLogTypes"]) == {"api", "audit", "authenticator", "controllerManager", "scheduler"}
    [logs] = engine.resources("LogGroup")
    assert logs.inputs["name"] == f"/aws/eks/{made['name']}/cluster"
    assert (logs.inputs["kmsKeyId"], logs.inputs["retentionInDays"]) == ("logs-key", 365)
    assert logs.key in reached(engine, "eks:index:Cluster cluster-control-plane")


def test_access_entries_are_the_only_way_in_for_the_creator_too(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    assert control_plane(engine).inputs["accessConfig"] == {
        "authenticationMode": "API",
        "bootstrapClusterCreatorAdminPermissions": False,
    }


def test_nothing_comes_along_with_the_control_plane(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    made = control_plane(engine).inputs
    assert made["bootstrapSelfManagedAddons"] is False
    assert "securityGroupIds" not in made["vpcConfig"]
    assert {each["addonName"] for each in engine.inputs("Addon")} == {*ORDER, "coredns", "aws-ebs-csi-driver"}


def test_the_kubeconfig_is_known_once_the_admins_may_enter(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    assert engine.plan.outputs == {
        "kubeconfig": "${cluster/cluster-control-plane.kubeconfigJson}",
        "security_group_id": "${cluster/cluster-control-plane.clusterSecurityGroupId}",
    }
    admins = [each for each in engine.inputs("AccessEntry") if each["kubernetesGroups"] == ["churn:admin"]]
    assert {each["principalArn"] for each in admins} == {"arn:deploy", "arn:aws:iam::111122223333:role/churn-operator"}


@pytest.mark.parametrize("group", ["system", "inference", "training"])
def test_a_node_joins_only_what_can_make_it_ready(engine: Engine, prod_aws: AwsConfig, group: str):
    build(engine, prod_aws)
    before = reached(engine, f"aws:eks/nodeGroup:NodeGroup cluster-{group}")
    assert {f"aws:eks/addon:Addon cluster-{each}" for each in ORDER} <= before
    assert {each.key for each in engine.resources("SecurityGroupIngressRule")} <= before
    assert {each.key for each in engine.resources("RolePolicyAttachment") if "cluster-nodes-" in each.name} <= before


def test_pods_that_need_nodes_and_roles_come_after_them(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    groups = {each.key for each in engine.resources("NodeGroup")}
    for addon in ("coredns", "aws-ebs-csi-driver"):
        assert groups <= reached(engine, f"aws:eks/addon:Addon cluster-{addon}")
    for addon, role in (("vpc-cni", "vpc-cni"), ("aws-ebs-csi-driver", "ebs-csi")):
        association = f"aws:eks/podIdentityAssociation:PodIdentityAssociation cluster-{role}"
        assert association in reached(engine, f"aws:eks/addon:Addon cluster-{addon}")


def test_network_policies_are_enforced(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    assert engine.one("Addon", "cluster-vpc-cni")["configurationValues"] == {"enableNetworkPolicy": "true"}


def test_nodes_reach_the_control_plane_and_it_reaches_what_it_calls(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    group = "${cluster/cluster-control-plane.clusterSecurityGroupId}"
    let_in = {
        (each["referencedSecurityGroupId"], each["securityGroupId"], each["fromPort"], each["toPort"])
        for each in engine.inputs("SecurityGroupIngressRule")
    }
    called = {(group, "workload", port, port) for port in (10250, 10251, 6443, 9443)}
    assert let_in == {("workload", group, 443, 443)} | called


def test_a_node_may_join_and_pull_images_but_nothing_else(engine: Engine, prod_aws: AwsConfig):
    build(engine, prod_aws)
    policies = {
        each["policyArn"].rpartition("/")[2] for each in engine.inputs("RolePolicyAttachment") if "cluster-nodes" in each["role"]
    }
    assert policies == {"AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"}
