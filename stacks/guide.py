"""What a stack does not declare yet, and what its owner runs next."""

from collections.abc import Iterator

from stacks.config import AwsConfig, StackConfig
from stacks.live import Live
from stacks.pins import publish_mlflow


def missing(config: StackConfig, live: Live | None) -> Iterator[str]:
    """One line for each part that waits for something, with the command that brings it."""
    if live is None:
        given = " --image REPOSITORY@sha256:DIGEST --bundle DIGEST, or --from another stack" if config.aws else ""
        yield f"inference, as there is no releases/{config.stack}.json: churn promote --stack {config.stack}{given}"
    if (hashes := config.inference.token_hashes) and not hashes.predict:
        yield (
            "a client that may ask for predictions, as inference:tokenHashes has no hash for predict: put the sha256 that "
            f".venv/bin/python -m app.access prints into Pulumi.{config.stack}.yaml, and give the client the token"
        )
    if config.aws:
        yield from _on_aws(config.stack, config.aws)


def _on_aws(stack: str, own: AwsConfig) -> Iterator[str]:
    if own.delivery.mlflow_image_digest == "unpublished":
        yield f"MLflow, as its image is not published: {publish_mlflow(stack)}"
    if own.delivery.github_connection == "unconfirmed":
        yield (
            "the runner in the VPC, as GitHub has not let AWS in: confirm the connection (output github_connection_arn) in the "
            f"CodeBuild console, pulumi config set --stack {stack} delivery:githubConnection confirmed"
        )
