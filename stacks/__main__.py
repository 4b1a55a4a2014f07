"""The Pulumi program: what one stack consists of, in the order in which parts need each other."""

import pulumi
import pulumi_aws as aws

from stacks.config import load
from stacks.database import Database, DatabaseArgs
from stacks.network import Network, NetworkArgs
from stacks.storage import Storage, StorageArgs
from stacks.tags import stack_tags

config = load()
provider = aws.Provider("aws", region=config.churn.region, default_tags={"tags": stack_tags(pulumi.get_project(), config)})
on_aws = pulumi.ResourceOptions(providers=[provider])
account = aws.get_caller_identity_output(opts=pulumi.InvokeOutputOptions(provider=provider))

storage = Storage("storage", StorageArgs(config=config.storage, account_id=account.account_id), on_aws)
network = Network(
    "network",
    NetworkArgs(config=config.network, region=config.churn.region, log_bucket_arn=storage.logs.bucket_arn),
    on_aws,
)
database = Database(
    "database",
    DatabaseArgs(
        config=config.database,
        subnet_ids=network.data_subnet_ids,
        security_group_id=network.groups.database_id,
        kms_key_arn=storage.key_arns["database"],
    ),
    on_aws,
)

pulumi.export("budget_usd_per_month", config.churn.budget_usd_per_month)
pulumi.export("lake_bucket", storage.lake.bucket_name)
pulumi.export("artifacts_bucket", storage.artifacts.bucket_name)
pulumi.export("repository_url", storage.repository_url)
pulumi.export("database_address", database.address)
pulumi.export("database_secret_arn", database.secret_arn)
