"""Keys and signatures by the real ssh-keygen."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


def make_key(path: Path, kind: str = "ed25519") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", str(path)], check=True, capture_output=True)
    return path


def public_key(key: Path) -> str:
    """The key in base64, as `allowed_signers` has it."""
    return key.with_name(f"{key.name}.pub").read_text().split()[1]


def sign(key: Path, text: str, *, namespace: str = "churn-release", options: Sequence[str] = ()) -> str:
    command = ["ssh-keygen", "-Y", "sign", *options, "-n", namespace, "-f", str(key)]
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout


def openssh_accepts(signature: str, text: str, *, approver: str, allowed_signers: str, folder: Path) -> bool:
    """Whether `ssh-keygen -Y verify` takes the signature as the approver's."""
    (folder / "allowed").write_text(allowed_signers)
    (folder / "signature").write_text(signature)
    files = ["-f", str(folder / "allowed"), "-s", str(folder / "signature")]
    command = ["ssh-keygen", "-Y", "verify", *files, "-I", approver, "-n", "churn-release"]
    return subprocess.run(command, input=text, check=False, capture_output=True, text=True).returncode == 0
