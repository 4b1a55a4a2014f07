"""What outlives everything else: keys by purpose, the data lake, the artifact store, the logs and the images."""

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from stacks.bucket import Bucket, BucketArgs, Rule
from stacks.config import StorageConfig
from stacks.documents import untagged_images_expire
from stacks.keeping import keep
from stacks.keys import key_policy
from stacks.tags import component_tags

# A key for each purpose: who may read the images cannot thereby read customers.
PURPOSES = ("lake", "artifacts", "images", "database", "cluster", "logs", "alerts")


@dataclass(frozen=True, kw_only=True)
class StorageArgs:
    """How long things are kept, and the account and region that they are in."""

    config: StorageConfig
    account_id: pulumi.Input[str]
    region: str


class Storage(pulumi.ComponentResource):
    """Keys, buckets and the image repository of one stack; `key_arns` is by purpose."""

    key_arns: dict[str, pulumi.Output[str]]
    logs: Bucket
    lake: Bucket
    artifacts: Bucket
    repository_url: pulumi.Output[str]
    repository_arn: pulumi.Output[str]

    def __init__(self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:storage:Storage", name, None, opts)
        config, child = args.config, pulumi.ResourceOptions(parent=self)
        self.key_arns = {purpose: self._key(name, purpose, args) for purpose in PURPOSES}
        logs_rules = [*tidy(config), expire(config.logs_expire_after_days)]
        self.logs = Bucket(
            f"{name}-logs",
            BucketArgs(protected=config.protected, rules=logs_rules, takes_logs_of_account=args.account_id),
            child,
        )
        self.lake = Bucket(
            f"{name}-lake",
            BucketArgs(
                protected=config.protected,
                rules=[*tidy(config), cool(config.lake_infrequent_access_after_days)],
                kms_key_arn=self.key_arns["lake"],
                access_logs_to=self.logs.bucket_name,
            ),
            child,
        )
        self.artifacts = Bucket(
            f"{name}-artifacts",
            BucketArgs(
                protected=config.protected,
                rules=tidy(config),
                kms_key_arn=self.key_arns["artifacts"],
                access_logs_to=self.logs.bucket_name,
            ),
            child,
        )
        repository = self._images(f"{name}-images", config)
        self.repository_url, self.repository_arn = repository.repository_url, repository.arn
        self.register_outputs({"repository_url": self.repository_url})

    def _key(self, component: str, purpose: str, args: StorageArgs) -> pulumi.Output[str]:
        name, config = f"{component}-{purpose}", args.config
        key = aws.kms.Key(
            name,
            description=f"churn {pulumi.get_stack()}: {name}",
            policy=pulumi.Output.from_input(args.account_id).apply(lambda account: key_policy(purpose, account, args.region)),
            enable_key_rotation=True,
            deletion_window_in_days=config.key_deletion_window_days,
            tags=component_tags("storage", name),
            opts=keep(self, protected=config.protected),
        )
        alias = f"alias/churn-{pulumi.get_stack()}-{name}"
        aws.kms.Alias(name, name=alias, target_key_id=key.id, opts=pulumi.ResourceOptions(parent=self))
        return key.arn

    def _images(self, name: str, config: StorageConfig) -> aws.ecr.Repository:
        repository = aws.ecr.Repository(
            name,
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration={"scan_on_push": True},
            encryption_configurations=[{"encryption_type": "KMS", "kms_key": self.key_arns["images"]}],
            # Another stack's release may name an image here, as prod's does that came by way of staging: whoever destroys the
            # stack empties it first.
            force_delete=False,
            tags=component_tags("storage", name),
            opts=keep(self, protected=config.protected),
        )
        aws.ecr.LifecyclePolicy(
            f"{name}-lifecycle",
            repository=repository.name,
            policy=json.dumps(untagged_images_expire(config.untagged_images_expire_after_days)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        return repository


def tidy(config: StorageConfig) -> list[Rule]:
    """What every bucket does: old versions go after a while, and so do uploads that were never finished."""
    old: Rule = {
        "id": "old-versions",
        "status": "Enabled",
        "filter": {},
        "noncurrent_version_expiration": {"noncurrent_days": config.old_versions_expire_after_days},
    }
    unfinished: Rule = {
        "id": "unfinished",
        "status": "Enabled",
        "filter": {},
        "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
    }
    return [old, unfinished]


def cool(after_days: int) -> Rule:
    """Move what is seldom read to a cheaper class."""
    transition: aws.s3.BucketLifecycleConfigurationRuleTransitionArgsDict = {"storage_class": "STANDARD_IA", "days": after_days}
    return {"id": "cool", "status": "Enabled", "filter": {}, "transitions": [transition]}


def expire(after_days: int) -> Rule:
    """Delete what is older."""
    return {"id": "expire", "status": "Enabled", "filter": {}, "expiration": {"days": after_days}}
