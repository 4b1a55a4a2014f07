"""What a push asks for: `python -m pipelines.affected BEFORE` prints it as lines that a workflow takes for its outputs.

`build` is true if the push changed what images or models are made of. For staging and prod it is `none`, `release` (nothing but
its release is another one, and the inference component is all that follows) or `all`, by what changed since the commit that was
deployed last: a push whose deployment failed, or gave way to the next one, is not forgotten. `<stack>_before` is that commit, or
BEFORE where none is known; `<stack>_released` is true if another release than its own is there. GH_TOKEN set, GitHub is asked.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping

from pipelines.github import GitHub, GitHubError

STACKS = ("staging", "prod")
_NO_COMMIT = "0" * 40
# Nothing that runs is made of these.
_BESIDE = (
    r"(docs|tests|bench|typings)/.*|\.github/(?!actions/|workflows/cd\.yml$).*|\.ci/(run|packages)"
    r"|[^/]*\.md|LICENSE|cliff\.toml|\.gitignore|\.pre-commit-config\.yaml|\.secrets\.baseline"
)
# Images and models are not made of the first; of the second they are, and reach a stack by a release.
_NOT_BUILT = r"(releases|stacks)/.*|Pulumi.*|policies/config\.\w+\.json"
_NOT_DEPLOYED = r"(training|images)/.*|Dockerfile|\.dockerignore|\.ci/image"


def changed_files(before: str) -> Mapping[str, str]:
    """By file that differs between the commit and HEAD, A, D or M; all there are, for none. Raises CalledProcessError."""
    if before == _NO_COMMIT:
        return dict.fromkeys(_git("ls-files", "-z"), "A")
    fields = iter(_git("diff", "--name-status", "--no-renames", "-z", before, "HEAD"))
    return {path: kind for kind, path in zip(fields, fields, strict=True)}


def builds(changed: Mapping[str, str]) -> bool:
    """Whether images and models are another one for it."""
    return any(not re.fullmatch(f"{_BESIDE}|{_NOT_BUILT}", path) for path in changed)


def asked_of(stack: str, changed: Mapping[str, str]) -> str:
    """What the stack needs for it: none, release or all."""
    release = f"releases/{stack}.json"
    others = rf"releases/.*|(Pulumi|policies/config)\.(?!{stack}\.)\w+\.(yaml|json)"
    code = [path for path in changed if path != release and not re.fullmatch(f"{_BESIDE}|{_NOT_DEPLOYED}|{others}", path)]
    # With its first release a stack gets more than the inference component, and without one it loses more.
    if code or changed.get(release, "M") != "M":
        return "all"
    return "release" if release in changed else "none"


def affected(before: str, github: GitHub | None) -> Mapping[str, str]:
    """By output: what follows from the files that changed. Raises CalledProcessError, GitHubError."""
    found = {"build": str(builds(changed_files(before))).lower()}
    for stack in STACKS:
        deployed = (github.deployed((stack, f"{stack}-release")) if github else None) or before
        # Of a history that was written anew nothing is known.
        changed = changed_files(deployed if _there(deployed) else _NO_COMMIT)
        released = changed.get(f"releases/{stack}.json", "D") != "D"
        found |= {stack: asked_of(stack, changed), f"{stack}_before": deployed, f"{stack}_released": str(released).lower()}
    return found


def _there(commit: str) -> bool:
    command = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603 - as below


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)  # noqa: S603, S607 - git of the runner
    return done.stdout.split("\0")[:-1]


def main() -> None:
    """Print the outputs; exit 2 for a commit that is not there, or if GitHub does not say what is deployed."""
    try:
        found = affected(sys.argv[1], GitHub.from_environment() if os.environ.get("GH_TOKEN") else None)
    except (IndexError, GitHubError, subprocess.CalledProcessError) as exc:
        sys.stderr.write(f"{exc}; give the commit before the push, and fetch the history\n")
        sys.exit(2)
    sys.stdout.writelines(f"{name}={value}\n" for name, value in found.items())


if __name__ == "__main__":
    main()
