"""The autoscaler of a stack without KEDA, by its real controller: a small adapter makes up what pods that run nothing use."""

import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stacks.names import NAMESPACE
from stacks.record import Plan
from tests.cluster.conftest import Cluster, Object, RefusedError
from tests.cluster.declared import in_order, is_of_charts, of_kind, played_nodes
from tests.cluster.service import PODS, SELECTED
from tests.stacks.wholes import complete

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
# An API server that is to reach the adapter does so in a few; where it cannot, the test is skipped after these.
REACHED_WITHIN_SECONDS = 90
KINDS = ("Namespace", "PriorityClass", "ServiceAccount", "Deployment", "HorizontalPodAutoscaler")


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return complete("dev", tmp_path_factory.mktemp("releases"))


class Adapter:
    """What metrics-server would answer, were there containers: the same use for every pod."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.use = {"cpu": "1m", "memory": "1Mi"}

    def answer(self, path: str) -> Object | None:
        path = path.partition("?")[0].rstrip("/")
        here = f"/apis/{GROUP}/{VERSION}"
        if path == here:
            pods = {"name": "pods", "namespaced": True, "kind": "PodMetrics", "singularName": "", "verbs": ["get", "list"]}
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}", "resources": [pods]}
        if path != f"{here}/namespaces/{NAMESPACE}/pods":
            return None
        return {"kind": "PodMetricsList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}, "items": list(self._items())}

    def _items(self) -> Iterator[Object]:
        for pod in self._cluster.list(PODS, labelSelector=SELECTED):
            about = {key: pod["metadata"][key] for key in ("name", "namespace", "labels")}
            containers = [{"name": each["name"], "usage": self.use} for each in pod["spec"]["containers"]]
            yield {
                "metadata": about,
                "timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                "window": "1s",
                "containers": containers,
            }


@contextmanager
def listening(adapter: Adapter, folder: Path) -> Iterator[int]:
    """The port at which it answers, with TLS, as the API server asks for it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = adapter.answer(self.path)
            self.send_response(200 if found else 404)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(found or {}).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Nothing."""

    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def registered(port: int) -> list[Object]:
    """The adapter as an API of the server; a service of that type is what lets the server reach loopback."""
    name = {"namespace": "default", "name": "churn-test-metrics"}
    service = {"type": "ExternalName", "externalName": "localhost"}
    spec = {
        "group": GROUP,
        "version": VERSION,
        "service": {**name, "port": port},
        "insecureSkipTLSVerify": True,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    api = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": f"{VERSION}.{GROUP}"}}
    return [{"apiVersion": "v1", "kind": "Service", "metadata": name, "spec": service}, {**api, "spec": spec}]


@pytest.fixture
def adapter(cluster: Cluster, tmp_path: Path) -> Iterator[Adapter]:
    adapter = Adapter(cluster)
    with listening(adapter, tmp_path) as port:
        objects = registered(port)
        if is_there(cluster, objects[-1]):
            pytest.skip("the cluster has a metrics-server, which knows that no pod does anything; give one without")
        for each in objects:
            cluster.apply(each)
        try:
            if not became_available(cluster, objects[-1]):
                pytest.skip("the API server does not reach an adapter on loopback; give one that runs on this machine")
            yield adapter
        finally:
            cluster.clear(objects)


def is_there(cluster: Cluster, manifest: Object) -> bool:
    try:
        cluster.get(manifest)
    except RefusedError as refused:
        if refused.status != 404:
            raise
        return False
    return True


def became_available(cluster: Cluster, api: Object) -> bool:
    """Once the server has tried."""
    found = cluster.until(api, lambda each: conditions(each) != {})
    try:
        cluster.until(api, lambda each: conditions(each).get("Available") == "True", REACHED_WITHIN_SECONDS)
    except AssertionError:
        assert conditions(found)
        return False
    return True


def conditions(found: Object) -> dict[str, str]:
    return {each["type"]: each["status"] for each in found.get("status", {}).get("conditions", [])}


@pytest.fixture
def scaled(cluster: Cluster, plan: Plan) -> Iterator[tuple[Object, Object]]:
    """The Deployment and its autoscaler, which has seen pods that have nothing to do."""
    objects = [each for each in of_kind(in_order(plan), *KINDS) if not is_of_charts(each)]
    ours = of_kind(objects, "Namespace", "PriorityClass")
    [autoscaler] = of_kind(objects, "HorizontalPodAutoscaler")
    [deployment] = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == "inference"]
    cluster.clear(ours)
    with played_nodes(cluster):
        try:
            for each in [each for each in objects if each["kind"] != "Deployment"]:
                cluster.apply(each)
            cluster.apply(deployment)
            cluster.until(autoscaler, lambda each: conditions(each).get("ScalingActive") == "True")
            yield deployment, autoscaler
        finally:
            cluster.clear(ours)


@pytest.mark.parametrize("resource", ["cpu", "memory"])
def test_pods_that_use_more_than_they_should_get_company(
    adapter: Adapter, cluster: Cluster, scaled: tuple[Object, Object], resource: str
):
    deployment, autoscaler = scaled
    least, most = (autoscaler["spec"][f"{which}Replicas"] for which in ("min", "max"))
    assert cluster.get(deployment)["spec"]["replicas"] == least < most
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    # All that a pod was promised, which is more than the target of either.
    adapter.use = {**adapter.use, resource: container["resources"]["requests"][resource]}
    cluster.until(deployment, lambda each: each["spec"]["replicas"] == most)
    cluster.until(deployment, lambda each: each["status"].get("availableReplicas") == most)
