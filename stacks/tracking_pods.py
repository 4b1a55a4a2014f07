"""MLflow's pods: tables brought up to date first, a rotated password followed, a slow start told from a dead server."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pulumi
from pulumi_kubernetes.core.v1 import (
    ContainerArgs,
    ContainerPortArgs,
    CSIVolumeSourceArgs,
    EmptyDirVolumeSourceArgs,
    EnvVarArgs,
    ExecActionArgs,
    HTTPGetActionArgs,
    HTTPHeaderArgs,
    LifecycleArgs,
    LifecycleHandlerArgs,
    PersistentVolumeClaimVolumeSourceArgs,
    PodTemplateSpecArgs,
    ProbeArgs,
    SleepActionArgs,
    VolumeArgs,
    VolumeMountArgs,
)
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from stacks.config import TrackingConfig
from stacks.names import NAMESPACE, TRACKING
from stacks.pods import TMP, TMP_MOUNT, container, pod_spec, resources, spread
from stacks.volume import MOUNT, TRACKED

# The object that says which secret is mounted, and the file that it becomes.
SECRET_CLASS, SECRET_FILE = "mlflow-database", "database.json"
SECRET, CREDENTIALS = "/secret", "/credentials"
PASSFILE = f"{CREDENTIALS}/passfile"
# Each of them, and the process that starts them, takes a quarter of a GiB.
WORKERS = 2
# Whoever sends another Host header than one of these, as a page in a browser could, is refused; pods' addresses are none of them.
HOSTS = tuple(
    f"{host}:{TRACKING.port}"
    for host in (
        *(f"{TRACKING.name}{domain}" for domain in ("", f".{NAMESPACE}", f".{NAMESPACE}.svc", f".{NAMESPACE}.svc.cluster.local")),
        # By `kubectl port-forward`.
        "localhost",
        "127.0.0.1",
    )
)
# A server that answers is alive, one whose database answers is ready.
ALIVE = HTTPGetActionArgs(path="/health", port=TRACKING.port)
READY = HTTPGetActionArgs(
    path="/api/2.0/mlflow/experiments/search?max_results=1",
    port=TRACKING.port,
    http_headers=[HTTPHeaderArgs(name="Host", value=TRACKING.address)],
)
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """The database `mlflow` of the user `mlflow`, whose password is in a secret that is rotated."""

    address: pulumi.Input[str]
    secret_arn: pulumi.Input[str]
    region: str


@dataclass(frozen=True, kw_only=True)
class File:
    """A SQLite file on a volume, for one server."""

    claim_name: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class Backing:
    """What a backend adds to the pods."""

    uri: pulumi.Input[str]
    environment: dict[str, str]
    volumes: Sequence[VolumeArgs]
    mounts: Sequence[VolumeMountArgs]
    beside: Sequence[ContainerArgs]


def backing(backend: Postgres | File, image: pulumi.Input[str]) -> Backing:
    """How the pods reach their database."""
    if isinstance(backend, File):
        claim = PersistentVolumeClaimVolumeSourceArgs(claim_name=backend.claim_name)
        return Backing(
            uri=f"sqlite:///{TRACKED}/mlflow.db",
            environment={},
            volumes=[VolumeArgs(name="data", persistent_volume_claim=claim)],
            mounts=[VolumeMountArgs(name="data", mount_path=MOUNT)],
            beside=[],
        )
    mounted = CSIVolumeSourceArgs(
        driver="secrets-store.csi.k8s.io", read_only=True, volume_attributes={"secretProviderClass": SECRET_CLASS}
    )
    credentials = VolumeMountArgs(name="credentials", mount_path=CREDENTIALS)
    return Backing(
        # Encrypted, and inside the VPC; the certificate's issuer is not in the image, so that it is not verified.
        uri=pulumi.Output.format("postgresql+psycopg://mlflow@{0}:5432/mlflow?sslmode=require", backend.address),
        environment={"PGPASSFILE": PASSFILE, "AWS_DEFAULT_REGION": backend.region},
        volumes=[
            VolumeArgs(name="secret", csi=mounted),
            VolumeArgs(name="credentials", empty_dir=EmptyDirVolumeSourceArgs(medium="Memory", size_limit="1Mi")),
        ],
        mounts=[credentials],
        beside=[_follower(image, [VolumeMountArgs(name="secret", mount_path=SECRET, read_only=True), credentials])],
    )


def _follower(image: pulumi.Input[str], mounts: Sequence[VolumeMountArgs]) -> ContainerArgs:
    """Started before all others and ended after them; they wait for the first password."""
    return container(
        name="password",
        image=image,
        command=["python", "-c", script("passfile.py"), f"{SECRET}/{SECRET_FILE}", PASSFILE],
        restart_policy="Always",
        startup_probe=ProbeArgs(exec_=ExecActionArgs(command=["test", "-s", PASSFILE]), period_seconds=1, failure_threshold=120),
        resources=resources(50, 64),
        volume_mounts=mounts,
    )


def template(
    config: TrackingConfig,
    image: pulumi.Input[str],
    backend: Postgres | File,
    artifacts: pulumi.Input[str],
    *,
    across_zones: bool,
) -> PodTemplateSpecArgs:
    """The pods of the server."""
    behind = backing(backend, image)
    # MLflow's own process, and the one that makes its tables: as both import all of it, both need as much.
    ours = partial(
        container,
        image=image,
        env=[EnvVarArgs(name=name, value=value) for name, value in {**ENVIRONMENT, **behind.environment}.items()],
        resources=resources(config.cpu_millicores, config.memory_mib),
        volume_mounts=[TMP_MOUNT, *behind.mounts],
    )
    schema = ours(name="schema", command=["python", "-c", script("migrate.py"), behind.uri])
    server = ours(
        name="server",
        args=["server", *_options(behind.uri, artifacts)],
        ports=[ContainerPortArgs(name="http", container_port=TRACKING.port)],
        startup_probe=ProbeArgs(http_get=ALIVE, period_seconds=5, failure_threshold=36),
        liveness_probe=ProbeArgs(http_get=ALIVE, period_seconds=10, timeout_seconds=5),
        readiness_probe=ProbeArgs(http_get=READY, period_seconds=10, timeout_seconds=5),
        # Until every node has heard that the pod is going, connections still come.
        lifecycle=LifecycleArgs(pre_stop=LifecycleHandlerArgs(sleep=SleepActionArgs(seconds=5))),
    )
    spec = pod_spec(
        service_account_name=TRACKING.name,
        init_containers=[*behind.beside, schema],
        containers=[server],
        volumes=[TMP, *behind.volumes],
        topology_spread_constraints=spread(TRACKING, across_zones=across_zones),
        # Uploads and downloads of artifacts that are under way.
        termination_grace_period_seconds=60,
    )
    return PodTemplateSpecArgs(metadata=ObjectMetaArgs(labels=TRACKING.labels), spec=spec)


def _options(uri: pulumi.Input[str], artifacts: pulumi.Input[str]) -> list[pulumi.Input[str]]:
    return [
        "--host=0.0.0.0",
        f"--port={TRACKING.port}",
        f"--workers={WORKERS}",
        f"--allowed-hosts={','.join(HOSTS)}",
        "--backend-store-uri",
        uri,
        # Clients send and fetch files through the server: they need no rights on the bucket.
        "--serve-artifacts",
        "--artifacts-destination",
        artifacts,
    ]


def script(name: str) -> str:
    """A module of ours as text, for an image that does not have it; as an argument, its change is a change of the pods."""
    return (Path(__file__).parent / name).read_text()
