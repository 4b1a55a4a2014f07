"""The one volume of a stack without AWS: bundles, events and MLflow's files, each in a folder of its own."""

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

CLAIM = "churn"
# Where every pod that has the volume finds it; folders are made by who writes first.
MOUNT = "/var/churn"
BUNDLES, EVENTS, TRACKED = (f"{MOUNT}/{folder}" for folder in ("bundles", "events", "mlflow"))
# Beside MLflow's database, not around it: what is below can be read and written through the server.
ARTIFACTS = f"{TRACKED}/artifacts"


@dataclass(frozen=True, kw_only=True)
class VolumeArgs:
    """Where the claim is made, and what is claimed."""

    namespace: pulumi.Input[str]
    storage_class: str
    storage_gib: int


class Volume(pulumi.ComponentResource):
    """A claim that outlives the stack, together with its namespace."""

    claim_name: pulumi.Output[str]

    def __init__(self, name: str, args: VolumeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:volume:Volume", name, None, opts)
        claim = k8s.core.v1.PersistentVolumeClaim(
            name,
            metadata=k8s.meta.v1.ObjectMetaArgs(
                name=CLAIM,
                namespace=args.namespace,
                # kind and minikube make a volume only for the first pod that wants it; waiting for it here would never end.
                annotations={"pulumi.com/skipAwait": "true"},
            ),
            spec=k8s.core.v1.PersistentVolumeClaimSpecArgs(
                storage_class_name=args.storage_class,
                # By one node, not by one pod.
                access_modes=["ReadWriteOnce"],
                resources=k8s.core.v1.VolumeResourceRequirementsArgs(requests={"storage": f"{args.storage_gib}Gi"}),
            ),
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )
        self.claim_name = claim.metadata.name
        self.register_outputs({"claim_name": self.claim_name})
