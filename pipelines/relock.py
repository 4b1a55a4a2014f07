"""`python -m pipelines.relock`: the pull request about locks that `make lock` has just compiled anew, with what moves in them."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pipelines.github import GitHub, GitHubError, file_change
from pipelines.propose import git

BRANCH = "locks"
LOCKS = "requirements"


def locked(text: str) -> Mapping[str, str]:
    """The versions that a lock names, by package."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """A line of Markdown for each package that has another version, comes or goes."""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [f"| {name} | {before.get(name, '')} | {after.get(name, '')} |" for name in names]


def propose(github: GitHub) -> str:
    """The URL of the pull request that changes the locks and nothing else. Raises GitHubError, CalledProcessError."""
    paths = git("diff", "--name-only", "HEAD", "--", LOCKS).splitlines()
    if not paths:
        return "no lock differs from what is committed: nothing to propose"
    texts = {path: Path(path).read_text() for path in paths}
    lines = {line for path, text in texts.items() for line in moved(locked(git("show", f"HEAD:{path}")), locked(text))}
    head, tree = git("rev-parse", "HEAD", "HEAD^{tree}").split()
    return github.propose(
        branch=BRANCH,
        base_commit=head,
        tree=tree,
        changes=[file_change(path, text) for path, text in texts.items()],
        title="build(requirements): lock newer packages",
        body="\n".join(["| package | from | to |", "|---|---|---|", *sorted(lines)]),
    )


def main() -> None:
    """Print the URL, or that there is nothing to propose; exit 2 with the reason if there can be no pull request."""
    try:
        said = propose(GitHub.from_environment())
    except (GitHubError, subprocess.CalledProcessError) as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)
    sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main()
