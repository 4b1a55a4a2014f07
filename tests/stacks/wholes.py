"""Stacks with everything that they have once they are past their beginnings."""

import json
from pathlib import Path
from typing import get_args

from app.access import TokenRole
from app.release import encode_release
from stacks.plan import plan
from stacks.record import Plan
from tests.releases import IMAGE, make_release

# As nobody's token is: of each role's, what the engine hands over.
TOKEN_HASHES = json.dumps({role: [str(i) * 64] for i, role in enumerate(get_args(TokenRole))})


def grown(stack: str, folder: Path) -> dict[str, str]:
    """Values with which a stack declares everything: a release, put into `folder`, tokens, MLflow's image, GitHub's word."""
    path = folder / f"{stack}.json"
    serving = {"churn:release": str(path), "inference:tokenHashes": TOKEN_HASHES}
    if stack == "local":
        path.write_bytes(encode_release(make_release(stack=stack)))
        return serving
    path.write_bytes(encode_release(make_release(stack=stack, image=IMAGE)))
    digest = "sha256:" + "a" * 64
    return serving | {"delivery:mlflowImageDigest": digest, "delivery:githubConnection": "confirmed"}


def complete(stack: str, folder: Path) -> Plan:
    """The plan of a stack with nothing missing."""
    return plan(stack, grown(stack, folder))
