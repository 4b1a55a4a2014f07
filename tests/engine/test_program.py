"""The program on Pulumi's own engine: what people see who type `pulumi up`, `preview` and `destroy`."""

from collections.abc import Callable

import pytest

from tests.engine.conftest import Project
from tests.engine.provider import PASSWORD
from tests.releases import successor

Stacks = Callable[[str], Project]
NODES = ("cluster-inference", "cluster-system", "cluster-training")
# Other values for dev, and everything that changes with them: what is not listed is neither touched nor made anew.
CHANGES = {
    "logs kept for longer": (
        {"storage:logsExpireAfterDays": 60},
        {"update aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration storage-logs-lifecycle"},
    ),
    "backups kept for longer": ({"database:backupRetentionDays": 7}, {"update aws:rds/instance:Instance database"}),
    "more nodes": ({"cluster:systemNodesMax": 5}, {"update aws:eks/nodeGroup:NodeGroup cluster-system"}),
    "larger disks": (
        {"cluster:diskGib": 60},
        {
            f"update {kind} {name}"
            for kind in ("aws:ec2/launchTemplate:LaunchTemplate", "aws:eks/nodeGroup:NodeGroup")
            for name in NODES
        },
    ),
    # All that is in the cluster waits for its admins, and stays as it is.
    "another admin": (
        {"cluster:adminRoles": ["churn-operator", "churn-second"]},
        {
            "create aws:eks/accessEntry:AccessEntry cluster-entries-admin-churn-second",
            "create aws:eks/accessPolicyAssociation:AccessPolicyAssociation cluster-entries-admin-churn-second",
        },
    ),
    # How many pods there are is the autoscaler's to say. A dashboard shows the objective.
    "more requests": (
        {"inference:peakRequestsPerSecond": 900},
        {
            "update aws:eks/nodeGroup:NodeGroup cluster-inference",
            "update kubernetes:autoscaling/v2:HorizontalPodAutoscaler inference-scaling-hpa",
            "replace kubernetes:core/v1:ConfigMap monitoring-service",
        },
    ),
    "a larger MLflow": ({"tracking:memoryMib": 2048}, {"update kubernetes:apps/v1:Deployment tracking"}),
}


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_after_an_up_a_preview_shows_no_change(raised: Stacks, stack: str):
    assert raised(stack).preview() == set()


@pytest.mark.parametrize(("values", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_changed_value_changes_just_what_follows_from_it(raised: Stacks, values: dict[str, object], expected: set[str]):
    dev = raised("dev")
    dev.set(values)
    assert dev.preview() == expected


def test_a_new_release_changes_the_pods_alone(raised: Stacks):
    prod = raised("prod")
    prod.go_live(successor(prod.live))
    assert prod.preview() == {"update kubernetes:argoproj.io/v1alpha1:Rollout inference"}


def test_what_cannot_change_in_place_is_seen_to_be_replaced(raised: Stacks):
    dev = raised("dev")
    dev.set({"network:vpcCidr": "10.40.0.0/16"})
    assert "replace aws:ec2/vpc:Vpc network-vpc" in dev.preview()


def test_a_destroy_stops_before_anything_is_gone_if_something_is_protected(raised: Stacks):
    prod = raised("prod")
    before = prod.state()
    # Its preview is what stops it: with --skip-preview all but the protected is deleted first.
    ended = prod.pulumi("destroy", "--yes")
    assert ended.returncode != 0
    assert "cannot be deleted" in ended.stdout + ended.stderr
    assert prod.state() == before


def test_a_destroy_that_excludes_the_protected_leaves_just_that_and_what_it_stands_on(raised: Stacks):
    prod = raised("prod")
    protected = {each["urn"] for each in prod.state() if each.get("protect")}
    stays = prod.standing_on(protected)
    prod.done("destroy", "--yes", "--skip-preview", "--exclude-protected")
    assert {each["urn"] for each in prod.state()} == stays
    assert {each.split("::")[-1] for each in protected} >= {"database", "storage-lake", "storage-artifacts"}


def test_a_destroy_of_what_is_not_protected_leaves_nothing(raised: Stacks):
    dev = raised("dev")
    dev.done("destroy", "--yes", "--skip-preview")
    assert dev.state() == []


def test_the_password_of_the_database_is_seen_nowhere(raised: Stacks):
    dev = raised("dev")
    dev.set({"database:backupRetentionDays": 7})
    seen = [(dev.folder / "up.txt").read_text(), dev.done("preview", "--diff"), dev.done("stack", "export")]
    assert not [text for text in seen if PASSWORD in text]
    # It was there to be seen.
    assert PASSWORD in dev.done("stack", "export", "--show-secrets")


def test_bad_values_stop_it_before_any_resource(empty: Stacks):
    dev = empty("dev")
    dev.set({"network:vpcCidr": "10.10.0.0/24", "database:storageGib": "20 GB"})
    ended = dev.pulumi("up", "--yes")
    said = ended.stdout + ended.stderr
    assert ended.returncode != 0
    assert "the configuration of stack dev has 2 mistakes" in said
    assert "network:vpcCidr is 10.10.0.0/24" in said
    assert "Traceback" not in said
    assert dev.state() == []
