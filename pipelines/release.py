"""`python -m pipelines.release v1.2.3`: the release of that tag on GitHub, with what changed since the one before."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from pipelines.github import GitHub, GitHubError

_CLIFF = Path(sys.executable).with_name("git-cliff")


def wrong_with(tag: str, project: str) -> str | None:
    """Why the tag names no release of the project whose pyproject.toml this is; None if it does."""
    version = tomllib.loads(project)["project"]["version"]
    if not re.fullmatch(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", tag):
        return f"the tag is {tag!a}; give a semantic version, such as v{version}"
    if tag != f"v{version}":
        return f"the tag is {tag}, but pyproject.toml says {version}; change one of them"
    return None


def notes(tag: str) -> str:
    """What changed since the tag before, from the commits. Raises CalledProcessError."""
    command = [_CLIFF, "--latest", "--strip", "all", "--tag-pattern", "v[0-9]*"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - the locked tool
    return done.stdout.strip() or f"{tag}: nothing that a user notices"


def main() -> None:
    """Print the release's URL; exit 2 with the reason if there can be none."""
    try:
        [tag] = sys.argv[1:] or [""]
        if wrong := wrong_with(tag, Path("pyproject.toml").read_text()):
            raise GitHubError(wrong)
        url = GitHub.from_environment().release(tag=tag, body=notes(tag))
    except (OSError, ValueError, GitHubError, subprocess.CalledProcessError) as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)
    sys.stdout.write(f"{url}\n")


if __name__ == "__main__":
    main()
