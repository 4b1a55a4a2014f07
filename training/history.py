"""What was live on a stack: the release file as it is, and the chain of those before it."""

import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC
from io import BytesIO
from pathlib import Path

from app.release import Release, ReleaseError, Stack, decode_release
from policies.release import NEEDS_APPROVAL
from training.home import Home


def current(home: Home, stack: Stack) -> Release | None:
    """The release in the stack's file; None where there is no file."""
    path = home.release(stack)
    try:
        return decode_release(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ReleaseError(f"{path} cannot be read: {exc}; give access to it") from exc


def released(home: Home, stack: Stack) -> Release:
    """The release in the stack's file. Raises ReleaseError where there is no file."""
    release = current(home, stack)
    if release is None:
        raise ReleaseError(f"{home.release(stack)} is not there; run `churn promote --stack {stack}`")
    return release


def base(home: Home, stack: Stack, file: Release | None) -> Release | None:
    """What a new release replaces: the one in the stack's file; in git, where approval is needed, the one that HEAD has.

    There a file that is not committed is a draft: no clone could read a chain that leads through it.
    """
    if stack not in NEEDS_APPROVAL or git(home.root, "rev-parse", "--is-inside-work-tree").strip() != b"true":
        return file
    name = f"HEAD:./{home.release(stack).relative_to(home.root)}"
    content = git(home.root, "cat-file", "blob", name)
    committed = decode_release(content, name) if content else None
    # The file may carry an approval that is not committed yet.
    return file if file and committed and file.digest == committed.digest else committed


def releases(home: Home, stack: Stack) -> list[Release]:
    """What is in the stack's file and those before it, newest first, as `chain` has them."""
    return chain(home, stack, current(home, stack))


def chain(home: Home, stack: Stack, newest: Release | None) -> list[Release]:
    """From the newest back. Where the last one still names a `previous`, neither git nor `var/` knows that release: a gap."""
    committed = _committed(home, stack)
    found: list[Release] = []
    while newest is not None:
        found.append(newest)
        newest = None if newest.previous is None else committed.get(newest.previous) or _copied(home, newest.previous)
    return found


def replaced(chain: Sequence[Release]) -> Release | None:
    """What the newest of the chain replaced; None for the first ever. Raises ReleaseError where that is in a gap."""
    if len(chain) == 1 and chain[0].previous is not None:
        raise ReleaseError(
            f"the release {chain[0].previous} is neither in git nor here; run `git fetch --unshallow`, then repeat"
        )
    return chain[1] if len(chain) > 1 else None


def wanted(chain: Sequence[Release], to: str | None) -> Release:
    """The release to go back to: the newest before the live one that `to` names, by version or by the beginning of its digest.

    Raises ReleaseError saying which there are.
    """
    for release in _earlier(chain) if to is None else chain[1:]:
        if to is None or release.champion.version == to or (len(to) >= 8 and str(release.digest).startswith(to)):  # noqa: PLR2004  # as git's short ids
            return release
    if len(chain) == 1 and chain[0].previous is None:
        stack = chain[0].stack
        raise ReleaseError(
            f"the live release of {stack} is its first, so there is none to go back to; "
            f"to take it off again, remove releases/{stack}.json and deploy that: the stack stays, without its inference service"
        )
    there = ", ".join(f"{release.champion.version} ({str(release.digest)[:12]})" for release in chain[1:]) or "none"
    gap = (
        f"; {chain[-1].previous} and older ones are neither in git nor here (`git fetch --unshallow`)"
        if chain[-1].previous
        else ""
    )
    wanted = to or f"a release before {'the one that the live one restored' if chain[0].rollback_of else 'the live one'}"
    raise ReleaseError(f"{wanted} is not in the history; there is: {there}{gap}")


def _earlier(chain: Sequence[Release]) -> Sequence[Release]:
    """The releases to go back to. After a rollback those before what it restored: the one that it replaced was bad."""
    place = {release.digest: i for i, release in enumerate(chain)}
    at = 0
    while (restored := chain[at].rollback_of) is not None:
        if restored not in place:
            return ()
        at = place[restored]
    return chain[at + 1 :]


def git(folder: Path, *arguments: str, typed: bytes = b"") -> bytes:
    """What git prints in this folder; nothing where it fails, as where there is no git or no repository."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], input=typed, capture_output=True, check=False)  # noqa: S603, S607  # the user's own git, no shell
    except FileNotFoundError:
        return b""
    return done.stdout if done.returncode == 0 else b""


def _copied(home: Home, digest: str) -> Release | None:
    try:
        release = decode_release(home.past_release(digest).read_bytes(), str(home.past_release(digest)))
    except (FileNotFoundError, ReleaseError):
        return None
    return release if release.digest == digest else None


def _committed(home: Home, stack: Stack) -> dict[str, Release]:
    """Every version of the file in git, on any branch, by digest; versions that are no release are left out."""
    name = f"./{home.release(stack).relative_to(home.root)}"
    commits = git(home.root, "log", "--all", "--full-history", "--format=%H", "--", name).decode().split()
    names = "".join(f"{commit}:{name}\n" for commit in commits)
    found: dict[str, Release] = {}
    for content in _blobs(git(home.root, "cat-file", "--batch", typed=names.encode())):
        try:
            release = decode_release(content, name)
        except ReleaseError:
            continue
        if release.digest is not None:
            # The newest comes first, and an approval comes later than what it approves.
            found.setdefault(release.digest, release)
    return found


def _blobs(batch: bytes) -> Iterator[bytes]:
    stream = BytesIO(batch)
    while header := stream.readline():
        # A commit that removed the file has no blob: "<name> missing".
        if not header.endswith(b" missing\n"):
            yield stream.read(int(header.split()[-1]))
            stream.readline()


def table(chain: Sequence[Release]) -> str:
    """The chain for people, a release in a line, and where it breaks off."""
    rows = [("created", "by", "variants", "AUC", "replaced", "approved by", "why"), *map(_row, chain)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if chain and chain[-1].previous:
        lines.append(f"gap: {chain[-1].previous} and what came before are neither in git nor here (`git fetch --unshallow`)")
    return "\n".join(lines)


def _row(release: Release) -> tuple[str, ...]:
    auc = release.champion.evidence.metrics.get("auc")
    back = f"back to {release.rollback_of[:12]}: " if release.rollback_of else ""
    return (
        f"{release.created_at.astimezone(UTC):%Y-%m-%d %H:%MZ}",
        release.created_by,
        ", ".join(f"{variant.role} {variant.version} {variant.weight_percent}%" for variant in release.variants),
        f"{auc.value:.4f} ({auc.low:.4f} to {auc.high:.4f})" if auc else "",
        (release.previous or "nothing")[:12],
        release.approval.approver if release.approval else "",
        back + " ".join(release.reason.split()),
    )
