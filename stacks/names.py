"""What parts of the cluster call each other: namespaces, workloads, ports and labels."""

from dataclasses import dataclass

NAMESPACE = "churn"
MONITORING_NAMESPACE = "monitoring"
METRICS_PORT = 9090


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One of ours in NAMESPACE; its service account has its name."""

    name: str
    port: int | None

    @property
    def labels(self) -> dict[str, str]:
        """What selects its pods, and nobody else's."""
        return {"app.kubernetes.io/name": self.name, "app.kubernetes.io/part-of": "churn"}


INFERENCE = Workload(name="inference", port=8080)
TRACKING = Workload(name="mlflow", port=5000)
# Jobs that people and workflows start: it is called by nobody.
TRAINING = Workload(name="training", port=None)
