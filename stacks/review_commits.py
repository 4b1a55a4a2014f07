"""Two commits as their own code tells them: what each declares, costs and promises, planned in a folder of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from app.release import Release, ReleaseError, decode_release
from policies.pack import Verdict
from stacks import review_ref
from stacks.cost import Cost
from stacks.record import Plan
from stacks.review_contract import Record


class ReviewError(ValueError):
    """A commit that is none, or whose code does not run."""


class CommitPlan(Plan, frozen=True, kw_only=True):
    """A plan as `stacks.plan --json` writes it."""

    cost: Cost
    verdicts: tuple[Verdict, ...]


class StackPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What came of planning a stack: its exit code, the plan unless that is 2, and what the command said beside it."""

    code: int
    plan: CommitPlan | None
    said: tuple[str, ...]


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """What one commit says of itself; the releases are those in its folder."""

    contract: Record
    stacks: dict[str, StackPlan]
    commit: str = ""
    releases: dict[str, Release] = {}


def commit_of(folder: Path, name: str, ref: str) -> str:
    """The commit that a ref means; `name` is how a message calls it. Raises ReviewError."""
    done = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if done.returncode:
        raise ReviewError(f"{name} is {ref!r}, which is no commit here; give a branch, tag or commit that git has, or fetch it")
    return done.stdout.strip()


@contextmanager
def worktrees(folder: Path, commits: Sequence[str]) -> Generator[list[Path]]:
    """A folder with each commit's files, gone afterwards, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="churn-review-") as made:
        places = [Path(made).resolve() / name for name in ("base", "head")]
        try:
            for place, commit in zip(places, commits, strict=True):
                done = _git(folder, "worktree", "add", "--quiet", "--detach", str(place), commit)
                if done.returncode:
                    raise ReviewError(f"git makes no worktree of {commit}: {done.stderr.strip()}")
            yield places
        finally:
            for place in places:
                _git(folder, "worktree", "remove", "--force", str(place))


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607 - the user's own git, no shell


def read(places: Sequence[Path], commits: Sequence[str]) -> list[Commit]:
    """Each commit as its own code tells it, in processes side by side."""
    started = [(place, commit, _started(place)) for place, commit in zip(places, commits, strict=True)]
    ended = [(place, commit, process, process.communicate()[1]) for place, commit, process in started]
    return [_said(place, commit, process.returncode, errors) for place, commit, process, errors in ended]


def _started(place: Path) -> subprocess.Popen[str]:
    # -P: the folder of the script is that of another commit's modules.
    command = [sys.executable, "-P", review_ref.__file__, str(_answer(place))]
    environment = {**os.environ, "PYTHONPATH": str(place)}
    return subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # noqa: S603 - ours


def _answer(place: Path) -> Path:
    return place.with_suffix(".json")


def _said(place: Path, commit: str, code: int, errors: str) -> Commit:
    if code:
        raise ReviewError(f"the code of {commit} does not run: {(errors.splitlines() or [f'it ended with {code}'])[-1]}")
    try:
        told = msgspec.json.decode(_answer(place).read_bytes(), type=Commit)
    except msgspec.MsgspecError as exc:
        raise ReviewError(f"the plans of {commit} are not as those of here: {exc}; review with the code of that commit") from exc
    return msgspec.structs.replace(told, commit=commit, releases=dict(_releases(place, told.stacks)))


def _releases(place: Path, stacks: Iterable[str]) -> Iterator[tuple[str, Release]]:
    for stack in stacks:
        path = place / "releases" / f"{stack}.json"
        try:
            yield stack, decode_release(path.read_bytes(), path.name)
        except (FileNotFoundError, ReleaseError):
            # What is no release cannot be planned either, and its plan says why.
            continue
