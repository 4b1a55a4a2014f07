"""What a stack does not declare yet, and what its owner runs next."""

from collections.abc import Iterator

from stacks.config import AwsConfig, StackConfig
from stacks.live import Live


def missing(config: StackConfig, live: Live | None) -> Iterator[str]:
    """One line for each part that waits for something, with the command that brings it."""
    if live is None:
        given = " --image REPOSITORY@sha256:DIGEST --bundle DIGEST, or --from another stack" if config.aws else ""
        yield f"inference, as there is no releases/{config.stack}.json: churn promote --stack {config.stack}{given}"
    if config.aws:
        yield from _on_aws(config.stack, config.aws)


def _on_aws(stack: str, own: AwsConfig) -> Iterator[str]:
    if own.delivery.mlflow_image_digest == "unpublished":
        yield (
            "MLflow, as its image is not published: make image, push churn-mlflow to the stack's repository (output "
            f"repository_url), pulumi config set --stack {stack} delivery:mlflowImageDigest sha256:<printed by push>"
        )
    if own.delivery.github_connection == "unconfirmed":
        yield (
            "the runner in the VPC, as GitHub has not let AWS in: confirm the connection (output github_connection_arn) in the "
            f"CodeBuild console, pulumi config set --stack {stack} delivery:githubConnection confirmed"
        )
