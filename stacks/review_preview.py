"""What the engine itself would do, where there are credentials to ask it with."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

WANTED = "the engine was not asked, which takes `pulumi` on PATH and logged in, as by `PULUMI_ACCESS_TOKEN`"


class Previews(msgspec.Struct, frozen=True, kw_only=True):
    """By stack what `pulumi preview` says in a line; where it was not asked, what would have it asked."""

    by_stack: dict[str, str] = {}
    missing: str = ""


class _Preview(msgspec.Struct):
    """What is read of `pulumi preview --json`."""

    change_summary: dict[str, int] = msgspec.field(name="changeSummary", default_factory=dict[str, int])


def previews(folder: Path, stacks: Sequence[str]) -> Previews:
    """The engine's previews of the program in `folder`; none without credentials."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PULUMI_SKIP_UPDATE_CHECK": "true"}
    if not shutil.which("pulumi") or (
        not os.environ.get("PULUMI_ACCESS_TOKEN") and _run(folder, environment, "whoami").returncode
    ):
        return Previews(missing=WANTED)
    # Where Pulumi.yaml says that the environment is: the one that this runs in.
    (folder / ".venv").symlink_to(sys.prefix)
    return Previews(by_stack={stack: _preview(folder, environment, stack) for stack in stacks})


def _preview(folder: Path, environment: Mapping[str, str], stack: str) -> str:
    done = _run(folder, environment, "preview", "--json", "--stack", stack)
    try:
        counts = msgspec.json.decode(done.stdout, type=_Preview).change_summary
    except msgspec.MsgspecError:
        counts = {}
    if done.returncode or not counts:
        return f"failed: {(done.stderr.strip() or done.stdout.strip() or 'it said nothing').splitlines()[-1]}"
    return ", ".join(f"{step} {count}" for step, count in sorted(counts.items()))


def _run(folder: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["pulumi", *arguments, "--non-interactive", "--color", "never"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - ours
