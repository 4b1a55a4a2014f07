"""What was live on a stack: the release file as it is, and the chain of those before it."""

import subprocess
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

from app.release import Release, ReleaseError, Stack, decode_release
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


def releases(home: Home, stack: Stack) -> list[Release]:
    """Newest first. Where the last one still names a `previous`, neither git nor `var/` knows that release: a gap."""
    committed = _committed(home.release(stack))
    chain: list[Release] = []
    found = current(home, stack)
    while found is not None:
        chain.append(found)
        found = None if found.previous is None else _copied(home, found.previous) or committed.get(found.previous)
    return chain


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


def _committed(path: Path) -> dict[str, Release]:
    """Every version of the file in git, on any branch, by digest; versions that are no release are left out."""
    commits = git(path.parent, "log", "--all", "--full-history", "--format=%H", "--", path.name).decode().split()
    names = "".join(f"{commit}:./{path.name}\n" for commit in commits)
    found: dict[str, Release] = {}
    for content in _blobs(git(path.parent, "cat-file", "--batch", typed=names.encode())):
        try:
            release = decode_release(content, str(path))
        except ReleaseError:
            continue
        if release.digest is not None:
            found[release.digest] = release
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
        f"{release.created_at:%Y-%m-%d %H:%M}",
        release.created_by,
        ", ".join(f"{variant.role} {variant.version} {variant.weight_percent}%" for variant in release.variants),
        f"{auc.value:.4f} ({auc.low:.4f} to {auc.high:.4f})" if auc else "",
        (release.previous or "nothing")[:12],
        release.approval.approver if release.approval else "",
        back + " ".join(release.reason.split()),
    )
