"""Stacks as they would be deployed: what each declares with a good release, and what the rules are told beside it."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from app.release import Approval, Image, Release, encode_release, release_digest
from policies.config import load
from policies.declared import Resource, recorded
from policies.pack import RULES, Verdict, verdicts
from policies.rule import Facts, Settings
from stacks.plan import plan
from tests.releases import IMAGE, make_release, successor
from tests.signing import make_key, public_key, sign
from tests.stacks.wholes import TOKEN_HASHES

STACKS = ("local", "dev", "staging", "prod")
APPROVER = "bea@example.com"
OWN_IMAGE = msgspec.structs.replace(IMAGE, repository="123456789012.dkr.ecr.eu-west-1.amazonaws.com/storage-images-1a2b3c4")
# Where somebody else's word is asked for, and every client's token.
APPROVED = ("staging", "prod")


@dataclass(frozen=True)
class Scene:
    """One stack, judged as `make plan` would."""

    stack: str
    entries: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Settings]
    facts: Facts

    @property
    def resources(self) -> tuple[Resource, ...]:
        return recorded(self.entries)

    def verdicts(self) -> list[Verdict]:
        return verdicts(self.resources, self.settings, self.facts)

    def carrying(self, release: Mapping[str, Any] | str) -> "Scene":
        """The same with another release in the annotation of the pods."""
        text = release if isinstance(release, str) else json.dumps(release, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
        entries = json.loads(json.dumps(self.entries))
        [pod] = [each["inputs"]["spec"]["template"] for each in entries if carries(each)]
        pod["metadata"]["annotations"]["churn/release"] = text
        return replace(self, entries=tuple(entries))

    @property
    def release(self) -> dict[str, Any]:
        [pod] = [each["inputs"]["spec"]["template"] for each in self.entries if carries(each)]
        return json.loads(pod["metadata"]["annotations"]["churn/release"])


def carries(entry: Mapping[str, Any]) -> bool:
    annotations = entry["inputs"].get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
    return "churn/release" in annotations


@cache
def approver() -> Path:
    return make_key(Path(tempfile.mkdtemp()) / "approver")


def signers() -> str:
    return f"{APPROVER} ssh-ed25519 {public_key(approver())}\n"


def approved(release: Release, key: Path | None = None) -> Release:
    """The release with its approval, where one is needed."""
    if release.stack not in APPROVED:
        return release
    signature = sign(key or approver(), release_digest(release))
    return msgspec.structs.replace(release, approval=Approval(approver=APPROVER, signature=signature))


def image_of(stack: str) -> Image | None:
    return None if stack == "local" else OWN_IMAGE


@cache
def scene(stack: str) -> Scene:
    """What a stack declares when its second release has just been promoted, and what git has then."""
    first = approved(make_release(stack=stack, image=image_of(stack)))
    release = approved(successor(first))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "release.json"
        path.write_bytes(encode_release(release))
        changes = {"churn:release": str(path)}
        if stack in APPROVED:
            changes["inference:tokenHashes"] = TOKEN_HASHES
        if stack != "local":
            changes["delivery:mlflowImageDigest"] = IMAGE.digest
        entries = msgspec.to_builtins(plan(stack, changes))["resources"]
    committed = tuple(json.loads(encode_release(each)) for each in (release, first))
    facts = Facts(allowed_signers=signers(), committed=lambda: committed)
    return Scene(stack=stack, entries=tuple(entries), settings=load(stack, RULES), facts=facts)
