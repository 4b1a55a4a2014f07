"""What parts of the cluster call each other: namespaces, workloads, ports and labels."""

from dataclasses import dataclass

NAMESPACE = "churn"
MONITORING_NAMESPACE = "monitoring"
METRICS_PORT = 9090
# The label of every node, and the taint of those that are kept for one kind of pod; the value is one of the groups below.
NODES = "churn/nodes"
SYSTEM_NODES, INFERENCE_NODES, TRAINING_NODES = "system", "inference", "training"
# The chart's release; its objects are called after it.
MONITORING_RELEASE = "monitoring"
PROMETHEUS_URL = f"http://{MONITORING_RELEASE}-prometheus.{MONITORING_NAMESPACE}:9090"
# Alertmanager's service account.
ALERTMANAGER = "alertmanager"
KEDA_NAMESPACE = "keda"
ROLLOUTS_NAMESPACE = "argo-rollouts"
# Priority classes of pods.
INFERENCE_PRIORITY = "churn-inference"
BATCH_PRIORITY = "churn-batch"
# Of the volumes that AWS makes.
STORAGE_CLASS = "gp3"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One of ours in NAMESPACE; its service account has its name."""

    name: str

    @property
    def labels(self) -> dict[str, str]:
        """What selects its pods, and nobody else's."""
        return {"app.kubernetes.io/name": self.name, "app.kubernetes.io/part-of": "churn"}


@dataclass(frozen=True, kw_only=True)
class Server(Workload):
    """A workload that others call, at a service of its name; the service's port is the container's, as policies see both."""

    port: int

    @property
    def address(self) -> str:
        """Where it is called, from any namespace."""
        return f"{self.name}.{NAMESPACE}:{self.port}"


INFERENCE = Server(name="inference", port=8080)
TRACKING = Server(name="mlflow", port=5000)
# Jobs that people and workflows start.
TRAINING = Workload(name="training")
