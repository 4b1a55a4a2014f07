"""The survival report: what each test measured, in one table at the end."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.survival.crowd import SOAK

Report = Callable[..., None]


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """A line of the report: `report("requests failed", 0, limit="0")`; a figure without a limit is there to be read."""

    def line(what: str, figure: object, limit: str = "") -> None:
        record_property("survival", (what, f"{figure:,.6g}" if isinstance(figure, (int, float)) else str(figure), limit))

    return line


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [each for outcome in ("passed", "failed") for each in terminalreporter.getreports(outcome) if each.when == "call"]
    lines = [line for each in sorted(reports, key=lambda each: each.nodeid) for line in _lines(each)]
    if not lines:
        return
    length = "the full length" if SOAK else "a part of the length"
    table = [
        f"{os.cpu_count()} cores shared by servers and clients, {length}.",
        "",
        "| | | measured | limit | |",
        "|---|---|---|---|---|",
        *lines,
    ]
    terminalreporter.section("survival")
    terminalreporter.write_line("\n".join(table))
    if path := os.environ.get("SURVIVAL_REPORT"):
        Path(path).write_text("`make soak` writes this. " + "\n".join(table) + "\n")


def _lines(report: pytest.TestReport) -> Iterator[str]:
    name = report.nodeid.partition("::test_")[2].replace("_", " ")
    told: list[Any] = [value for key, value in report.user_properties if key == "survival"]
    for what, figure, limit in told:
        yield f"| {name} | {what} | {figure} | {limit} | {report.outcome} |"
