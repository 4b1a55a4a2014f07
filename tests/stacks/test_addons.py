import pulumi_aws as aws
import pytest

from stacks.addon_values import Place
from stacks.addons import Addons, AddonsArgs
from stacks.pins import CHARTS, addon_version
from tests.stacks.conftest import Engine

CONTROLLERS = {"cluster-autoscaler", "aws-load-balancer-controller", "keda", "argo-rollouts"}
MANAGED = {"metrics-server", "cert-manager", "aws-secrets-store-csi-driver-provider", "fluent-bit"}
PLACE = Place(cluster_name="churn-test", region="eu-west-1", vpc_id="vpc", subnet_ids=["one", "two"], tags={"stack": "test"})


def build(engine: Engine, *, scales_on_requests: bool = True, has_canaries: bool = True) -> None:
    def program() -> None:
        # Anything that can be waited for.
        cluster, nodes = aws.sqs.Queue("cluster"), aws.sqs.Queue("nodes")
        args = AddonsArgs(
            place=PLACE,
            made_name=cluster.name,
            account_id="1234",
            nodes_group_id="sg-nodes",
            nodes=[nodes],
            logs_key_arn="logs-key",
            logs_retention_days=30,
            volumes_key_arn="volumes-key",
            scales_on_requests=scales_on_requests,
            has_canaries=has_canaries,
        )
        Addons("addons", args)

    engine.run(program)


def test_every_chart_is_a_pinned_one_in_its_version_from_its_repository(engine: Engine):
    build(engine)
    pinned = {(each.name, each.version, each.repository) for each in CHARTS}
    used = {(each["chart"], each["version"], each["repositoryOpts"]["repo"]) for each in engine.inputs("Release")}
    assert {name for name, _, _ in used} == CONTROLLERS
    assert used <= pinned


def test_every_managed_addon_runs_in_its_pinned_version(engine: Engine):
    build(engine)
    assert {each["addonName"]: each["addonVersion"] for each in engine.inputs("Addon")} == {
        name: addon_version(name) for name in MANAGED
    }


@pytest.mark.parametrize("kind", ["Release", "Addon"])
def test_everything_that_runs_waits_for_nodes_to_run_on(engine: Engine, kind: str):
    build(engine)
    for each in engine.resources(kind):
        assert "aws:sqs/queue:Queue nodes" in each.waits_for, each.key


def test_no_role_is_given_to_pods_of_a_cluster_that_does_not_stand_yet(engine: Engine):
    build(engine)
    associations = engine.resources("PodIdentityAssociation")
    assert len(associations) == 4
    assert all("aws:sqs/queue:Queue cluster" in each.waits_for for each in associations)


@pytest.mark.parametrize("chart", ["aws-load-balancer-controller", "keda"])
def test_a_certificate_is_asked_of_cert_manager_once_it_runs(engine: Engine, chart: str):
    build(engine)
    [found] = [each for each in engine.resources("Release") if each.inputs["chart"] == chart]
    assert "aws:eks/addon:Addon addons-cert-manager" in found.waits_for
    values = found.inputs["values"]
    assert values.get("enableCertManager") or values["certificates"]["certManager"]["enabled"]


def test_a_release_that_does_not_become_ready_is_rolled_back(engine: Engine):
    build(engine)
    assert all(each["atomic"] and each["timeout"] > 0 for each in engine.inputs("Release"))


@pytest.mark.parametrize(
    ("scales_on_requests", "has_canaries", "missing"),
    [(False, True, "keda"), (True, False, "argo-rollouts")],
    ids=["no request rate", "no canary"],
)
def test_what_a_stack_does_not_use_is_not_installed(
    engine: Engine, *, scales_on_requests: bool, has_canaries: bool, missing: str
):
    build(engine, scales_on_requests=scales_on_requests, has_canaries=has_canaries)
    assert {each["chart"] for each in engine.inputs("Release")} == CONTROLLERS - {missing}
    assert missing not in {each["metadata"]["name"] for each in engine.inputs("Namespace")}


def test_a_controller_starts_after_it_has_got_its_role(engine: Engine):
    build(engine)
    for name in ("cluster-autoscaler", "aws-load-balancer-controller", "argo-rollouts"):
        [found] = [each for each in engine.resources("Release") if each.name == f"addons-{name}"]
        association = engine.one("PodIdentityAssociation", f"addons-{name}")
        assert (association["namespace"], association["serviceAccount"]) == (found.inputs["namespace"], name)
        assert f"aws:eks/podIdentityAssociation:PodIdentityAssociation addons-{name}" in found.waits_for


def test_namespaces_of_controllers_let_in_no_privileged_pod(engine: Engine):
    build(engine)
    namespaces = engine.inputs("Namespace")
    assert len(namespaces) == 2
    assert all(each["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"} for each in namespaces)


def test_container_logs_go_to_one_encrypted_group_and_expire(engine: Engine):
    build(engine)
    [group] = engine.inputs("LogGroup")
    assert (group["retentionInDays"], group["kmsKeyId"]) == (30, "logs-key")
    addon = engine.one("Addon", "addons-fluent-bit")
    assert addon["namespaceConfig"] == {"namespace": engine.one("PodIdentityAssociation", "addons-fluent-bit")["namespace"]}
    assert f"log_group_name {group['name']}" in addon["configurationValues"]["config"]["outputs"]
    assert group["name"] == "/aws/eks/churn-test/containers"


def test_a_rotated_secret_reaches_the_pods_and_no_kubernetes_secret(engine: Engine):
    build(engine)
    addon = engine.one("Addon", "addons-aws-secrets-store-csi-driver-provider")
    driver = addon["configurationValues"]["secrets-store-csi-driver"]
    assert driver["enableSecretRotation"] is True
    assert driver["syncSecret"] == {"enabled": False}


def test_a_volume_is_encrypted_with_the_callers_key_and_tagged(engine: Engine):
    build(engine)
    [found] = engine.inputs("StorageClass")
    parameters = found["parameters"]
    assert (parameters["encrypted"], parameters["kmsKeyId"], parameters["type"]) == ("true", "volumes-key", "gp3")
    assert {value for key, value in parameters.items() if key.startswith("tagSpecification_")} == {
        "Name=volume",
        "component=addons",
        "stack=test",
    }
    assert found["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}
