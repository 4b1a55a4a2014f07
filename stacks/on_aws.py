"""The foundation in an account of AWS: network, storage, database, cluster and what the cluster needs."""

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from stacks.access import Access
from stacks.addon_values import Place
from stacks.addons import Addons, AddonsArgs
from stacks.balancer import listens_on
from stacks.cluster import Cluster, ClusterArgs
from stacks.config import AwsConfig, StackConfig
from stacks.database import Database, DatabaseArgs
from stacks.delivery import Delivery, DeliveryArgs
from stacks.flows import around_aws
from stacks.foundation import Foundation
from stacks.monitoring import Notify
from stacks.names import INFERENCE_NODES, STORAGE_CLASS
from stacks.namespaces import Namespaces, NamespacesArgs
from stacks.network import Network, NetworkArgs
from stacks.runner import Runner, RunnerArgs
from stacks.sizing import sizing_of
from stacks.storage import Storage, StorageArgs
from stacks.tags import stack_tags
from stacks.tracking import TrackingArgs
from stacks.tracking_pods import Postgres
from stacks.workload_roles import WorkloadRoles, WorkloadRolesArgs

UNPUBLISHED = "unpublished"


def on_aws(config: StackConfig, own: AwsConfig) -> Foundation:
    """Everything below the workloads in an account of AWS, in the order in which parts need each other."""
    tags, region = stack_tags(pulumi.get_project(), config), own.account.region
    provider = aws.Provider("aws", region=region, default_tags={"tags": tags})
    opts = pulumi.ResourceOptions(providers=[provider])
    account = aws.get_caller_identity_output(opts=pulumi.InvokeOutputOptions(provider=provider))
    sizing = sizing_of(config)

    storage = Storage("storage", StorageArgs(config=own.storage, account_id=account.account_id, region=region), opts)
    network = Network("network", NetworkArgs(config=own.network, region=region, log_bucket_arn=storage.logs.bucket_arn), opts)
    database = Database(
        "database",
        DatabaseArgs(
            config=own.database,
            subnet_ids=network.data_subnet_ids,
            security_group_id=network.groups.database_id,
            kms_key_arn=storage.key_arns["database"],
        ),
        opts,
    )
    cluster_name = f"{pulumi.get_project()}-{config.stack}"
    delivery = Delivery(
        "delivery",
        DeliveryArgs(
            config=own.delivery,
            account=own.account,
            account_id=account.account_id,
            cluster_name=cluster_name,
            images_arn=storage.repository_arn,
            artifacts_arn=storage.artifacts.bucket_arn,
            artifacts_key_arn=storage.key_arns["artifacts"],
            alerts_key_arn=storage.key_arns["alerts"],
        ),
        opts,
    )
    cluster = Cluster(
        "cluster",
        ClusterArgs(
            config=own.cluster,
            cluster_name=cluster_name,
            region=region,
            account_id=account.account_id,
            vpc_id=network.vpc_id,
            subnet_ids=network.private_subnet_ids,
            workload_security_group_id=network.groups.workload_id,
            cluster_key_arn=storage.key_arns["cluster"],
            logs_key_arn=storage.key_arns["logs"],
            inference_nodes_min=sizing.nodes_min,
            inference_nodes_max=sizing.nodes_max,
            tags=tags,
            delivery_roles={
                "admin": {"deploy": delivery.deploy_role_arn},
                "deployer": {"release": delivery.release_role_arn},
                "viewer": {"preview": delivery.preview_role_arn},
            },
        ),
        opts,
    )
    runner = Runner(
        "runner",
        RunnerArgs(
            config=own.delivery,
            region=region,
            account_id=account.account_id,
            vpc_id=network.vpc_id,
            vpc_cidr=str(own.network.vpc_cidr),
            subnet_ids=network.private_subnet_ids,
            cluster_security_group_id=cluster.security_group_id,
            endpoints_security_group_id=network.groups.endpoints_id,
            balancer_port=listens_on(config.inference.host) if config.inference.ingress == "internal" else None,
            logs_key_arn=storage.key_arns["logs"],
            logs_retention_days=own.cluster.logs_retention_days,
        ),
        opts,
    )
    # Its name tells the cluster from others, and is known before it stands: else a preview would show every object as replaced.
    kubernetes = k8s.Provider("kubernetes", kubeconfig=cluster.kubeconfig, cluster_identifier=cluster_name)
    in_cluster = pulumi.ResourceOptions(providers=[provider, kubernetes])
    addons = Addons(
        "addons",
        AddonsArgs(
            place=Place(
                cluster_name=cluster_name,
                region=region,
                vpc_id=network.vpc_id,
                subnet_ids=network.private_subnet_ids,
                tags=tags,
            ),
            made_name=cluster.made_name,
            account_id=account.account_id,
            nodes_group_id=network.groups.workload_id,
            nodes=cluster.node_groups,
            logs_key_arn=storage.key_arns["logs"],
            logs_retention_days=own.cluster.logs_retention_days,
            volumes_key_arn=storage.key_arns["cluster"],
            scales_on_requests=config.inference.scale_on == "requests",
            has_canaries=bool(config.inference.canary_weights_percent),
        ),
        in_cluster,
    )
    namespaces = Namespaces(
        "namespaces",
        NamespacesArgs(around=around_aws(own.network)),
        # What is in them is finished by controllers: the balancer's, and drivers of volumes and secrets. They go last, as what
        # they have to clean up would else never end.
        pulumi.ResourceOptions(providers=[provider, kubernetes], depends_on=[addons]),
    )
    Access("access", pulumi.ResourceOptions(providers=[kubernetes], depends_on=[namespaces]))
    may = WorkloadRoles(
        "roles",
        WorkloadRolesArgs(cluster_name=cluster.made_name, region=region, storage=storage, database=database),
        opts,
    )
    artifacts, lake = storage.artifacts.bucket_name, storage.lake.bucket_name
    digest = own.delivery.mlflow_image_digest
    pulumi.export("lake_bucket", lake)
    pulumi.export("artifacts_bucket", artifacts)
    pulumi.export("repository_url", storage.repository_url)
    pulumi.export("cluster_name", cluster_name)
    pulumi.export("kubeconfig", cluster.kubeconfig)
    pulumi.export("github_connection_arn", runner.connection_arn)
    return Foundation(
        in_cluster=in_cluster,
        namespaces=namespaces,
        storage_class=STORAGE_CLASS,
        bundles=_after(may.inference_account, pulumi.Output.format("s3://{0}/bundles", artifacts)),
        events=pulumi.Output.format("s3://{0}/events", lake),
        tracking=None
        if digest == UNPUBLISHED
        else TrackingArgs(
            config=config.tracking,
            namespace=namespaces.churn,
            image=pulumi.Output.format("{0}@{1}", storage.repository_url, digest),
            backend=Postgres(address=database.address, secret_arn=database.secret_arn, region=region),
            artifacts=_after(may.tracking_account, pulumi.Output.format("s3://{0}/mlflow", artifacts)),
            across_zones=config.zones > 1,
        ),
        nodes=INFERENCE_NODES,
        inbound_cidrs=[str(own.network.vpc_cidr)],
        notify=Notify(
            topic_arn=delivery.topic_arn,
            key_arn=storage.key_arns["alerts"],
            region=region,
            cluster_name=cluster.made_name,
        ),
        cert_manager=True,
        ready=[addons],
    )


def _after(first: pulumi.Output[str], value: pulumi.Output[str]) -> pulumi.Output[str]:
    """The value, once the other is known: a pod gets the role that there is when it starts."""
    return pulumi.Output.all(first, value).apply(lambda known: known[1])
