"""What each workload may do in AWS, as statements of its role; every one names what it is about."""

from collections.abc import Sequence

from stacks.documents import Document


def allow(sid: str, actions: Sequence[str], resources: Sequence[str], condition: Document | None = None) -> Document:
    """One statement of a role's policy."""
    statement = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return statement | ({"Condition": condition} if condition else {})


def by_key(sid: str, actions: Sequence[str], key_arn: str, service: str) -> Document:
    """Use of a key, but only through the service that keeps the data: `s3.eu-west-1`."""
    return allow(sid, actions, [key_arn], {"StringEquals": {"kms:ViaService": f"{service}.amazonaws.com"}})


def inference(*, region: str, artifacts_arn: str, artifacts_key_arn: str, lake_arn: str, lake_key_arn: str) -> list[Document]:
    """Reads bundles, appends events."""
    return [
        allow("ReadBundles", ["s3:GetObject"], [f"{artifacts_arn}/bundles/*"]),
        by_key("DecryptBundles", ["kms:Decrypt"], artifacts_key_arn, f"s3.{region}"),
        allow("AppendEvents", ["s3:PutObject", "s3:AbortMultipartUpload"], [f"{lake_arn}/events/*"]),
        # An upload in several parts, which a full segment is, decrypts what S3 has of it in order to put it together.
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuAndPermissions.html
        by_key("EncryptEvents", ["kms:GenerateDataKey", "kms:Decrypt"], lake_key_arn, f"s3.{region}"),
    ]


def tracking(*, region: str, artifacts_arn: str, artifacts_key_arn: str, secret_arn: str, secret_key_arn: str) -> list[Document]:
    """Keeps artifacts of runs, and knows the password of its database."""
    kept = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    return [
        allow("KeepArtifacts", kept, [f"{artifacts_arn}/mlflow/*"]),
        allow("ListArtifacts", ["s3:ListBucket"], [artifacts_arn], {"StringLike": {"s3:prefix": ["mlflow", "mlflow/*"]}}),
        by_key("EncryptArtifacts", ["kms:GenerateDataKey", "kms:Decrypt"], artifacts_key_arn, f"s3.{region}"),
        allow("ReadPassword", ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"], [secret_arn]),
        by_key("DecryptPassword", ["kms:Decrypt"], secret_key_arn, f"secretsmanager.{region}"),
    ]


def training(*, region: str, artifacts_arn: str, artifacts_key_arn: str, lake_arn: str, lake_key_arn: str) -> list[Document]:
    """Reads the lake, and the bundles that a new model is compared with."""
    return [
        allow("ListLake", ["s3:ListBucket"], [lake_arn]),
        allow("ReadLake", ["s3:GetObject"], [f"{lake_arn}/*"]),
        by_key("DecryptLake", ["kms:Decrypt"], lake_key_arn, f"s3.{region}"),
        allow("ReadBundles", ["s3:GetObject"], [f"{artifacts_arn}/bundles/*"]),
        by_key("DecryptBundles", ["kms:Decrypt"], artifacts_key_arn, f"s3.{region}"),
    ]


def volumes(key_arn: str, region: str) -> list[Document]:
    """Volumes encrypted with a key: what the storage driver needs beside AWS's own policy for it."""
    # https://docs.aws.amazon.com/eks/latest/userguide/ebs-csi.html
    through = {"kms:ViaService": f"ec2.{region}.amazonaws.com"}
    # EC2 keeps the grant for as long as the volume is attached; the driver may give it to AWS services alone.
    given = {"StringEquals": through, "Bool": {"kms:GrantIsForAWSResource": "true"}}
    return [
        allow("GrantToVolumes", ["kms:CreateGrant"], [key_arn], given),
        allow(
            "EncryptVolumes",
            [
                "kms:Encrypt",
                "kms:Decrypt",
                "kms:ReEncryptFrom",
                "kms:ReEncryptTo",
                "kms:GenerateDataKey",
                "kms:GenerateDataKeyWithoutPlaintext",
                "kms:DescribeKey",
            ],
            [key_arn],
            {"StringEquals": through},
        ),
    ]
