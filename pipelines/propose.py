"""Pull requests about releases: `python -m pipelines.propose STACK` proposes the release file as it lies in the checkout.

With `--revert BEFORE` it proposes what brings the stack back: the files as they were in the commit BEFORE, and where its release
is another one now, a release that restores that one (the chain goes on, so that the old file would not do). A revert has a branch
of its own: a promotion that is open meanwhile stays what it is.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from app.release import Release, ReleaseError, Stack, decode_release
from pipelines.github import Change, GitHub, GitHubError, file_change
from training.home import Home
from training.promote import Refused, rollback

STACKS: tuple[Stack, ...] = ("dev", "staging", "prod")


def git(*arguments: str) -> str:
    """What git says. Raises CalledProcessError."""
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)  # noqa: S603, S607 - git of the runner
    return done.stdout.strip()


def described(release: Release, branch: str) -> str:
    """The release in a few lines of Markdown: why, what it consists of, how to approve it on its branch."""
    lines = [
        f"{release.reason} (by {release.created_by})",
        "",
        "| | version | percent | AUC | interval |",
        "|---|---|---|---|---|",
    ]
    for each in release.variants:
        auc = each.evidence.metrics.get("auc")
        figures = f"{auc.value:.4f} | {auc.low:.4f} to {auc.high:.4f}" if auc else "| "
        lines.append(f"| {each.role} | {each.version} | {each.weight_percent} | {figures} |")
    if release.image:
        lines += ["", f"Image `{release.image.repository}@{release.image.digest}` of commit {release.image.commit}."]
    approve = f"churn approve --stack {release.stack} --key ~/.ssh/id_ed25519"
    return "\n".join([*lines, "", f"To approve it: `git switch {branch}`, `{approve}`, commit and push."])


def propose(github: GitHub, stack: Stack) -> str:
    """The URL of the pull request that changes the stack's release file and nothing else. Raises ReleaseError, GitHubError."""
    path, branch = _path(stack), f"release/{stack}"
    if not git("status", "--porcelain", "--", path):
        return f"{path} is as it was committed: nothing to propose"
    text = Path(path).read_text()
    release = decode_release(text.encode(), path)
    variants = ", ".join(f"{each.role} {each.version}" for each in release.variants)
    return _proposed(github, branch, [file_change(path, text)], f"release({stack}): {variants}", described(release, branch))


def revert(github: GitHub, stack: Stack, before: str, created_by: str | None = None) -> str:
    """The URL of the pull request that brings back what was there at the commit. Raises ReleaseError, Refused, GitHubError."""
    branch = f"revert/{stack}"
    release, changes = _release_back(stack, before, created_by)
    changes = [*_files_back(before), *changes]
    if not changes:
        return f"nothing of {stack} differs from {before}: nothing to bring back"
    body = f"A deployment of {stack} failed or was rolled back by its canary. This brings back {before}."
    if release:
        body += "\n\n" + described(release, branch)
    return _proposed(github, branch, changes, f"revert({stack}): back to {before[:12]}", body)


def _release_back(stack: Stack, before: str, created_by: str | None) -> tuple[Release | None, Sequence[Change]]:
    """The release that restores the one of the commit, and how the stack's file changes; nothing where that one is live."""
    path = _path(stack)
    then, now = _committed(before, path), _committed("HEAD", path)
    if then is None or now is None:
        # The first release of a stack goes as it came; one that was taken away had nothing after it in its chain.
        return None, _differences("HEAD", before, path)
    if decode_release(then, path).digest == decode_release(now, path).digest:
        return None, []
    back = rollback(Home(), stack, decode_release(then, path).digest, created_by)
    return back, [file_change(path, Path(path).read_text())]


def _files_back(before: str) -> Sequence[Change]:
    """All else, but for releases, which go back one by one, and workflows, which apps need a right of its own to change."""
    return _differences("HEAD", before, ":(exclude)releases", ":(exclude).github")


def _differences(of: str, beside: str, *paths: str) -> Sequence[Change]:
    """What makes the first commit's files those of the second."""
    fields = iter(git("diff", "--raw", "-z", "--no-renames", "--no-abbrev", of, beside, "--", *paths).split("\0")[:-1])
    return [_change(states, path) for states, path in zip(fields, fields, strict=True)]


def _change(states: str, path: str) -> Change:
    old_mode, mode, _, sha, kind = states.removeprefix(":").split()
    gone = kind == "D"
    return {"path": path, "mode": old_mode if gone else mode, "type": "blob", "sha": None if gone else sha}


def _committed(commit: str, path: str) -> bytes | None:
    return git("show", f"{commit}:{path}").encode() if git("ls-tree", commit, path) else None


def _proposed(github: GitHub, branch: str, changes: Sequence[Change], title: str, body: str) -> str:
    head, tree = git("rev-parse", "HEAD", "HEAD^{tree}").split()
    return github.propose(branch=branch, base_commit=head, tree=tree, changes=changes, title=title, body=body)


def _path(stack: Stack) -> str:
    return f"releases/{stack}.json"


def main() -> None:
    """Print the pull request's URL; exit 1 if a gate refuses the way back, 2 with the reason if there can be no pull request."""
    parser = argparse.ArgumentParser(description="Open or update the pull request of a stack's release.")
    parser.add_argument("stack", choices=STACKS)
    parser.add_argument("--revert", metavar="BEFORE", help="the commit to bring back")
    parser.add_argument(
        "--created-by", metavar="EMAIL", help="who writes the release that goes back; git's user.email unless given"
    )
    given = parser.parse_args()
    try:
        github = GitHub.from_environment()
        before: str | None = given.revert
        said = propose(github, given.stack) if before is None else revert(github, given.stack, before, given.created_by)
    except (GitHubError, ReleaseError, Refused, subprocess.CalledProcessError) as exc:
        sys.stderr.write(f"{exc}\n{getattr(exc, 'stderr', None) or ''}")
        sys.exit(1 if isinstance(exc, Refused) else 2)
    sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main()
