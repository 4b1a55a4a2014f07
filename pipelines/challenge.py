"""`python -m pipelines.challenge STACK`: the bundle trained last as a challenger of the stack, if the gates let it.

It prints `better=true` or `better=false` for a workflow's outputs, and what `churn promote` says to stderr: that no model is
better than the live one is an answer and no failure, so both end with 0; so is that an unchanged table makes the live one again.
Bad input ends with 2.
"""

import subprocess
import sys
from typing import cast

from app.release import ReleaseError, Stack
from training.history import current
from training.home import Home
from training.promote import last_trained

WEIGHT_PERCENT = 10


def main() -> None:
    """Write the stack's release file and say whether it was written."""
    try:
        live, digest = current(Home(), cast(Stack, sys.argv[1])), last_trained(Home())
    except ReleaseError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)
    if live and (same := [f"{each.role} {each.version}" for each in live.variants if each.bundle_digest == digest]):
        sys.stderr.write(f"Nothing to propose: table and code made {same[0]} again, which is live.\n")
        sys.stdout.write("better=false\n")
        return
    command = ["churn", "promote", "--role", "challenger", "--weight", str(WEIGHT_PERCENT), "--stack", *sys.argv[1:]]
    done = subprocess.run(command, check=False, stdout=sys.stderr)  # noqa: S603 - the arguments are the Makefile's
    if done.returncode not in {0, 1}:
        sys.exit(2)
    if done.returncode == 1:
        sys.stderr.write("Nothing to propose: the gates above refuse the model, and what is live stays.\n")
    sys.stdout.write(f"better={'false' if done.returncode else 'true'}\n")


if __name__ == "__main__":
    main()
