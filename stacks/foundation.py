"""What workloads stand on, wherever that is: a cluster to speak to, and where their data lies."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from stacks.monitoring import Notify
from stacks.namespaces import Namespaces
from stacks.tracking import TrackingArgs


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """What is declared below the workloads; values of AWS are known once what a pod needs beside them stands."""

    in_cluster: pulumi.ResourceOptions
    namespaces: Namespaces
    storage_class: str
    bundles: pulumi.Input[str]
    events: pulumi.Input[str]
    # As soon as there is an image for it.
    tracking: TrackingArgs | None = None
    claim_name: pulumi.Input[str] | None = None
    # The group of nodes that is kept for inference.
    nodes: str | None = None
    # Who may call the balancer, where there can be one.
    inbound_cidrs: Sequence[str] = ()
    notify: Notify | None = None
    cert_manager: bool = False
    # What has to run before anything that is scraped or has a volume.
    ready: Sequence[pulumi.Resource] = ()
