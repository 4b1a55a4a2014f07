"""`python -m pipelines.report FILE`: the issue about data that is not as it should be, with the report in it.

Where it ended before there was a report, as when the table cannot be had, the issue says that.
"""

import sys
from pathlib import Path

from pipelines.github import GitHub, GitHubError

LABEL = "data"
# GitHub takes 65,536 characters; the rest is in the run's artifact.
_MOST = 60_000


def main() -> None:
    """Print the issue's URL; exit 2 with the reason if there can be none."""
    try:
        path = Path(sys.argv[1])
        report = path.read_text() if path.exists() else "It ended before there was a report; the log of the run says where."
        shown = report if len(report) <= _MOST else f"{report[:_MOST]}\n... cut here; the whole report is with the run"
        body = f"```text\n{shown.strip()}\n```\n"
        url = GitHub.from_environment().report(label=LABEL, title="The data is not as it should be", body=body)
    except (IndexError, OSError, GitHubError) as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)
    sys.stdout.write(f"{url}\n")


if __name__ == "__main__":
    main()
