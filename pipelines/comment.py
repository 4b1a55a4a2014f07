"""`python -m pipelines.comment 12 review.md`: a file as the one comment of a pull request, written once and then changed.

Where the token may not comment, as for what a fork's pull request starts, it goes to the job's summary.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from pipelines.github import ForbiddenError, GitHub, GitHubError


def commented(number: int, text: str, environment: Mapping[str, str]) -> str:
    """Where the text is now. Its first line is how the comment is found again. Raises GitHubError."""
    marker = text.partition("\n")[0]
    if not re.fullmatch(r"<!-- [\w-]+ -->", marker):
        raise GitHubError(f"the first line is {marker[:80]!a}; give a file that begins with a mark such as <!-- churn-review -->")
    body = text + _run(environment)
    try:
        return GitHub.from_environment().comment(number=number, marker=marker, body=body)
    except ForbiddenError:
        if not (summary := environment.get("GITHUB_STEP_SUMMARY")):
            raise
    with Path(summary).open("a") as file:
        file.write(body)
    return "the token may not comment: written to the job's summary"


def _run(environment: Mapping[str, str]) -> str:
    server, repository, run = (environment.get(f"GITHUB_{name}") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    return f"\n<sub>[What else this run says]({server}/{repository}/actions/runs/{run})</sub>\n" if server and run else ""


def main() -> None:
    """Print where the comment is; exit 2 with the reason if there can be none."""
    parser = argparse.ArgumentParser(description="Write a file into the one comment of a pull request that begins as it does.")
    parser.add_argument("number", type=int, metavar="PR", help="the pull request's number")
    parser.add_argument("file", type=Path, metavar="FILE", help="Markdown, as `make review OUT=FILE` writes it")
    asked = parser.parse_args()
    try:
        done = commented(asked.number, asked.file.read_text(), os.environ)
    except OSError as exc:
        sys.stderr.write(f"{asked.file} cannot be read: {exc.strerror}; write it with `make review OUT={asked.file}`\n")
        sys.exit(2)
    except GitHubError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)
    sys.stdout.write(f"{done}\n")


if __name__ == "__main__":
    main()
