"""The metrics of pods that run nothing, for a real Prometheus: counted and written by the application's own code.

Debian's Prometheus cannot look for pods itself: it asks here, and gets what it would read at the API server. It labels them as
the stack's PodMonitor asks.
"""

import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from prometheus_client import generate_latest

from app.contract import Customer, matrix
from app.metrics import Metrics, registry
from stacks.canary import REVISION_LABEL
from tests.app.support import ASKED

META = "__meta_kubernetes_"
ROUTES = ("/v1/predict",)
ROW = matrix([Customer(**ASKED)])


@dataclass(frozen=True)
class Behaviour:
    """What a pod does from one scrape to the next."""

    requests: int = 600
    failed: int = 0


class Player:
    """Pods by revision and name, each with metrics of its own; what is not stable is a canary."""

    def __init__(self, find_pods: Callable[[], list[dict[str, Any]]]) -> None:
        self._find_pods = find_pods
        self.stable: set[str] = set()
        self.canary = Behaviour()
        self.address = ""
        self._pods: dict[str, Metrics] = {}
        self._rng = np.random.default_rng(0)
        self._lock = threading.Lock()

    def targets(self) -> bytes:
        """What is to be scraped, for `http_sd_configs`: a pod each, with what Prometheus calls its labels."""
        found = [
            {"targets": [self.address], "labels": {META + name: value for name, value in _about(each).items()}}
            for each in self._find_pods()
        ]
        return json.dumps(found).encode()

    def scrape(self, path: str) -> bytes:
        """One answer of the pod at /<revision>/<pod>; a new one has answered nothing yet."""
        revision = path.split("/")[1]
        with self._lock:
            new = path not in self._pods
            metrics = self._pods.setdefault(path, Metrics(ROUTES))
            if not new:
                self._act(metrics, Behaviour() if revision in self.stable else self.canary)
            return generate_latest(registry(metrics))

    def _act(self, metrics: Metrics, behaviour: Behaviour) -> None:
        for i in range(behaviour.requests):
            metrics.routes["/v1/predict"].observe(503 if i < behaviour.failed else 200, 0.004)
        scores = self._rng.beta(1, 3, behaviour.requests).astype(np.float32)
        if behaviour.requests:
            metrics.drift.see(np.repeat(ROW, behaviour.requests, axis=0), scores)


@contextmanager
def playing(player: Player) -> Iterator[Player]:
    """The player, listening on loopback."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            looks = self.path == "/targets"
            body = player.targets() if looks else player.scrape(self.path)
            self.send_response(200)
            self.send_header("content-type", "application/json" if looks else "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Nothing."""

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """On a busy machine Prometheus does not wait for every answer; the next one has it all."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        player.address = f"127.0.0.1:{server.server_port}"
        try:
            yield player
        finally:
            server.shutdown()


def of_pods(monitor: dict[str, Any], player: Player) -> dict[str, Any]:
    """The job that the Prometheus operator makes of a PodMonitor, with the player in the pods' place."""
    name, copied = f"{META}pod_name", [each.replace("-", "_") for each in monitor["spec"]["podTargetLabels"]]
    return {
        "job_name": f"{monitor['metadata']['namespace']}/{monitor['metadata']['name']}",
        "honor_labels": True,
        "http_sd_configs": [{"url": f"http://{player.address}/targets", "refresh_interval": "1s"}],
        # https://github.com/prometheus-operator/prometheus-operator/blob/main/pkg/prometheus/promcfg.go
        "relabel_configs": [
            {"source_labels": [f"{META}namespace"], "target_label": "namespace"},
            {"source_labels": [name], "target_label": "pod"},
            *({"source_labels": [f"{META}pod_label_{each}"], "regex": "(.+)", "target_label": each} for each in copied),
            # Not the operator's: which pod is played.
            {
                "source_labels": [f"{META}pod_label_{REVISION_LABEL}", name],
                "separator": "/",
                "target_label": "__metrics_path__",
                "replacement": "/$1",
            },
        ],
    }


def _about(pod: dict[str, Any]) -> dict[str, str]:
    """https://prometheus.io/docs/prometheus/latest/configuration/configuration/#kubernetes_sd_config"""
    labels = {f"pod_label_{re.sub('[^a-zA-Z0-9]', '_', label)}": value for label, value in pod["metadata"]["labels"].items()}
    return {"namespace": pod["metadata"]["namespace"], "pod_name": pod["metadata"]["name"], **labels}
