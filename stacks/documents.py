"""Policy documents of buckets and image repositories, as plain values."""

from typing import Any

Document = dict[str, Any]


def policy(*statements: Document) -> Document:
    """A whole policy, in the one version of the language that has conditions with variables."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def tls_only(bucket_arn: str) -> list[Document]:
    """Statements that refuse plain HTTP and TLS before 1.2, whoever asks."""
    refusals = {
        "RefusePlainHttp": {"Bool": {"aws:SecureTransport": "false"}},
        "RefuseOldTls": {"NumericLessThan": {"s3:TlsVersion": "1.2"}},
    }
    return [
        {
            "Sid": sid,
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [bucket_arn, f"{bucket_arn}/*"],
            "Condition": condition,
        }
        for sid, condition in refusals.items()
    ]


def log_delivery(bucket_arn: str, account_id: str) -> list[Document]:
    """Statements that let AWS write flow logs and access logs of this account, and of no other."""
    # https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-permissions.html
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html
    flow_logs, access_logs = {"Service": "delivery.logs.amazonaws.com"}, {"Service": "logging.s3.amazonaws.com"}
    condition = {"StringEquals": {"aws:SourceAccount": account_id}}
    grants = {
        "WriteFlowLogs": (flow_logs, "s3:PutObject", f"{bucket_arn}/AWSLogs/{account_id}/*"),
        "CheckFlowLogs": (flow_logs, "s3:GetBucketAcl", bucket_arn),
        "WriteAccessLogs": (access_logs, "s3:PutObject", f"{bucket_arn}/access/*"),
    }
    return [
        {"Sid": sid, "Effect": "Allow", "Principal": principal, "Action": action, "Resource": resource, "Condition": condition}
        for sid, (principal, action, resource) in grants.items()
    ]


def bucket_policy(bucket_arn: str, logs_of_account: str | None) -> Document:
    """The whole policy of a bucket; one that takes logs names the account they are of."""
    grants = [] if logs_of_account is None else log_delivery(bucket_arn, logs_of_account)
    return policy(*tls_only(bucket_arn), *grants)


def untagged_images_expire(after_days: int) -> Document:
    """The lifecycle of an image repository: a tagged image stays, as a release may name it."""
    selection = {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": after_days}
    return {"rules": [{"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}]}
