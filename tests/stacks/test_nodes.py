import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.config import AwsConfig
from stacks.nodes import Nodes, NodesArgs, Shape, autoscaling_tags, shapes
from tests.stacks.conftest import Engine

TRAINING = Shape(nodes="training", instance_types=["m6i.xlarge", "m5.xlarge"], least=0, most=3, capacity="SPOT")
GROUP = "${nodeGroup/nodes.resources.autoscalingGroups.name}"


def build(engine: Engine, shape: Shape = TRAINING) -> None:
    args = NodesArgs(
        shape=shape,
        cluster_name="churn-test",
        version="1.35",
        role_arn="role",
        subnet_ids=["one", "two"],
        security_group_id="workload",
        kms_key_arn="key",
        disk_gib=50,
        tags={"stack": "test", "owner": "us"},
        after=[],
    )
    engine.run(lambda: Nodes("nodes", args))


def test_a_machine_gives_its_credentials_to_no_pod(engine: Engine):
    build(engine)
    [template] = engine.inputs("LaunchTemplate")
    assert template["metadataOptions"] == {"httpEndpoint": "enabled", "httpTokens": "required", "httpPutResponseHopLimit": 1}


def test_a_machine_is_private_and_in_no_group_but_ours(engine: Engine):
    build(engine)
    [interface] = engine.one("LaunchTemplate", "nodes")["networkInterfaces"]
    assert interface["associatePublicIpAddress"] == "false"
    assert interface["securityGroups"] == ["workload"]


def test_its_disk_is_encrypted_with_the_callers_key(engine: Engine):
    build(engine)
    [disk] = engine.one("LaunchTemplate", "nodes")["blockDeviceMappings"]
    assert (disk["ebs"]["encrypted"], disk["ebs"]["kmsKeyId"], disk["ebs"]["volumeType"]) == ("true", "key", "gp3")


@pytest.mark.parametrize("kind", ["instance", "volume", "network-interface"])
def test_what_is_launched_carries_the_stacks_tags_and_the_components(engine: Engine, kind: str):
    build(engine)
    tagged = {each["resourceType"]: each["tags"] for each in engine.one("LaunchTemplate", "nodes")["tagSpecifications"]}
    assert tagged[kind] == {"stack": "test", "owner": "us", "component": "cluster", "Name": "nodes"}


def test_a_kept_group_takes_only_pods_that_tolerate_it(engine: Engine):
    build(engine)
    made = engine.one("NodeGroup", "nodes")
    assert made["labels"] == {"churn/nodes": "training"}
    assert made["taints"] == [{"key": "churn/nodes", "value": "training", "effect": "NO_SCHEDULE"}]
    assert (made["capacityType"], made["instanceTypes"]) == ("SPOT", ["m6i.xlarge", "m5.xlarge"])


def test_the_autoscaler_finds_an_empty_group_and_knows_what_its_nodes_would_be(engine: Engine):
    build(engine)
    assert engine.one("NodeGroup", "nodes")["scalingConfig"]["desiredSize"] == 0
    tags = {each["tag"]["key"].removeprefix("k8s.io/cluster-autoscaler/"): each["tag"]["value"] for each in engine.inputs("Tag")}
    assert tags == {
        "enabled": "true",
        "churn-test": "owned",
        "node-template/label/churn/nodes": "training",
        "node-template/taint/churn/nodes": "training:NoSchedule",
    }
    assert {each["autoscalingGroupName"] for each in engine.inputs("Tag")} == {GROUP}


def test_a_later_up_leaves_the_autoscalers_number_alone(engine: Engine):
    build(engine)
    [group] = engine.resources("NodeGroup")
    assert group.ignores == ("scalingConfig.desiredSize",)


@given(kept=st.booleans(), nodes=st.sampled_from(["system", "inference", "training"]))
def test_what_the_autoscaler_is_told_is_what_the_nodes_have(nodes: str, *, kept: bool):
    told = autoscaling_tags("churn", Shape(nodes=nodes, instance_types=[], least=0, most=1, kept=kept))
    assert told["label"][1] == nodes
    assert ("taint" in told) is kept


def test_only_system_nodes_are_open_to_every_pod(prod_aws: AwsConfig):
    made = {each.nodes: each for each in shapes(prod_aws.cluster, inference_min=2, inference_max=5)}
    assert {name for name, each in made.items() if not each.kept} == {"system"}
    assert (made["inference"].least, made["inference"].most) == (2, 5)
    assert (made["training"].least, made["training"].capacity) == (0, "SPOT")
    assert all(each.capacity == "ON_DEMAND" for name, each in made.items() if name != "training")


def test_where_nothing_may_be_trained_there_is_no_group_for_it(prod_aws: AwsConfig):
    config = msgspec.structs.replace(prod_aws.cluster, training_nodes_max=0)
    assert {each.nodes for each in shapes(config, inference_min=1, inference_max=1)} == {"system", "inference"}
