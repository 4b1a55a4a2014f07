"""What every pod of ours has: no right that it does not need, room of its own for what it writes, a place away from its like."""

from functools import partial

import pulumi_kubernetes as k8s
from pulumi_kubernetes.core.v1 import (
    CapabilitiesArgs,
    ContainerArgs,
    EmptyDirVolumeSourceArgs,
    PodSecurityContextArgs,
    PodSpecArgs,
    ResourceRequirementsArgs,
    SeccompProfileArgs,
    SecurityContextArgs,
    TopologySpreadConstraintArgs,
    VolumeArgs,
    VolumeMountArgs,
)

from stacks.names import Workload

# The user of the Dockerfile's images.
UID = 10001
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
# A root filesystem that is read-only leaves libraries nowhere to put a temporary file, and inference no room for bundles and for
# what app/events.py lets wait while its store is down.
TMP = VolumeArgs(name="tmp", empty_dir=EmptyDirVolumeSourceArgs(size_limit="1Gi"))
TMP_MOUNT = VolumeMountArgs(name="tmp", mount_path="/tmp")  # noqa: S108 - in a volume of the pod's own

# A pod without root, a Kubernetes token or its neighbours' addresses; give it service_account_name, containers, volumes ...
pod_spec = partial(
    PodSpecArgs,
    automount_service_account_token=False,
    enable_service_links=False,
    security_context=PodSecurityContextArgs(
        run_as_non_root=True,
        run_as_user=UID,
        run_as_group=UID,
        fs_group=UID,
        # A volume with many files would else have each of them changed at every start.
        fs_group_change_policy="OnRootMismatch",
        seccomp_profile=SeccompProfileArgs(type="RuntimeDefault"),
    ),
)
# A container that can change neither its image's files nor its rights; give it name, image, resources, probes and so on.
container = partial(
    ContainerArgs,
    # An image that was loaded into a local cluster is in no registry; all others have a digest.
    image_pull_policy="IfNotPresent",
    security_context=SecurityContextArgs(
        allow_privilege_escalation=False,
        privileged=False,
        read_only_root_filesystem=True,
        run_as_non_root=True,
        capabilities=CapabilitiesArgs(drop=["ALL"]),
    ),
)


def resources(cpu_millicores: int, memory_mib: int) -> ResourceRequirementsArgs:
    """What a container is promised. It may take twice the processor while others leave it, but no more memory than promised."""
    memory = f"{memory_mib}Mi"
    return ResourceRequirementsArgs(
        requests={"cpu": f"{cpu_millicores}m", "memory": memory},
        limits={"cpu": f"{2 * cpu_millicores}m", "memory": memory},
    )


def spread(workload: Workload, *, across_zones: bool, revision: str = "pod-template-hash") -> list[TopologySpreadConstraintArgs]:
    """Pods of one revision (the label that tells it) evenly over zones, where there are some, and over hosts if it can be."""
    strictness = {ZONE: "DoNotSchedule", HOST: "ScheduleAnyway"} if across_zones else {HOST: "ScheduleAnyway"}
    return [
        TopologySpreadConstraintArgs(
            topology_key=key,
            when_unsatisfiable=when_unsatisfiable,
            max_skew=1,
            # The nodes of a lost zone are tainted before they are gone; until then they would hold its share of the pods back.
            node_taints_policy="Honor",
            label_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=workload.labels),
            match_label_keys=[revision],
        )
        for key, when_unsatisfiable in strictness.items()
    ]
