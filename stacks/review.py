"""`python -m stacks.review BASE HEAD`: what one commit does to infrastructure, money, model and contract, beside another.

Exit codes: 0 done, 1 refused by a rule or above the budget, 2 bad input.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from stacks.review_commits import ReviewError, commit_of, read, worktrees
from stacks.review_compare import Review, between
from stacks.review_page import page
from stacks.review_preview import previews


def review(folder: Path, base: str, head: str) -> Review:
    """The review of `head` beside `base`, refs of the repository in `folder`. Raises ReviewError."""
    commits = [commit_of(folder, name, ref) for name, ref in (("BASE", base), ("HEAD", head))]
    with worktrees(folder, commits) as places:
        before, after = read(places, commits)
        asked = previews(places[1], [name for name, each in after.stacks.items() if each.plan])
    return between(before, after, asked)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print or write the review; the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        found = review(Path.cwd(), asked.base, asked.head)
    except ReviewError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    text = page(found)
    for path, content in ((asked.out, text), (asked.json, _json(found))):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    if not asked.out:
        sys.stdout.write(text)
    return int(any(each.refused for each in found.stacks))


def _json(found: Review) -> str:
    return msgspec.json.format(msgspec.json.encode(found, order="sorted"), indent=2).decode() + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stacks.review", description="What a commit does, beside another.")
    parser.add_argument("base", metavar="BASE", help="the commit before: a branch, tag or commit")
    parser.add_argument("head", metavar="HEAD", help="the commit to review")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the Markdown there instead of printing it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it there, for a machine")
    return parser


if __name__ == "__main__":
    sys.exit(main())
