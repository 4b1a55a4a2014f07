"""The Pulumi program: what one stack consists of. Each name below is a module of this folder that declares it."""

import pulumi

from stacks.config import AwsConfig, load
from stacks.inference import Inference, InferenceArgs
from stacks.live import live_on
from stacks.monitoring import Monitoring, MonitoringArgs
from stacks.on_aws import on_aws
from stacks.on_kubeconfig import on_kubeconfig
from stacks.priorities import Priorities
from stacks.sizing import sizing_of
from stacks.tracking import Tracking

config = load()
# What is live there; an account begins without.
live = live_on(config)
# Storage, network, database, cluster, add-ons and delivery roles in AWS, or a volume in a cluster that is there.
base = on_aws(config, config.base) if isinstance(config.base, AwsConfig) else on_kubeconfig(config, config.base)

Priorities("priorities", base.in_cluster)
if base.tracking:
    tracking = Tracking("tracking", base.tracking, base.in_cluster)
    pulumi.export("tracking_url", tracking.url)
if live:
    inference = Inference(
        "inference",
        InferenceArgs(
            sizing=sizing_of(config),
            live=live,
            namespace=base.namespaces.churn,
            image=live.image,
            bundles=base.bundles,
            events=base.events,
            claim_name=base.claim_name,
            nodes=base.nodes,
            inbound_cidrs=base.inbound_cidrs,
        ),
        base.in_cluster,
    )
    pulumi.export("inference_url", inference.url)
Monitoring(
    "monitoring",
    MonitoringArgs(
        config=config.monitoring,
        namespace=base.namespaces.monitoring,
        workloads_namespace=base.namespaces.churn,
        objective=config.inference,
        storage_class=base.storage_class,
        serving=live is not None,
        tracking=base.tracking is not None,
        cert_manager=base.cert_manager,
        notify=base.notify,
        after=base.ready,
    ),
    base.in_cluster,
)
