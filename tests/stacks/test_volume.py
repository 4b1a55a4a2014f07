from stacks.plan import plan
from stacks.volume import BUNDLES, EVENTS, MOUNT, TRACKED, Volume, VolumeArgs
from tests.stacks.conftest import Engine


def test_the_volume_is_claimed_as_asked_and_outlives_the_stack(engine: Engine):
    engine.run(lambda: Volume("volume", VolumeArgs(namespace="churn", storage_class="standard", storage_gib=5)))
    [claim] = engine.resources("PersistentVolumeClaim")
    assert claim.retain_on_delete
    assert claim.inputs["metadata"]["name"] == "churn"
    assert claim.inputs["spec"]["storageClassName"] == "standard"
    assert claim.inputs["spec"]["resources"] == {"requests": {"storage": "5Gi"}}


def test_nobody_waits_for_a_volume_that_is_made_for_its_first_pod(engine: Engine):
    engine.run(lambda: Volume("volume", VolumeArgs(namespace="churn", storage_class="standard", storage_gib=5)))
    assert engine.one("PersistentVolumeClaim", "volume")["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}


def test_each_kind_of_data_has_a_folder_of_its_own():
    assert len({BUNDLES, EVENTS, TRACKED}) == 3
    assert all(each.startswith(f"{MOUNT}/") for each in (BUNDLES, EVENTS, TRACKED))


def test_the_namespace_and_the_claim_that_outlive_the_stack_are_taken_over_by_the_next_one():
    [provider] = [each for each in plan("local").resources if each.type == "pulumi:providers:kubernetes"]
    # Unless it is told so, it refuses to make what is there already; a provider is told everything as a string.
    assert provider.inputs["upsertExistingObjects"] == "true"
