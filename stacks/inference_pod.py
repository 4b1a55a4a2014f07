"""The one pod template of the inference service, whoever runs it: a Deployment or a Rollout."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pulumi
from pulumi_kubernetes.core.v1 import (
    ContainerPortArgs,
    DownwardAPIVolumeFileArgs,
    DownwardAPIVolumeSourceArgs,
    EnvVarArgs,
    HTTPGetActionArgs,
    ObjectFieldSelectorArgs,
    PersistentVolumeClaimVolumeSourceArgs,
    PodTemplateSpecArgs,
    ProbeArgs,
    TolerationArgs,
    VolumeArgs,
    VolumeMountArgs,
)
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from app.settings import Settings
from stacks.config import InferenceConfig
from stacks.live import Live
from stacks.names import INFERENCE, INFERENCE_PRIORITY, METRICS_PORT, NODES
from stacks.pods import TMP, TMP_MOUNT, container, pod_spec, resources, spread
from stacks.reading import ConfigError
from stacks.volume import MOUNT

RELEASE_ANNOTATION = "churn/release"
RELEASE_PATH = Path("/etc/churn/release.json")
TOKENS_ANNOTATION = "churn/tokens"
TOKENS_PATH = RELEASE_PATH.with_name("tokens.json")
# What the pod reads of its own annotations.
FILES = {RELEASE_PATH: RELEASE_ANNOTATION, TOKENS_PATH: TOKENS_ANNOTATION}
# All annotations of an object together; a little is left for those that others add.
# https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/apimachinery/pkg/api/validation/objectmeta.go
RELEASE_BYTES_MAX = 240 * 1024
# From the SIGTERM on, a quarter of it passes before the process takes no more connections: the balancer needs some seconds to
# learn of it. That is why there is no preStop hook beside it.
GRACE_SECONDS = 60
KILL_AFTER_SECONDS = GRACE_SECONDS + 10


@dataclass(frozen=True, kw_only=True)
class PodArgs:
    """What is in a pod, and which nodes it wants. `claim_name` is of a volume that `bundles` and `events` are on."""

    config: InferenceConfig
    live: Live
    image: pulumi.Input[str]
    bundles: pulumi.Input[str]
    events: pulumi.Input[str]
    claim_name: pulumi.Input[str] | None
    nodes: str | None
    across_zones: bool


def template(args: PodArgs, revision: str) -> PodTemplateSpecArgs:
    """The pod template; `revision` is the label by which its controller tells old pods from new ones."""
    hashes = args.config.token_hashes
    annotations = {
        # The release and whom it answers are part of the template, so that another of either is other pods, by way of the canary,
        # and old pods keep theirs to the end.
        RELEASE_ANNOTATION: _release_text(args.live),
        **({TOKENS_ANNOTATION: msgspec.json.encode(hashes).decode()} if hashes else {}),
        # What is in it at the end of a pod has been shipped: no reason to keep a node.
        "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "tmp",
    }
    return PodTemplateSpecArgs(
        metadata=ObjectMetaArgs(labels=INFERENCE.labels, annotations=annotations),
        spec=pod_spec(
            service_account_name=INFERENCE.name,
            priority_class_name=INFERENCE_PRIORITY,
            termination_grace_period_seconds=KILL_AFTER_SECONDS,
            node_selector={NODES: args.nodes} if args.nodes else None,
            tolerations=[TolerationArgs(key=NODES, value=args.nodes, effect="NoSchedule")] if args.nodes else None,
            topology_spread_constraints=spread(INFERENCE, across_zones=args.across_zones, revision=revision),
            containers=[
                container(
                    name=INFERENCE.name,
                    image=args.image,
                    env=pulumi.Output.all(args.bundles, args.events).apply(
                        lambda stores: _environment(*stores, tokens=TOKENS_PATH if hashes else None)
                    ),
                    ports=[
                        ContainerPortArgs(name="http", container_port=INFERENCE.port),
                        ContainerPortArgs(name="metrics", container_port=METRICS_PORT),
                    ],
                    resources=resources(args.config.cpu_millicores, args.config.memory_mib),
                    # A process that cannot load its release says why at /readyz; starting it again would not help.
                    startup_probe=_probe("/livez", period_seconds=1, failures=30),
                    liveness_probe=_probe("/livez", period_seconds=10, failures=3),
                    readiness_probe=_probe("/readyz", period_seconds=5, failures=2),
                    volume_mounts=_mounts(args.claim_name),
                )
            ],
            volumes=_volumes([each for each in FILES if FILES[each] in annotations], args.claim_name),
        ),
    )


def _release_text(live: Live) -> str:
    """The release's file as it is. Raises ConfigError for one that no annotation holds."""
    if (length := len(live.text.encode())) > RELEASE_BYTES_MAX:
        stack = live.release.stack
        raise ConfigError(
            stack,
            [f"the release of {stack} has {length:,} bytes; give one of {RELEASE_BYTES_MAX:,} at most, with fewer subgroups"],
        )
    return live.text


def _environment(bundles: str, events: str, tokens: Path | None) -> list[EnvVarArgs]:
    settings = Settings(
        release=RELEASE_PATH,
        bundles=bundles,
        events=events,
        tokens=tokens,
        host="0.0.0.0",  # noqa: S104 - the pod's own address; the network policies say who reaches it
        port=INFERENCE.port,
        metrics_port=METRICS_PORT,
        grace_seconds=GRACE_SECONDS,
    )
    return [EnvVarArgs(name=name, value=value) for name, value in settings.environment().items()]


def _probe(path: str, *, period_seconds: int, failures: int) -> ProbeArgs:
    return ProbeArgs(
        http_get=HTTPGetActionArgs(path=path, port="http"),
        period_seconds=period_seconds,
        timeout_seconds=2,
        failure_threshold=failures,
    )


def _mounts(claim_name: pulumi.Input[str] | None) -> list[VolumeMountArgs]:
    release = VolumeMountArgs(name="release", mount_path=str(RELEASE_PATH.parent), read_only=True)
    store = [VolumeMountArgs(name="store", mount_path=MOUNT)] if claim_name is not None else []
    return [release, TMP_MOUNT, *store]


def _volumes(files: list[Path], claim_name: pulumi.Input[str] | None) -> list[VolumeArgs]:
    release = VolumeArgs(name="release", downward_api=DownwardAPIVolumeSourceArgs(items=[_file(each) for each in files]))
    claim = PersistentVolumeClaimVolumeSourceArgs(claim_name=claim_name) if claim_name is not None else None
    return [release, TMP, *([VolumeArgs(name="store", persistent_volume_claim=claim)] if claim else [])]


def _file(path: Path) -> DownwardAPIVolumeFileArgs:
    text = ObjectFieldSelectorArgs(field_path=f"metadata.annotations['{FILES[path]}']")
    return DownwardAPIVolumeFileArgs(path=path.name, field_ref=text)
