"""A real Kubernetes API server, the one that KUBECONFIG names."""

import asyncio
import fcntl
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import kr8s
import pytest

Object = dict[str, Any]
# What the tests have seen; `make cluster-test` makes a page of it.
TRANSCRIPT: list[str] = []
# Of a machine that has something else to do as well; where all goes well nobody waits for it.
GIVE_UP_AFTER_SECONDS = 300
KEEP_READY_EVERY_SECONDS = 0.5
APPLY = "application/apply-patch+yaml"


def poll(done: Callable[[], bool], otherwise: Callable[[], str], give_up_after_seconds: float = GIVE_UP_AFTER_SECONDS) -> None:
    """Wait until it is done; a cluster does everything a little later."""
    give_up = time.monotonic() + give_up_after_seconds
    while not done():
        assert time.monotonic() < give_up, otherwise()
        time.sleep(0.2)


class RefusedError(Exception):
    """What the server said instead of doing it."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.status_code}: {answer.text}")
        self.status = answer.status_code


class Cluster:
    """Objects on the API server, and what became of them."""

    def __init__(self, client: httpx.Client, kinds: list[dict[str, Any]]) -> None:
        self._client, self._kinds = client, {(each["version"], each["kind"]): each for each in kinds}

    def knows(self, manifest: Object) -> bool:
        return (manifest["apiVersion"], manifest["kind"]) in self._kinds

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        """The object as the server has it. Raises RefusedError, for one over a field that it does not know."""
        strict = {"fieldManager": "churn-tests", "fieldValidation": "Strict", "force": "true"}
        return self._call("PATCH", self._path(manifest), strict | ({"dryRun": "All"} if dry_run else {}), manifest, APPLY)

    def patch_status(self, manifest: Object, status: Object) -> Object:
        """As `kubectl patch --subresource=status --type=merge` does."""
        return self._call("PATCH", f"{self._path(manifest)}/status", body={"status": status}, kind="application/merge-patch+json")

    def get(self, manifest: Object) -> Object:
        return self._call("GET", self._path(manifest))

    def delete(self, manifest: Object, grace_seconds: int | None = None) -> None:
        """Without waiting; what is not there is left so."""
        grace = {} if grace_seconds is None else {"gracePeriodSeconds": str(grace_seconds)}
        try:
            self._call("DELETE", self._path(manifest), {"propagationPolicy": "Background", **grace})
        except RefusedError as refused:
            if refused.status != 404:
                raise

    def clear(self, manifests: list[Object]) -> None:
        """Nothing of them is there any more."""
        for each in manifests:
            self.delete(each)
        for each in manifests:
            self.until_gone(each)

    @property
    def version(self) -> str:
        return self._call("GET", "/version")["gitVersion"]

    def create(self, path: str, body: Object) -> Object:
        return self._call("POST", path, body=body)

    def list(self, path: str, **params: str) -> list[Object]:
        return self._call("GET", path, params)["items"]

    def until(
        self, manifest: Object, done: Callable[[Object], bool], give_up_after_seconds: float = GIVE_UP_AFTER_SECONDS
    ) -> Object:
        """The object once it is as wanted."""
        found: Object = {}

        def is_done() -> bool:
            nonlocal found
            found = self.get(manifest)
            return done(found)

        def otherwise() -> str:
            place = manifest["metadata"].get("namespace")
            return f"{json.dumps(found.get('status', {}))}\n{self._pods(place) if place else ''}"

        poll(is_done, otherwise, give_up_after_seconds)
        return found

    def _pods(self, namespace: str) -> str:
        """Where pods are and what they lack, for whoever reads that something did not happen."""
        pods = self.list(f"/api/v1/namespaces/{namespace}/pods")
        lacking = {
            each["metadata"]["name"]: [c for c in each["status"].get("conditions", []) if c["status"] != "True"] for each in pods
        }
        return json.dumps({"pods": lacking, "nodes": [each["metadata"]["labels"] for each in self.list("/api/v1/nodes")]})

    def until_gone(self, manifest: Object) -> None:
        def is_gone() -> bool:
            try:
                self.get(manifest)
            except RefusedError as refused:
                return refused.status == 404
            return False

        poll(is_gone, lambda: f"{self._path(manifest)} is still there")

    def _path(self, manifest: Object) -> str:
        version, name = manifest["apiVersion"], manifest["metadata"]["name"]
        kind = self._kinds[version, manifest["kind"]]
        prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
        place = f"/namespaces/{manifest['metadata']['namespace']}" if kind["namespaced"] else ""
        return f"{prefix}{place}/{kind['name']}/{name}"

    def _call(
        self,
        method: str,
        path: str,
        params: dict[str, str] | None = None,
        body: Object | None = None,
        kind: str = "application/json",
    ) -> Object:
        content = None if body is None else json.dumps(body)
        answer = self._client.request(method, path, params=params, headers={"content-type": kind}, content=content)
        if answer.is_error:
            raise RefusedError(answer)
        return answer.json()


async def _connect() -> tuple[httpx.Client, list[dict[str, Any]]]:
    """A client as the kubeconfig says, and the kinds that the server knows."""
    api = await kr8s.asyncio.api()
    kinds = await api.api_resources()
    headers = {"Authorization": f"Bearer {api.auth.token}"} if api.auth.token else {}
    client = httpx.Client(base_url=api.auth.server, verify=await api.auth.ssl_context(), headers=headers, timeout=30)
    assert api._session  # noqa: SLF001 - it has no other way to be closed
    await api._session.aclose()  # noqa: SLF001 - as above
    return client, kinds


@pytest.fixture(scope="session")
def _server(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set; give that of a cluster that tests may write to, such as kind's")
    client, kinds = asyncio.run(_connect())
    with client:
        cluster = Cluster(client, kinds)
        yield cluster
        if TRANSCRIPT and (path := os.environ.get("CLUSTER_REPORT")):
            Path(path).write_text(report(cluster, failed=request.session.testsfailed))


def report(cluster: Cluster, failed: int) -> str:
    """The transcript as a page, with what it was made on."""
    described = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(described, capture_output=True, text=True, check=True).stdout.strip()
    rollouts = os.environ.get("ARGO_ROLLOUTS") or "of a version that was not named"
    made_on = f"commit {commit}, Kubernetes {cluster.version}, Argo Rollouts {rollouts}, {os.cpu_count()} cores"
    told = "\n".join(TRANSCRIPT).strip()
    return f"""`make cluster-test` writes this: {made_on}; {failed} tests failed.
Nothing balances there, and no container runs: what the balancer would be told is read, pods are played by kwok, their metrics by
the application's own code. Looks come every second in place of every half minute; seconds are by the cluster's own clock.

```
{told}
```
"""


@pytest.fixture
def cluster(_server: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The server, for one test at a time: what stacks call things is the same for all of them."""
    # The folder that the processes of one run share.
    with (tmp_path_factory.getbasetemp().parent / "cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pods_kept_ready(_server):
            yield _server


@contextmanager
def pods_kept_ready(cluster: Cluster) -> Iterator[None]:
    """On nodes that kwok plays, what a kubelet does for its pods and kwok does not.

    A node whose heartbeat is late, for which a machine that is busy with something else is enough, is marked NotReady, and all of
    its pods with it. When the heartbeat comes the node is Ready again, and its kubelet says so of each pod whose containers are:
    https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/status/generate.go. kwok says that once, while the pod is
    Pending; its pods would be asked for nothing for as long as they are there.
    """
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(KEEP_READY_EVERY_SECONDS):
            # What goes or cannot be read while it is looked at is looked at again.
            with suppress(RefusedError, httpx.HTTPError):
                keep_pods_ready(cluster)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def keep_pods_ready(cluster: Cluster) -> None:
    """One look at every pod."""
    nodes = {each["metadata"]["name"] for each in cluster.list("/api/v1/nodes") if is_played(each) and holds(each, "Ready")}
    for pod in cluster.list("/api/v1/pods"):
        if pod["spec"].get("nodeName") in nodes and holds(pod, "ContainersReady") and not holds(pod, "Ready"):
            others = [each for each in pod["status"]["conditions"] if each["type"] != "Ready"]
            now = {"type": "Ready", "status": "True", "lastTransitionTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
            cluster.patch_status({"apiVersion": "v1", "kind": "Pod", **pod}, {"conditions": [*others, now]})


def is_played(node: Object) -> bool:
    return "kwok.x-k8s.io/node" in node["metadata"].get("annotations", {})


def holds(found: Object, condition: str) -> bool:
    """Whether a condition is said to be true."""
    return any(each["type"] == condition and each["status"] == "True" for each in found["status"].get("conditions", []))
