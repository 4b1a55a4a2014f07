"""A home with bundles that have evidence, so that they can be released without training anything."""

import hashlib
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from app.bundle import Golden, Manifest, Reference, Shares
from app.contract import CONTRACT_DIGEST
from app.release import Evidence, Release, Stack, decode_release, encode_release, sealed
from tests.releases import compared_with, make_evidence
from training.home import Home

IMAGE = f"registry.example/churn@sha256:{'1' * 64}"
COMMIT = "2" * 40


def make_home(root: Path) -> Home:
    """A git repository with an author, nothing released in it."""
    home = Home(root)
    home.release("local").parent.mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "config", "user.email", "ada@example.com")
    git(root, "config", "user.name", "Ada")
    return home


def git(root: Path, *arguments: str) -> None:
    # Nobody's own settings, so that commits are not signed and hooks do not run.
    alone = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, env=alone)


def commit(home: Home, message: str = "release") -> None:
    git(home.root, "add", "releases")
    git(home.root, "commit", "--quiet", "-m", message)


def add_bundle(
    home: Home, seed: int, *, compared: str | None = None, algorithm: str = "logistic", features: str = "f", **evidence: Any
) -> str:
    """The digest of a bundle in the store, with evidence (compared with the bundle `compared`), named as the candidate."""
    digest = write_bundle(home, seed, algorithm, features)
    now = {"evaluated_at": datetime.now(UTC), "contract_digest": CONTRACT_DIGEST}
    write_evidence(home, digest, compared_with(compared, **now, **evidence) if compared else make_evidence(**now, **evidence))
    home.candidate.write_text(digest + "\n")
    return digest


def write_evidence(home: Home, digest: str, evidence: Evidence) -> None:
    home.evidence(digest).parent.mkdir(parents=True, exist_ok=True)
    home.evidence(digest).write_bytes(msgspec.json.encode(evidence))


def of_another_contract(home: Home, stack: Stack) -> Release:
    """What is live on the stack, made one whose champion knows another contract than this code."""
    path = home.release(stack)
    live = decode_release(path.read_bytes(), str(path))
    evidence = msgspec.structs.replace(live.champion.evidence, contract_digest="9" * 64)
    image = live.image and msgspec.structs.replace(live.image, contract_digest="9" * 64)
    champion = msgspec.structs.replace(live.champion, evidence=evidence)
    earlier = sealed(msgspec.structs.replace(live, image=image, variants=(champion,)))
    path.write_bytes(encode_release(earlier))
    return earlier


def write_bundle(home: Home, seed: int, algorithm: str, features: str) -> str:
    files = {
        "card.md": b"# Card",
        "golden.json": msgspec.json.encode(Golden(customers=[], churn_probabilities=[], tolerance=1e-6)),
        "model.onnx": b"never loaded here",
        "reference.json": msgspec.json.encode(Reference(fields={}, churn_probability=Shares(bins=[], shares=[]))),
    }
    manifest = Manifest(
        contract_digest=CONTRACT_DIGEST,
        data_digest="d" * 64,
        algorithm=algorithm,
        features_digest=features * 64,
        seed=seed,
        rows=7000,
        parity_max_abs=2e-7,
        versions={},
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )
    files["manifest.json"] = msgspec.json.encode(manifest)
    digest = hashlib.sha256(files["manifest.json"]).hexdigest()
    folder = home.var / "bundles" / digest
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return digest


def churn(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, ended."""
    call = "import sys; from training.cli import main; sys.argv[0] = 'churn'; main()"
    command = [sys.executable, "-c", call, "--home", str(home.root), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
