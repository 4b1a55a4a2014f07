"""PostgreSQL on RDS, for MLflow."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from stacks.config import DatabaseConfig
from stacks.keeping import keep
from stacks.tags import component_tags


@dataclass(frozen=True, kw_only=True)
class DatabaseArgs:
    """The database's values and its place: data subnets, a security group, a key."""

    config: DatabaseConfig
    subnet_ids: Sequence[pulumi.Input[str]]
    security_group_id: pulumi.Input[str]
    kms_key_arn: pulumi.Input[str]


class Database(pulumi.ComponentResource):
    """A private, encrypted PostgreSQL whose password RDS makes, keeps in Secrets Manager and rotates."""

    address: pulumi.Output[str]
    secret_arn: pulumi.Output[str]

    def __init__(self, name: str, args: DatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:database:Database", name, None, opts)
        config, child, tags = args.config, pulumi.ResourceOptions(parent=self), component_tags("database", name)
        subnets = aws.rds.SubnetGroup(name, subnet_ids=args.subnet_ids, tags=tags, opts=child)
        parameters = aws.rds.ParameterGroup(
            name,
            family=f"postgres{config.major_version}",
            parameters=[{"name": "rds.force_ssl", "value": "1"}],
            tags=tags,
            opts=child,
        )
        instance = aws.rds.Instance(
            name,
            engine="postgres",
            # The major version only: RDS takes the minor ones, which carry the security fixes, in its maintenance window.
            engine_version=str(config.major_version),
            auto_minor_version_upgrade=True,
            instance_class=config.instance_class,
            storage_type="gp3",
            allocated_storage=config.storage_gib,
            max_allocated_storage=config.storage_max_gib,
            storage_encrypted=True,
            kms_key_id=args.kms_key_arn,
            db_name="mlflow",
            username="mlflow",
            manage_master_user_password=True,
            master_user_secret_kms_key_id=args.kms_key_arn,
            multi_az=config.multi_zone,
            db_subnet_group_name=subnets.name,
            parameter_group_name=parameters.name,
            vpc_security_group_ids=[args.security_group_id],
            publicly_accessible=False,
            backup_retention_period=config.backup_retention_days,
            copy_tags_to_snapshot=True,
            deletion_protection=config.deletion_protection,
            skip_final_snapshot=not config.deletion_protection,
            final_snapshot_identifier=f"churn-{pulumi.get_stack()}-{name}-final",
            tags=tags,
            opts=keep(self, protected=config.deletion_protection),
        )
        self.address = instance.address
        self.secret_arn = instance.master_user_secrets[0].secret_arn
        self.register_outputs({"address": self.address, "secret_arn": self.secret_arn})
