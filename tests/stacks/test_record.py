"""What the recording engine answers for resources that are never made."""

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as k8s

from stacks.eks_children import children
from stacks.learnt import learnt
from stacks.record import record


def test_an_output_that_nobody_gave_is_a_reference_and_one_that_was_given_comes_back():
    def program() -> None:
        bucket = aws.s3.Bucket("lake", bucket="named")
        pulumi.export("given", bucket.bucket)
        pulumi.export("learnt", bucket.bucket_regional_domain_name)

    assert record(program, "test", {}).outputs == {"given": "named", "learnt": "${bucket/lake.bucketRegionalDomainName}"}


def test_what_is_learnt_inside_a_list_has_the_shape_that_it_will_have():
    instance = learnt("aws:rds/instance:Instance", "db")
    assert instance["masterUserSecrets"][0]["secretArn"] == "${instance/db.masterUserSecrets.secretArn}"
    group = learnt("aws:eks/nodeGroup:NodeGroup", "nodes")
    assert group["resources"][0]["autoscalingGroups"] == [{"name": "${nodeGroup/nodes.resources.autoscalingGroups.name}"}]


def test_settings_that_were_not_given_stay_absent():
    def program() -> None:
        pulumi.export("tags", aws.s3.Bucket("lake").tags)

    assert record(program, "test", {}).outputs == {}
    assert "scalingConfig" not in learnt("aws:eks/nodeGroup:NodeGroup", "nodes")


def test_a_kubernetes_object_is_known_by_the_name_it_was_given():
    def program() -> None:
        made = k8s.core.v1.Namespace("churn", metadata={"name": "churn"})
        pulumi.export("name", made.metadata.apply(lambda metadata: metadata.name))

    assert record(program, "test", {}).outputs == {"name": "churn"}


def test_a_resource_says_what_it_waits_for_and_what_it_ignores():
    def program() -> None:
        first = aws.s3.Bucket("first")
        second = aws.s3.Bucket("second", opts=pulumi.ResourceOptions(depends_on=[first], ignore_changes=["tags"]))
        aws.s3.BucketVersioning("third", bucket=second.id, versioning_configuration={"status": "Enabled"})

    first, second, third = record(program, "test", {}).resources
    assert (first.waits_for, first.ignores) == ((), ())
    assert (second.waits_for, second.ignores) == ((first.key,), ("tags",))
    assert third.waits_for == (second.key,)


def test_an_eks_cluster_brings_its_children_below_it_by_the_callers_provider():
    def program() -> None:
        provider = aws.Provider("aws", region="eu-west-1")
        made = eks.Cluster("main", name="churn", vpc_id="vpc", opts=pulumi.ResourceOptions(providers=[provider]))
        pulumi.export("name", made.eks_cluster.apply(lambda cluster: cluster.name))
        pulumi.export("endpoint", made.core.apply(lambda core: core.cluster.endpoint))

    plan = record(program, "test", {})
    assert plan.outputs == {"name": "churn", "endpoint": "${cluster/main-eksCluster.endpoint}"}
    of_aws = {each.type: each for each in plan.resources if each.type.startswith("aws:")}
    assert {"aws:eks/cluster:Cluster", "aws:iam/role:Role"} < of_aws.keys()
    assert {each.provider for each in of_aws.values()} == {"pulumi:providers:aws aws"}
    assert of_aws["aws:eks/cluster:Cluster"].parent == "eks:index:Cluster main"
    assert of_aws["aws:iam/role:Role"].parent == "eks:index:ServiceRole main-eksRole"


def test_the_attachment_of_the_clusters_role_has_the_name_that_pulumi_eks_gives_it():
    [attachment] = [each for each in children("main", {}) if each.type.endswith("Attachment")]
    assert attachment.name == "main-eksRole-4b490823"
