"""Everything third-party that a stack runs, each with its one version and where that version was read.

`python -m stacks.pins` lists it, and last what only an owner can find out. Exit codes: 0 listed, 1 a base image without a digest.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# The minor version that everything below was chosen for: kube-proxy, the nodes and the cluster autoscaler follow it. EKS supports
# one for 14 months without a surcharge: https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html
KUBERNETES = "1.35"


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One version; `source` is the public file that it was read in, `newer` the command that shows what there is now."""

    name: str
    version: str
    source: str
    newer: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A Helm chart; the images that it runs are pinned by it."""

    name: str
    repository: str
    version: str
    source: str

    @property
    def pin(self) -> Pin:
        """The same, as a line of the table."""
        command = f"helm search repo {self.name} --versions # after helm repo add {self.name} {self.repository}"
        return Pin(name=f"chart {self.name}", version=self.version, source=self.source, newer=command)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What is not pinned yet, and how its owner finds it."""

    name: str
    run: str


class PinError(ValueError):
    """A third-party part that floats."""


CHARTS = (
    Chart(
        name="cluster-autoscaler",
        repository="https://kubernetes.github.io/autoscaler",
        version="9.59.0",
        source="github.com/kubernetes/autoscaler, tag cluster-autoscaler-chart-9.59.0, Chart.yaml (autoscaler 1.35.0)",
    ),
    Chart(
        name="aws-load-balancer-controller",
        repository="https://aws.github.io/eks-charts",
        version="3.5.0",
        source="github.com/aws/eks-charts, commit 5239609, stable/aws-load-balancer-controller/Chart.yaml",
    ),
    Chart(
        name="keda",
        repository="https://kedacore.github.io/charts",
        version="2.20.2",
        source="github.com/kedacore/charts, commit cbb9bb8, keda/Chart.yaml",
    ),
    Chart(
        name="argo-rollouts",
        repository="https://argoproj.github.io/argo-helm",
        version="2.41.0",
        source="github.com/argoproj/argo-helm, commit 8796aea, charts/argo-rollouts/Chart.yaml (Argo Rollouts 1.9.0)",
    ),
    Chart(
        name="kube-prometheus-stack",
        repository="https://prometheus-community.github.io/helm-charts",
        version="88.5.3",
        source="github.com/prometheus-community/helm-charts, commit ea930ba, charts/kube-prometheus-stack/Chart.yaml",
    ),
)

# AWS's defaults for Kubernetes 1.35, not the newest: read there from `aws eks describe-addon-versions` on 2026-08-04.
_DEFAULTS = "github.com/skax-ca/eks-reference-infra, commit 08c73e5, live/dev/eks/main.tf"
_VERSIONS = {
    "vpc-cni": ("v1.22.3-eksbuild.1", _DEFAULTS),
    "kube-proxy": ("v1.35.3-eksbuild.17", _DEFAULTS),
    "coredns": ("v1.13.2-eksbuild.11", _DEFAULTS),
    "eks-pod-identity-agent": ("v1.3.10-eksbuild.3", _DEFAULTS),
    "aws-ebs-csi-driver": ("v1.63.1-eksbuild.1", _DEFAULTS),
    "metrics-server": ("v0.9.0-eksbuild.5", _DEFAULTS),
    "cert-manager": ("v1.21.0-eksbuild.3", _DEFAULTS),
    "aws-secrets-store-csi-driver-provider": ("v3.1.3-eksbuild.1", "github.com/TebogoMoremi/EKS-Transaction-service, README.md"),
    "fluent-bit": (
        "v4.2.2-eksbuild.1",
        "github.com/aws-games/cloud-game-development-toolkit, commit d7f13f2, modules/unreal/unreal-cloud-ddc/variables.tf",
    ),
}
ADDONS = {
    name: Pin(
        name=f"EKS add-on {name}",
        version=version,
        source=source,
        newer=f"aws eks describe-addon-versions --kubernetes-version {KUBERNETES} --addon-name {name}",
    )
    for name, (version, source) in _VERSIONS.items()
}

# Amazon Linux 2023 for x86-64 with Kubernetes 1.35.
NODE_AMI = Pin(
    name="eks-node-ami",
    version="1.35.6-20260801",
    source="github.com/MicroTodoSuite/microservice-app-ops, commit c3e7aa2, aws/environments/dev/foundation/dev.tfvars",
    newer=(
        f"aws ssm get-parameter --name /aws/service/eks/optimized-ami/{KUBERNETES}"
        "/amazon-linux-2023/x86_64/standard/recommended/release_version"
    ),
)


BASE_IMAGE = re.compile(r"^# (?P<source>[^\n]*)\nARG BASE=(?P<name>[^@\s]+)(?:@(?P<digest>sha256:[0-9a-f]{64}))?$", re.MULTILINE)


def chart(name: str) -> Chart:
    """The chart of that name. Raises KeyError."""
    return {each.name: each for each in CHARTS}[name]


def addon_version(name: str) -> str:
    """The version of an EKS managed add-on. Raises KeyError."""
    return ADDONS[name].version


def base_image(dockerfile: str) -> Pin:
    """What the Dockerfile's images begin with. Raises PinError without a digest."""
    found = BASE_IMAGE.search(dockerfile)
    if not found or not found["digest"]:
        raise PinError(f"Dockerfile: ARG BASE is {found['name'] if found else 'not there'}; give name:tag@sha256:<digest>")
    return Pin(
        name=f"image {found['name']}",
        version=found["digest"],
        source=found["source"],
        newer=f"docker buildx imagetools inspect {found['name']}",
    )


def pins() -> list[Pin]:
    """Every pin there is. Raises PinError."""
    return [*(each.pin for each in CHARTS), *ADDONS.values(), NODE_AMI, base_image((ROOT / "Dockerfile").read_text())]


def publish_mlflow(stack: str) -> str:
    """How the image that a stack's MLflow runs gets its digest."""
    return (
        "make image, push churn-mlflow to the stack's repository (output repository_url), "
        f"pulumi config set --stack {stack} delivery:mlflowImageDigest sha256:<printed by push>"
    )


def gaps(values: Mapping[str, str]) -> list[Gap]:
    """What the text of stacks' files of values, by stack, leaves to the owner."""
    return [
        Gap(
            name=f"mlflow image of {stack}",
            run=publish_mlflow(stack),
        )
        for stack, text in sorted(values.items())
        if "mlflowImageDigest: unpublished" in text
    ]


def main() -> int:
    """Print pins, then gaps; the exit code."""
    try:
        known = pins()
    except PinError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    for each in known:
        sys.stdout.write(f"{each.name}  {each.version}\n    read in {each.source}\n    newer?  {each.newer}\n")
    values = {path.name.split(".")[1]: path.read_text() for path in ROOT.glob("Pulumi.*.yaml")}
    for gap in gaps(values):
        sys.stdout.write(f"NOT PINNED  {gap.name}\n    run     {gap.run}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
