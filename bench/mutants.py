"""The share of mutants that the tests notice, by file: `python -m bench.mutants`, in the checkout.

What is mutated and which tests look at it is set in pyproject.toml under tool.mutmut. A mutant that no test reaches counts as
missed. Exit 1 where a file is below the floor.
"""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

FLOOR_PERCENT = 90
# A mutant that makes the tests hang or the interpreter crash has been noticed as well.
NOTICED = {"killed", "timeout", "segfault", "caught by type check"}


def main() -> int:
    """Print killed/total by file; 1 if a file is below the floor."""
    # Verdicts of an earlier run are kept there, and kept even when the tests have changed since.
    shutil.rmtree("mutants", ignore_errors=True)
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    subprocess.run([mutmut, "run"], check=True)  # noqa: S603  # our own environment's tool
    told = subprocess.run([mutmut, "results", "--all", "true"], check=True, capture_output=True, text=True).stdout  # noqa: S603  # as above
    noticed, total = Counter[str](), Counter[str]()
    for line in told.splitlines():
        name, _, verdict = line.strip().partition(": ")
        file = name.split(".x")[0].replace(".", "/") + ".py"
        total[file] += 1
        noticed[file] += verdict in NOTICED
    below = [file for file in total if noticed[file] * 100 < FLOOR_PERCENT * total[file]]
    for file in sorted(total):
        percent = 100 * noticed[file] / total[file]
        sys.stdout.write(
            f"{file:24} {noticed[file]:4}/{total[file]:<4} {percent:5.1f} %{'  below the floor' * (file in below)}\n"
        )
    if not total:
        sys.stderr.write("mutmut made no mutants; look at tool.mutmut in pyproject.toml\n")
    return 1 if below or not total else 0


if __name__ == "__main__":
    sys.exit(main())
