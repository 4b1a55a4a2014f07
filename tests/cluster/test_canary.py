"""Canaries on a real API server with Argo Rollouts and a real Prometheus. No balancer is there: what it would be told is read.

The metrics are played, by the application's own code; everything that decides is real, and looks every second.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stacks.record import Plan
from tests.cluster.conftest import Cluster
from tests.cluster.declared import cordon
from tests.cluster.player import Behaviour
from tests.cluster.service import NAMESPACE, Service, first_bad, narrate, release, seconds, served
from tests.stacks.wholes import complete

# What the promises are about.
ABORTED_WITHIN_SECONDS = BACK_WITHIN_SECONDS = 30


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return complete("staging", tmp_path_factory.mktemp("releases"))


@pytest.fixture
def service(cluster: Cluster, plan: Plan, tmp_path: Path) -> Iterator[Service]:
    with served(cluster, plan, tmp_path) as service:
        yield service


def test_a_healthy_canary_takes_its_shares_and_is_promoted(service: Service):
    narrate("\nA healthy canary:")
    before = service.revisions()["stable"]
    service.release(release("staging"))
    code, said = service.decision()
    assert (code, "promoted:" in said) == (0, True), said
    after = service.revisions()
    assert before != after["stable"] == after["declared"]
    service.until(lambda: service.within() == after["stable"], "asked by callers in the cluster")
    service.until(lambda: service.shares() == {after["stable"]: 100}, "all requests to the new pods")
    assert {each["status"]["phase"] for each in service.runs()} == {"Successful"}
    assert len(service.runs()) == 3


def test_a_bad_canary_is_rolled_back_and_stable_pods_serve_again(service: Service):
    narrate("\nA bad canary, of which one answer in twenty is 503:")
    stable = service.revisions()["stable"]
    service.player.canary = Behaviour(failed=30)
    service.release(release("staging"))
    code, said = service.decision()
    assert code == 1, said
    assert "rolled back: errors was" in said
    assert "at 10 % of the requests" in said
    back = service.until(lambda: service.shares() == {stable: 100}, "all requests to the stable pods")
    aborted = seconds(service.now()["status"]["abortedAt"]) - first_bad(service.runs())
    narrate(
        f"  aborted {aborted:.0f} s after the first bad answer; all requests to the stable pods {back:.1f} s after that was said"
    )
    assert aborted <= ABORTED_WITHIN_SECONDS
    assert service.within() == stable
    assert_nothing_is_left_but(service, stable)


def assert_nothing_is_left_but(service: Service, revision: str) -> None:
    """All pods are of the revision, ready, as many as declared; what else was there is a ReplicaSet without pods."""
    replicas = service.rollout["spec"]["replicas"]
    service.until(
        lambda: {k: v for k, v in service.replica_sets().items() if v} == {revision: replicas}, "down to the pods that serve"
    )
    service.until(lambda: service.pods() == {revision: replicas} and service.ready(revision) == replicas, "all of them ready")
    here = f"/api/v1/namespaces/{NAMESPACE}"
    assert {each["metadata"]["name"] for each in service.cluster.list(f"{here}/configmaps")} == {"kube-root-ca.crt"}
    assert service.cluster.list(f"{here}/secrets") == []
    # What can be gone back to, and what serves.
    assert len(service.replica_sets()) <= service.rollout["spec"]["revisionHistoryLimit"] + 1


def test_an_idle_canary_stays_where_it_is_and_is_looked_at_again_when_asked_to(service: Service):
    narrate("\nAn idle canary:")
    stable = service.revisions()["stable"]
    service.player.canary = Behaviour(requests=1)
    service.release(release("staging"))
    code, said = service.decision()
    assert code == 1, said
    assert "insufficient evidence:" in said
    assert "of 1,000 predictions at 10 % of the requests" in said
    declared = service.revisions()["declared"]
    assert service.shares() == {stable: 90, declared: 10}
    assert service.within() == stable
    narrate("Then it is asked for predictions, and looked at again:")
    service.player.canary = Behaviour()
    service.patch_status(pauseConditions=None)
    assert service.decision()[0] == 0
    assert service.revisions()["stable"] == declared


def test_the_way_back_is_one_step_and_needs_no_evidence(service: Service):
    narrate("\nA release that is promoted, and rolled back later:")
    bad = release("staging")
    service.release(bad, steps=False)
    assert service.decision()[0] == 0
    replaced = service.revisions()["stable"]
    service.player.canary = Behaviour(requests=0)
    service.release(release("staging", previous=bad.digest, rollback_of=bad.digest), steps=False)
    service.until(lambda: serves_alone(service, service.revisions()["declared"], replaced), "all requests to it")
    assert service.decision()[0] == 0
    restored = service.revisions()["stable"]
    back = service.completed_after_seconds(restored)
    narrate(f"  all requests to the restored release {back:.0f} s after the cluster had it")
    assert back <= BACK_WITHIN_SECONDS
    service.until(lambda: service.within() == restored, "asked by callers in the cluster")
    assert_nothing_is_left_but(service, restored)


def serves_alone(service: Service, declared: str, replaced: str) -> bool:
    return declared != replaced and service.shares() == {declared: 100} and service.ready(declared) > 0


def test_a_canary_that_somebody_gives_up_leaves_all_requests_to_the_stable_pods(service: Service):
    narrate("\nA canary that somebody gives up by hand:")
    stable = service.revisions()["stable"]
    service.player.canary = Behaviour(requests=1)
    service.release(release("staging"))
    service.until(lambda: service.shares().get(stable) == 90, "at its first share")
    service.patch_status(abort=True)
    code, said = service.decision()
    assert (code, "rolled back: RolloutAborted" in said) == (1, True), said
    service.until(lambda: service.shares() == {stable: 100}, "all requests to the stable pods")
    assert_nothing_is_left_but(service, stable)


def test_a_canary_that_prometheus_cannot_tell_of_waits_and_can_be_promoted_by_hand(service: Service):
    narrate("\nA canary while Prometheus is away, that somebody promotes by hand:")
    stable = service.revisions()["stable"]
    service.prometheus_is("http://127.0.0.1:1")
    service.release(release("staging"))
    # One more than what a rollout forgives unless it is told otherwise.
    service.until(lambda: unanswered(service) > 5, "asked in vain more than five times")
    assert service.now()["status"]["phase"] == "Progressing"
    declared = service.revisions()["declared"]
    assert service.shares() == {stable: 90, declared: 10}
    code, said = service.decision("--give-up-after", "1")
    assert (code, "errors" in said, " cannot be asked: " in said) == (2, True, True), said
    service.patch_status(promoteFull=True)
    assert service.decision()[0] == 0
    service.until(lambda: service.shares() == {declared: 100}, "all requests to what was promoted")


def unanswered(service: Service) -> int:
    """How many times in a row the question that was refused most got no answer."""
    results = [metric for run in service.runs() for metric in run.get("status", {}).get("metricResults", [])]
    return max((each.get("consecutiveError", 0) for each in results), default=0)


def test_what_cannot_be_decided_ends_with_another_code_than_what_is_refused(service: Service):
    nodes = service.cluster.list("/api/v1/nodes")
    cordon(service.cluster, nodes, closed=True)
    try:
        service.release(release("staging"))
        code, said = service.decision("--give-up-after", "3")
    finally:
        cordon(service.cluster, nodes, closed=False)
    assert (code, "not decided within 3 s" in said) == (2, True), said
    service.cluster.clear([service.rollout])
    code, said = service.decision()
    assert (code, "cannot be read" in said) == (2, True), said
