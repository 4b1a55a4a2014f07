"""What workloads stand on: a cluster to speak to, and where their data lies; on AWS, or on a cluster that is there."""

import pulumi
import pulumi_aws as aws

from stacks.config import AwsConfig, StackConfig
from stacks.database import Database, DatabaseArgs
from stacks.network import Network, NetworkArgs
from stacks.storage import Storage, StorageArgs
from stacks.tags import stack_tags


def on_aws(config: StackConfig, own: AwsConfig) -> None:
    """Everything below the workloads, in the order in which parts need each other."""
    tags = stack_tags(pulumi.get_project(), config)
    provider = aws.Provider("aws", region=own.account.region, default_tags={"tags": tags})
    opts = pulumi.ResourceOptions(providers=[provider])
    account = aws.get_caller_identity_output(opts=pulumi.InvokeOutputOptions(provider=provider))

    storage = Storage("storage", StorageArgs(config=own.storage, account_id=account.account_id), opts)
    network = Network(
        "network",
        NetworkArgs(config=own.network, region=own.account.region, log_bucket_arn=storage.logs.bucket_arn),
        opts,
    )
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
    pulumi.export("budget_usd_per_month", own.account.budget_usd_per_month)
    pulumi.export("lake_bucket", storage.lake.bucket_name)
    pulumi.export("artifacts_bucket", storage.artifacts.bucket_name)
    pulumi.export("repository_url", storage.repository_url)
    pulumi.export("database_address", database.address)
    pulumi.export("database_secret_arn", database.secret_arn)
