"""What EC2 instance types leave to pods: a table of the x86 ones that the inference image runs well on."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What kubelet and system leave of an instance."""

    cpu_millicores: int
    memory_mib: int
    pods: int

    def holds(self, cpu_millicores: int, memory_mib: int) -> int:
        """How many pods of that size fit beside those that run on every node."""
        return max(
            0,
            min(
                (self.cpu_millicores - EVERY_NODE.cpu_millicores) // cpu_millicores,
                (self.memory_mib - EVERY_NODE.memory_mib) // memory_mib,
                self.pods - EVERY_NODE.pods,
            ),
        )


# Pods of daemon sets: network, proxy, pod identity, volumes, secrets, logs and node metrics; their requests, rounded up.
EVERY_NODE = Machine(cpu_millicores=300, memory_mib=600, pods=8)
_COMPUTE, _GENERAL = ("c5", "c5a", "c6a", "c6i", "c7a", "c7i"), ("m5", "m6a", "m6i", "m7a", "m7i")
# Millicores, MiB, pods: "Resources" in website/content/en/preview/reference/instance-types.md of aws/karpenter-provider-aws of
# 2026-08-21. It takes off what https://github.com/awslabs/amazon-eks-ami/blob/main/nodeadm/internal/kubelet/config.go reserves.
_LEFT = {
    _COMPUTE: {"large": (1930, 3114, 29), "xlarge": (3920, 6584, 58), "2xlarge": (7910, 14162, 58)},
    _GENERAL: {"large": (1930, 6903, 29), "xlarge": (3920, 14162, 58), "2xlarge": (7910, 29317, 58)},
    ("t3", "t3a"): {"medium": (1930, 3246, 17), "large": (1930, 6837, 35), "xlarge": (3920, 14162, 58)},
}
MACHINES = {
    f"{family}.{size}": Machine(cpu_millicores=cpu, memory_mib=memory, pods=pods)
    for families, sizes in _LEFT.items()
    for family in families
    for size, (cpu, memory, pods) in sizes.items()
}
