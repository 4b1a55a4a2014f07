"""Prometheus' own tool: whether rules can be read, and what they make of series."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

needed = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: install Debian's package prometheus")


def check(folder: Path, groups: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with the rules, in promtool's words; nothing if they can be read."""
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": list(groups)}))
    return _run("check", "rules", str(folder / "rules.yaml"))


def evaluate(
    folder: Path, groups: Sequence[Mapping[str, Any]], series: Mapping[str, str], holds: Sequence[str], *, at: str, every: str
) -> str:
    """Which of the expressions is not true at that time, in promtool's words; the series have a value `every` so often."""
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": list(groups)}))
    case = {
        "interval": every,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": f"({expr}) or vector(0)", "eval_time": at, "exp_samples": [{"labels": "{}", "value": 1}]} for expr in holds
        ],
    }
    tests = {"rule_files": ["rules.yaml"], "evaluation_interval": every, "tests": [case]}
    (folder / "tests.yaml").write_text(yaml.safe_dump(tests))
    return _run("test", "rules", str(folder / "tests.yaml"))


def fires(alert: str) -> str:
    """True while the alert is told, whatever it is about."""
    return f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0'


def silent(alert: str) -> str:
    """True while it is not."""
    return f'absent(count(ALERTS{{alertname="{alert}",alertstate="firing"}}))'


def _run(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr
