"""The last step of every change to a release file: the gates, then a write that replaces only what it was made to replace."""

import fcntl
import json
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC

from app.release import Release, ReleaseError, Stack, encode_release
from policies.release import APPROVAL, violations
from training.files import write_whole
from training.history import current
from training.home import Home


class Refused(Exception):  # noqa: N818  # a gate that says no is an answer and not an error
    """A release that a gate refuses: one message `rule: what was found and what to do` for each."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__("\n".join(messages))
        self.messages = messages


def check(home: Home, release: Release, previous: Release | None, *, approved: bool) -> None:
    """Raise Refused unless the release passes every gate, that of approval only if it is said to be `approved`."""
    found = violations(
        _plain(release),
        previous=None if previous is None else _plain(previous),
        allowed_signers=allowed_signers(home),
    )
    messages = [f"{violation.rule}: {violation.message}" for violation in found if approved or violation.rule != APPROVAL]
    if messages:
        raise Refused(messages)


def replace(home: Home, release: Release, *, replaces: str | None) -> None:
    """Write the release if its stack's file holds the one of digest `replaces` (None: no file); else raise Refused."""
    path = home.release(release.stack)
    try:
        with _locked(home, release.stack):
            live = current(home, release.stack)
            if (live.digest if live else None) != replaces:
                raise Refused([f"chain: meanwhile {_who_won(live, release.stack)}; look at it, then run this again"])
            # What a process that was killed here left behind.
            for temporary in path.parent.glob(f".{path.name}.*"):
                temporary.unlink()
            # The copy first: what was ever live can be read again, whenever this process ends.
            write_whole(home.past_release(str(release.digest)), encode_release(release))
            write_whole(path, encode_release(release))
    except OSError as exc:
        raise ReleaseError(f"{path} is as it was, because writing failed: {exc}; make room or give access, and repeat") from exc


def allowed_signers(home: Home) -> str:
    """The text of `allowed_signers`; empty where there is no such file, and then nobody may approve."""
    try:
        return home.allowed_signers.read_text()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as exc:
        raise ReleaseError(f"{home.allowed_signers} is not UTF-8: {exc}; restore it from git") from exc


def _plain(release: Release) -> dict[str, object]:
    # By way of the file's own bytes: the gates judge what a reader of the file will see.
    return json.loads(encode_release(release))


def _who_won(live: Release | None, stack: Stack) -> str:
    if live is None:
        return f"the release of {stack} was taken away"
    created_at = live.created_at.astimezone(UTC)
    return f"{live.created_by} released {live.champion.version} on {stack} at {created_at:%Y-%m-%d %H:%M:%SZ} ({live.digest})"


@contextmanager
def _locked(home: Home, stack: Stack) -> Generator[None]:
    path = home.var / "releases" / f"{stack}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
