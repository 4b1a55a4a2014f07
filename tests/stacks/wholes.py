"""Stacks with everything that they have once they are past their beginnings."""

from pathlib import Path

from app.release import encode_release
from stacks.plan import plan
from stacks.record import Plan
from tests.releases import IMAGE, make_release


def grown(stack: str, folder: Path) -> dict[str, str]:
    """Values with which a stack declares everything: a release, put into `folder`, MLflow's image, GitHub's word."""
    path = folder / f"{stack}.json"
    if stack == "local":
        path.write_bytes(encode_release(make_release(stack=stack)))
        return {"churn:release": str(path)}
    path.write_bytes(encode_release(make_release(stack=stack, image=IMAGE)))
    digest = "sha256:" + "a" * 64
    return {"churn:release": str(path), "delivery:mlflowImageDigest": digest, "delivery:githubConnection": "confirmed"}


def complete(stack: str, folder: Path) -> Plan:
    """The plan of a stack with nothing missing."""
    return plan(stack, grown(stack, folder))
