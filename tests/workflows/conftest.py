"""A copy of the checkout in which make targets may write."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.training.released import git
from tests.workflows.github import Repository, github
from training.home import Home


@dataclass(frozen=True)
class Checkout:
    """The copy, a git repository with one commit and the checkout's own environment."""

    root: Path

    @property
    def home(self) -> Home:
        return Home(self.root)

    def environment(self) -> dict[str, str]:
        # What the tests themselves run under is no business of the targets.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "GH_", "MAKE", "MFLAGS"))}
        # The environment has the original installed; the copy is what is meant.
        return kept | {"PYTHONPATH": str(self.root), "GIT_CONFIG_GLOBAL": os.devnull}

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The target's end, whatever its exit code."""
        own = self.environment() | environment
        return subprocess.run(
            ["make", *arguments], cwd=self.root, env=own, capture_output=True, text=True, check=False, timeout=300
        )

    def done(self, *arguments: str, **environment: str) -> str:
        """What the target printed that has to succeed."""
        ended = self.make(*arguments, **environment)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def commit(self, message: str) -> str:
        """The commit of all that changed."""
        git(self.root, "add", "--all")
        git(self.root, "commit", "--quiet", "-m", message)
        return self.head()

    def head(self) -> str:
        return self.named("HEAD")

    def tree(self, commit: str) -> str:
        return self.named(f"{commit}^{{tree}}")

    def named(self, revision: str) -> str:
        """The whole name of a commit, tree or file."""
        command = ["git", "-C", str(self.root), "rev-parse", revision]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "checkout"
    listed = ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (CHECKOUT / name).is_file() and not name.startswith(("tests/", "bench/", "releases/")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, root / name)
    (root / ".venv").symlink_to(CHECKOUT / ".venv")
    # The environment is the checkout's: were it older than these, make would install the copy into it.
    for name in ("pyproject.toml", "requirements/dev.lock"):
        os.utime(root / name, (0, 0))
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "config", "user.email", "ada@example.com")
    git(root, "config", "user.name", "Ada")
    with (root / ".git" / "info" / "exclude").open("a") as file:
        file.write("/.venv\n")
    made = Checkout(root)
    made.commit("feat(app): begin")
    return made


@pytest.fixture
def repository() -> Iterator[Repository]:
    with github() as found:
        yield found
