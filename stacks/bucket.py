"""One S3 bucket with everything that keeps it private."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from stacks.documents import bucket_policy
from stacks.keeping import keep
from stacks.tags import component_tags

Rule = aws.s3.BucketLifecycleConfigurationRuleArgsDict


@dataclass(frozen=True, kw_only=True)
class BucketArgs:
    """How one bucket is kept. Without a key it is encrypted by S3's own; access logs can be written to no other."""

    protected: bool
    rules: Sequence[Rule]
    kms_key_arn: pulumi.Input[str] | None = None
    access_logs_to: pulumi.Input[str] | None = None
    takes_logs_of_account: pulumi.Input[str] | None = None


class Bucket(pulumi.ComponentResource):
    """A private, versioned, encrypted bucket that is spoken to by TLS only."""

    bucket_name: pulumi.Output[str]
    # Known only once the bucket's policy stands, so that whoever writes by it is let in and nobody else.
    bucket_arn: pulumi.Output[str]

    def __init__(self, name: str, args: BucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("churn:storage:Bucket", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        bucket = aws.s3.Bucket(
            name,
            force_destroy=not args.protected,
            tags=component_tags("storage", name),
            opts=keep(self, protected=args.protected),
        )
        versioning = aws.s3.BucketVersioning(
            f"{name}-versioning", bucket=bucket.id, versioning_configuration={"status": "Enabled"}, opts=child
        )
        by_default: aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgsDict = (
            {"sse_algorithm": "AES256"}
            if args.kms_key_arn is None
            else {"sse_algorithm": "aws:kms", "kms_master_key_id": args.kms_key_arn}
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket.id,
            rules=[{"apply_server_side_encryption_by_default": by_default, "bucket_key_enabled": args.kms_key_arn is not None}],
            opts=child,
        )
        # Without access lists a bucket is opened by its policy alone.
        aws.s3.BucketOwnershipControls(
            f"{name}-ownership", bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"}, opts=child
        )
        closed = aws.s3.BucketPublicAccessBlock(
            f"{name}-public-access",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        # Rules about old versions mean nothing before there are versions.
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket.id,
            rules=args.rules,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versioning]),
        )
        # S3 refuses two changes of a bucket's access at a time.
        allowed = aws.s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket.id,
            policy=pulumi.Output.all(bucket.arn, args.takes_logs_of_account).apply(
                lambda known: json.dumps(bucket_policy(known[0], known[1]))
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[closed]),
        )
        if args.access_logs_to is not None:
            aws.s3.BucketLogging(
                f"{name}-logging",
                bucket=bucket.id,
                target_bucket=args.access_logs_to,
                target_prefix=f"access/{name}/",
                opts=child,
            )
        self.bucket_name = allowed.bucket
        self.bucket_arn = pulumi.Output.format("arn:aws:s3:::{0}", allowed.bucket)
        self.register_outputs({"bucket_name": self.bucket_name, "bucket_arn": self.bucket_arn})
