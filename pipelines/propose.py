"""Pull requests about releases: `python -m pipelines.propose STACK` proposes the release file as it lies in the checkout.

With `--revert BEFORE` it proposes what brings the stack back: the files as they were in the commit BEFORE, and where the release
had changed one that restores the last (the chain of releases goes on, so that its old file would not do).
"""

import argparse
import subprocess
import sys
from pathlib import Path

from app.release import Release, ReleaseError, Stack, decode_release
from pipelines.github import GitHub, GitHubError

STACKS: tuple[Stack, ...] = ("dev", "staging", "prod")


def git(*arguments: str) -> str:
    """What git says. Raises CalledProcessError."""
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)  # noqa: S603, S607 - git of the runner
    return done.stdout.strip()


def described(release: Release) -> str:
    """The release in a few lines of Markdown: why, what it consists of, how to approve it."""
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
    return "\n".join([*lines, "", f"To approve it: `git switch release/{release.stack}`, `{approve}`, commit and push."])


def propose(github: GitHub, stack: Stack) -> str:
    """The URL of the pull request that changes the stack's release file and nothing else. Raises ReleaseError, GitHubError."""
    path, text = _file(stack)
    if not git("status", "--porcelain", "--", path):
        return f"{path} is as it was committed: nothing to propose"
    release = decode_release(text.encode(), path)
    tree = git("rev-parse", "HEAD^{tree}")
    variants = ", ".join(f"{each.role} {each.version}" for each in release.variants)
    title = f"release({stack}): {variants}"
    return github.propose(
        branch=f"release/{stack}", base_commit=git("rev-parse", "HEAD"), tree=tree, files={path: text}, title=title,
        body=described(release),
    )  # fmt: skip


def revert(github: GitHub, stack: Stack, before: str) -> str:
    """The URL of the pull request that brings back what was there before the push. Raises ReleaseError, GitHubError."""
    path, text = _file(stack)
    # `churn rollback` has rewritten the file if the push had changed it.
    restored = bool(git("status", "--porcelain", "--", path))
    body = f"A deployment of {stack} failed or was rolled back by its canary. This brings back {before}."
    if restored:
        body += "\n\n" + described(decode_release(text.encode(), path))
    return github.propose(
        branch=f"release/{stack}",
        base_commit=git("rev-parse", "HEAD"),
        tree=git("rev-parse", f"{before}^{{tree}}"),
        files={path: text} if restored else {},
        title=f"revert({stack}): back to {before[:12]}",
        body=body,
    )


def _file(stack: Stack) -> tuple[str, str]:
    path = f"releases/{stack}.json"
    try:
        return path, Path(path).read_text()
    except FileNotFoundError:
        return path, ""


def main() -> None:
    """Print the pull request's URL; exit 2 with the reason if there can be none."""
    parser = argparse.ArgumentParser(description="Open or update the pull request of a stack's release.")
    parser.add_argument("stack", choices=STACKS)
    parser.add_argument("--revert", metavar="BEFORE", help="the commit to bring back")
    given = parser.parse_args()
    try:
        github = GitHub.from_environment()
        url = revert(github, given.stack, given.revert) if given.revert else propose(github, given.stack)
    except (GitHubError, ReleaseError, subprocess.CalledProcessError) as exc:
        sys.stderr.write(f"{exc}\n{getattr(exc, 'stderr', None) or ''}")
        sys.exit(2)
    sys.stdout.write(f"{url}\n")


if __name__ == "__main__":
    main()
