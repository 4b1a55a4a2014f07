"""`python -m stacks.plan dev prod`: what stacks declare, and what would change, read offline.

Exit codes: 0 done, 2 bad input.
"""

import argparse
import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import yaml

from stacks.config import ROOT, stacks
from stacks.reading import ConfigError
from stacks.record import Plan, record
from stacks.render import difference, tree


class PlanError(ValueError):
    """A file that cannot be read as what it should be."""


def plan(stack: str) -> Plan:
    """What a stack declares with the values of its file. Raises ConfigError, PlanError."""
    # The program as the engine runs it: the folder, not a module in it.
    return record(lambda: runpy.run_path(str(ROOT / "stacks"), run_name="__main__"), stack, values_of(stack))


def values_of(stack: str) -> dict[str, str]:
    """The values in Pulumi.<stack>.yaml as the engine hands them to a program: strings, all else as JSON. None without a file."""
    if stack not in stacks():
        return {}
    path = ROOT / f"Pulumi.{stack}.yaml"
    try:
        content = msgspec.convert(yaml.safe_load(path.read_text()), dict[str, dict[str, object]])
    except (yaml.YAMLError, msgspec.ValidationError) as exc:
        raise PlanError(f"{path.name} cannot be read: {exc}; give `config:` with one value for each key below it") from exc
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in content.get("config", {}).items()}


def to_json(plans: Sequence[Plan]) -> str:
    """The plans by stack, the same bytes for the same declarations."""
    return json.dumps({each.stack: msgspec.to_builtins(each) for each in plans}, indent=2, sort_keys=True) + "\n"


def earlier(path: Path, stack: str) -> Plan:
    """The stack's plan in a file that `--json` wrote; of a file with one plan, that one. Raises PlanError."""
    try:
        plans = msgspec.json.decode(path.read_bytes(), type=dict[str, Plan])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise PlanError(f"{path} is not a plan: {exc}; give a file that `python -m stacks.plan {stack} --json` wrote") from exc
    if stack not in plans and len(plans) != 1:
        raise PlanError(f"{path} has plans of {', '.join(plans) or 'no stack'}; give one that has {stack}")
    return plans.get(stack) or next(iter(plans.values()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stacks.plan", description="What stacks declare, read offline.")
    parser.add_argument("stacks", nargs="+", metavar="STACK", help=f"one of {', '.join(stacks())}")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything, for a machine or for --against")
    form.add_argument("--against", type=Path, metavar="FILE", help="what is different from the plan in FILE")
    asked = parser.parse_args(arguments)
    try:
        plans = [plan(stack) for stack in asked.stacks]
        if asked.json:
            text = to_json(plans)
        elif asked.against:
            text = "".join(difference(earlier(asked.against, each.stack), each) for each in plans)
        else:
            text = "\n".join(tree(each) for each in plans)
    except (ConfigError, PlanError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
