"""`python -m bench.review`: what reviewing all stacks between two commits takes of the processor beside one plan of prod."""

import statistics
import sys
from pathlib import Path

from bench.plan import processor_seconds
from stacks.config import stacks

ROUNDS = 5
# Two interpreters that import the SDKs are two of it already; all stacks are to be no more than another.
AT_MOST = 3.0
RESULT = Path(__file__).parent / "results" / "review.md"
PLAN = "from stacks.plan import main; main(['prod'])"
REVIEW = "from stacks.review import main; raise SystemExit(main(['HEAD^', 'HEAD']) == 2)"


def main() -> int:
    """Write the result; 1 if a review takes too long."""
    rounds: list[tuple[float, float]] = []
    for number in range(ROUNDS):
        # Neither is always the one that finds the machine as the other left it.
        order = (PLAN, REVIEW) if number % 2 else (REVIEW, PLAN)
        took = {code: processor_seconds(code)[0] for code in order}
        rounds.append((took[REVIEW], took[PLAN]))
    ratios = sorted(review / plan for review, plan in rounds)
    ratio = statistics.median(ratios)
    text = (
        f"`make review` of {len(stacks())} stacks in two commits, each by its own code, against one `make plan STACK=prod`: "
        f"{ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f} in {ROUNDS} paired rounds of processor time; at most {AT_MOST:g}). "
        "`make bench` writes this.\n"
    )
    RESULT.write_text(text)
    sys.stdout.write(text)
    return int(ratio > AT_MOST)


if __name__ == "__main__":
    sys.exit(main())
