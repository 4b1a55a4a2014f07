"""The inference service of a stack on a cluster, and how its canaries fare."""

import copy
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.release import Release, encode_release
from stacks.canary import INTERVAL_SECONDS, REVISION
from stacks.inference_pod import RELEASE_ANNOTATION
from stacks.names import INFERENCE, NAMESPACE
from stacks.record import Plan
from tests.cluster.conftest import GIVE_UP_AFTER_SECONDS, TRANSCRIPT, Cluster, Object, holds, poll
from tests.cluster.declared import in_order, is_of_charts, of_kind, played_nodes
from tests.cluster.player import Player, of_pods, playing
from tests.releases import IMAGE, make_release
from tests.stacks.prometheus import prometheus

# In place of half a minute, so that a test is not an hour; how many looks there are stays.
EVERY = "1s"
# What pods of the service need, and what keeps them; what scales them and what monitors them is not there.
KINDS = (
    "Namespace",
    "PriorityClass",
    "ServiceAccount",
    "Service",
    "Ingress",
    "AnalysisTemplate",
    "Rollout",
    "PodDisruptionBudget",
)
ACTION = f"alb.ingress.kubernetes.io/actions.{INFERENCE.name}"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
SELECTED = ",".join(f"{label}={value}" for label, value in INFERENCE.labels.items())


@contextmanager
def served(cluster: Cluster, plan: Plan, folder: Path) -> Iterator["Service"]:
    """The service of a stack, with its first release, and nothing of it before and after."""
    objects = in_order(plan)
    if missing := {each["kind"] for each in objects if not cluster.knows(each)} & {"Rollout", "AnalysisTemplate"}:
        pytest.skip(f"the cluster knows no {', '.join(sorted(missing))}; install Argo Rollouts")
    ours = [each for each in of_kind(objects, "Namespace", "PriorityClass") if not is_of_charts(each)]
    [monitor] = [each for each in of_kind(objects, "PodMonitor") if each["metadata"]["name"] == INFERENCE.name]
    with (
        played_nodes(cluster),
        playing(Player(lambda: cluster.list(PODS, labelSelector=SELECTED))) as player,
        prometheus(folder, of_pods(monitor, player)) as address,
    ):
        cluster.clear(ours)
        try:
            made = Service(cluster, plan, address, player)
            made.start(release(plan.stack))
            yield made
        finally:
            cluster.clear(ours)


def release(stack: str, **changes: Any) -> Release:
    """One that no test before has had, whose pods would be told apart by nothing."""
    return make_release(stack=stack, image=IMAGE, reason=str(uuid4()), **changes)


class Service:
    """What a stack declares of the service, applied as it is but for the address of Prometheus and the time between looks."""

    def __init__(self, cluster: Cluster, plan: Plan, prometheus: str, player: Player) -> None:
        self.cluster, self.stack, self.player = cluster, plan.stack, player
        objects = copy.deepcopy(of_kind(in_order(plan), *KINDS))
        self.objects = [each for each in objects if each["metadata"].get("namespace", NAMESPACE) == NAMESPACE]
        [self.rollout] = of_kind(self.objects, "Rollout")
        [self.ingress] = of_kind(self.objects, "Ingress")
        [self.template] = of_kind(self.objects, "AnalysisTemplate")
        for metric in self.template["spec"]["metrics"]:
            assert metric["interval"] == f"{INTERVAL_SECONDS}s"
            metric["interval"] = EVERY
        self._ask(prometheus)

    def _ask(self, prometheus: str) -> None:
        for metric in self.template["spec"]["metrics"]:
            metric["provider"]["prometheus"]["address"] = prometheus

    def prometheus_is(self, address: str) -> None:
        """Whom canaries are judged by from now on."""
        self._ask(address)
        self.cluster.apply(self.template)

    def start(self, first: Release) -> None:
        """The first release, served by pods that Prometheus sees."""
        self.rollout["spec"]["template"]["metadata"]["annotations"][RELEASE_ANNOTATION] = encode_release(first).decode()
        for each in self.objects:
            self.cluster.apply(each)
        found = self.cluster.until(self.rollout, lambda each: each.get("status", {}).get("phase") == "Healthy")
        stable = found["status"]["stableRS"]
        self.player.stable = {stable}
        self.until(lambda: self.ready(stable) == self.rollout["spec"]["replicas"], "served by stable pods")

    def release(self, release: Release, *, steps: bool = True) -> None:
        """Apply the Rollout with another release; without steps, as `stacks/inference.py` has it for the way back."""
        after = copy.deepcopy(self.rollout)
        after["spec"]["template"]["metadata"]["annotations"][RELEASE_ANNOTATION] = encode_release(release).decode()
        if not steps:
            del after["spec"]["strategy"]["canary"]["steps"]
        self.cluster.apply(after)

    def now(self) -> Object:
        return self.cluster.get(self.rollout)

    def revisions(self) -> dict[str, str]:
        """The stable one and the one that is declared."""
        status = self.now()["status"]
        return {"stable": status["stableRS"], "declared": status["currentPodHash"]}

    def shares(self) -> dict[str, int]:
        """What the balancer is told, by the revision that each service selects; nothing balances here."""
        said = json.loads(self.cluster.get(self.ingress)["metadata"]["annotations"][ACTION])
        groups = said["ForwardConfig"]["TargetGroups"]
        return {self._selected(each["ServiceName"]): int(each["Weight"]) for each in groups if int(each["Weight"])}

    def within(self) -> str:
        """The revision that callers in the cluster get, who name the service and not the balancer."""
        return self._selected(INFERENCE.name)

    def _selected(self, name: str) -> str:
        [service] = [each for each in of_kind(self.objects, "Service") if each["metadata"]["name"] == name]
        return self.cluster.get(service)["spec"]["selector"][REVISION]

    def pods(self) -> dict[str, int]:
        """How many there are of each revision, but for those that go."""
        found = self.cluster.list(PODS, labelSelector=SELECTED)
        return dict(Counter(each["metadata"]["labels"][REVISION] for each in found if not going(each)))

    def ready(self, revision: str) -> int:
        """How many pods of a revision can be asked."""
        pods = self.cluster.list(PODS, labelSelector=f"{SELECTED},{REVISION}={revision}")
        return sum(is_ready(each) for each in pods)

    def patch_status(self, **status: Any) -> None:
        """What `kubectl argo rollouts` does by hand."""
        self.cluster.patch_status(self.rollout, status)

    def runs(self) -> list[Object]:
        return self.cluster.list(f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/analysisruns")

    def completed_after_seconds(self, revision: str) -> float:
        """From when the cluster had the revision to when all requests went to it, by the cluster's own clock."""
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/replicasets"
        [found] = self.cluster.list(path, labelSelector=f"{SELECTED},{REVISION}={revision}")
        # Not from events: of an object with many of them the later ones are dropped.
        [completed] = [each for each in self.now()["status"]["conditions"] if each["type"] == "Completed"]
        assert (completed["status"], self.revisions()["stable"]) == ("True", revision)
        return seconds(completed["lastTransitionTime"]) - seconds(found["metadata"]["creationTimestamp"])

    def replica_sets(self) -> dict[str, int]:
        """How many pods each revision is to have."""
        found = self.cluster.list(f"/apis/apps/v1/namespaces/{NAMESPACE}/replicasets", labelSelector=SELECTED)
        return {each["metadata"]["labels"][REVISION]: each["spec"]["replicas"] for each in found}

    @contextmanager
    def waiter(self, *options: str) -> Iterator["subprocess.Popen[str]"]:
        """What `make deploy` ends with."""
        command = [sys.executable, "-m", "stacks.rollout", self.stack, "--kubeconfig", os.environ["KUBECONFIG"], *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def decision(self, *options: str) -> tuple[int, str]:
        """How the waiter ends, and what it says."""
        with self.waiter(*options) as process:
            out, err = process.communicate(timeout=2 * GIVE_UP_AFTER_SECONDS)
        narrate(*(f"  {line}" for line in err.splitlines()), f"  {out.strip()}  [exit {process.returncode}]")
        return process.returncode, out + err

    def until(self, done: Callable[[], bool], what: str) -> float:
        """How long it takes, in seconds."""
        began = time.monotonic()
        poll(done, lambda: f"not {what}: {json.dumps(self.now()['status'])}")
        return time.monotonic() - began


def is_ready(pod: Object) -> bool:
    return holds(pod, "Ready") and not going(pod)


def going(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def first_bad(runs: list[Object]) -> float:
    """When the first bad answer was given, in seconds since the epoch."""
    answers: list[dict[str, Any]] = [
        answer for run in runs for metric in run["status"]["metricResults"] for answer in metric.get("measurements", [])
    ]
    return min(seconds(each["finishedAt"]) for each in answers if each["phase"] == "Failed")


def seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def narrate(*lines: str) -> None:
    """For whoever runs `make cluster-test`; pytest shows it with -s."""
    TRANSCRIPT.extend(lines)
    for line in lines:
        print(line)  # noqa: T201 - the transcript
