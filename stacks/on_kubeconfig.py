"""The foundation on a cluster that is there: one volume for everything."""

import pulumi
import pulumi_kubernetes as k8s

from stacks.config import LocalConfig, StackConfig
from stacks.flows import AROUND_LOCAL
from stacks.foundation import Foundation
from stacks.namespaces import Namespaces, NamespacesArgs
from stacks.tracking import TrackingArgs
from stacks.tracking_pods import File
from stacks.volume import ARTIFACTS, BUNDLES, EVENTS, Volume, VolumeArgs


def on_kubeconfig(config: StackConfig, local: LocalConfig) -> Foundation:
    """Two namespaces and a volume in the cluster that the context names."""
    # Named, as a kubeconfig that changed its contents would else look like another cluster with everything still to make.
    kubernetes = k8s.Provider(
        "kubernetes",
        context=local.context,
        cluster_identifier=local.context,
        # The namespace and the claim outlive the stack, and `make local-load` makes them before it: they are taken over.
        upsert_existing_objects=True,
    )
    in_cluster = pulumi.ResourceOptions(providers=[kubernetes])
    namespaces = Namespaces("namespaces", NamespacesArgs(around=AROUND_LOCAL, retained=True), in_cluster)
    volume = Volume(
        "volume",
        VolumeArgs(namespace=namespaces.churn, storage_class=local.storage_class, storage_gib=local.storage_gib),
        in_cluster,
    )
    return Foundation(
        in_cluster=in_cluster,
        namespaces=namespaces,
        storage_class=local.storage_class,
        bundles=f"file://{BUNDLES}",
        events=f"file://{EVENTS}",
        tracking=TrackingArgs(
            config=config.tracking,
            namespace=namespaces.churn,
            image=local.mlflow_image,
            backend=File(claim_name=volume.claim_name),
            artifacts=ARTIFACTS,
            across_zones=False,
        ),
        claim_name=volume.claim_name,
    )
