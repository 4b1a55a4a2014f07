"""`python -m stacks.review_comment 12 review.md`: a review as the one comment of a pull request, written once and then changed.

It takes what GitHub gives a job: GITHUB_TOKEN, GITHUB_REPOSITORY, GITHUB_API_URL, GITHUB_STEP_SUMMARY.
Exit codes: 0 done, 2 bad input or an answer of GitHub's that leaves nothing else.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import msgspec

from stacks.review_page import MARKER

PAGE = 100


class _Comment(msgspec.Struct):
    id: int
    body: str | None = None


def post(number: int, text: str, environment: Mapping[str, str]) -> str:
    """Where the text is now. Raises KeyError for a variable that is missing, URLError (HTTPError) for what GitHub refuses."""
    api = f"{environment.get('GITHUB_API_URL', 'https://api.github.com')}/repos/{environment['GITHUB_REPOSITORY']}"
    token, comments = environment["GITHUB_TOKEN"], f"{api}/issues/{number}/comments"
    there = _found(comments, token)
    try:
        if there:
            _ask("PATCH", f"{api}/issues/comments/{there}", token, {"body": text})
            return f"comment {there} of pull request {number} changed"
        _ask("POST", comments, token, {"body": text})
    except HTTPError as exc:
        # What a fork's pull request starts may read and no more.
        if exc.code != HTTPStatus.FORBIDDEN or not (summary := environment.get("GITHUB_STEP_SUMMARY")):
            raise
        with Path(summary).open("a") as file:
            file.write(text)
        return "the token may not comment: written to the job's summary"
    return f"comment on pull request {number} written"


def _found(comments: str, token: str) -> int | None:
    page, whole = 1, True
    while whole:
        given = msgspec.convert(_ask("GET", f"{comments}?per_page={PAGE}&page={page}", token), list[_Comment])
        for each in given:
            if (each.body or "").startswith(MARKER):
                return each.id
        page, whole = page + 1, len(given) == PAGE
    return None


def _ask(method: str, url: str, token: str, content: object = None) -> Any:
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json", "Content-Type": "application/json"}
    data = None if content is None else msgspec.json.encode(content)
    with urlopen(Request(url, data, headers, method=method), timeout=30) as answer:  # noqa: S310 - where the job's own environment says that GitHub is
        return msgspec.json.decode(answer.read())


def main(arguments: Sequence[str] | None = None) -> int:
    """Post what is asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stacks.review_comment", description="A review as a pull request's comment.")
    parser.add_argument("number", type=int, metavar="PR", help="the pull request's number")
    parser.add_argument("file", type=Path, metavar="FILE", help="the Markdown that `python -m stacks.review --out` wrote")
    asked = parser.parse_args(arguments)
    try:
        done = post(asked.number, asked.file.read_text(), os.environ)
    except KeyError as exc:
        sys.stderr.write(f"{exc.args[0]} is not set; give it, as a job on GitHub has it\n")
        return 2
    except URLError as exc:
        sys.stderr.write(f"GitHub takes no comment on pull request {asked.number}: {exc}\n")
        return 2
    except OSError as exc:
        sys.stderr.write(f"{asked.file} cannot be read: {exc.strerror}; write it with `make review OUT={asked.file}`\n")
        return 2
    sys.stdout.write(f"{done}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
