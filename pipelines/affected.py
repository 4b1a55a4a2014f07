"""What a push asks for: `python -m pipelines.affected BEFORE` prints it as lines that a workflow takes for its outputs.

`build` is true if anything but releases changed. For staging and prod `none`, `release` (only releases changed, this stack's
among them: the inference component is all that has to follow) or `all`.
"""

import subprocess
import sys
from collections.abc import Iterable, Mapping

STACKS = ("staging", "prod")
_NO_COMMIT = "0" * 40


def changed_files(before: str) -> list[str]:
    """The files that differ between the commit and HEAD; all there are, for a branch's first push. Raises CalledProcessError."""
    command = ["git", "ls-files"] if before == _NO_COMMIT else ["git", "diff", "--name-only", before, "HEAD"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - git, with a commit that git checks
    return done.stdout.splitlines()


def affected(files: Iterable[str]) -> Mapping[str, str]:
    """By output: what follows from the files that changed."""
    changed = set(files)
    build = any(not each.startswith("releases/") for each in changed)
    stacks = {each: "all" if build else "release" if f"releases/{each}.json" in changed else "none" for each in STACKS}
    released = {f"{each}_released": str(f"releases/{each}.json" in changed).lower() for each in STACKS}
    return {"build": str(build).lower()} | stacks | released


def main() -> None:
    """Print the outputs; exit 2 for a commit that is not there."""
    try:
        found = affected(changed_files(sys.argv[1]))
    except (IndexError, subprocess.CalledProcessError) as exc:
        sys.stderr.write(f"{exc}; give the commit before the push, and fetch the history\n")
        sys.exit(2)
    sys.stdout.writelines(f"{name}={value}\n" for name, value in found.items())


if __name__ == "__main__":
    main()
