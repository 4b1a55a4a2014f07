import pytest

from stacks.replacing import REPLACING, replaced

DATABASE, DEPLOYMENT = "aws:rds/instance:Instance", "kubernetes:apps/v1:Deployment"


@pytest.mark.parametrize(
    ("kind", "place", "outcome"),
    [
        (DATABASE, "engine", True),
        (DATABASE, "engineVersion", False),
        (DATABASE, "allocatedStorage", False),
        (DEPLOYMENT, "spec.selector.matchLabels.app", True),
        (DEPLOYMENT, "spec.selectors", False),
        (DEPLOYMENT, "spec.replicas", False),
        (DEPLOYMENT, "metadata.name", True),
        (DEPLOYMENT, "metadata.namespaces", False),
        ("aws:eks/nodeGroup:NodeGroup", "instanceTypes[0]", True),
        ("aws:sns/topic:Topic", "metadata.name", False),
    ],
)
def test_a_change_of_what_is_fixed_replaces(kind: str, place: str, *, outcome: bool):
    assert replaced(kind, [place]) is outcome
    assert not replaced(kind, [])


def test_what_holds_data_is_known():
    assert {
        DATABASE,
        "aws:s3/bucket:Bucket",
        "aws:eks/cluster:Cluster",
        "kubernetes:core/v1:PersistentVolumeClaim",
    } <= REPLACING.keys()
