"""That whatever a workflow calls is run by this suite, or by `.ci/run`, and not only looked at."""

import ast
import re
import shlex
from collections.abc import Iterator

import pytest
import yaml

from tests.conftest import CHECKOUT
from tests.workflows.test_quickstart import commands
from tests.workflows.test_workflows import RUNS

# What of these cannot be run here, or not in the time that a test has, and what is run of it.
NOT_HERE = {
    "lock": "it asks the registry about every package: tests/workflows run what goes on with its locks",
    "image": "three images take minutes: tests/image builds each with the same script, where there is a builder",
    "image-test": "its base comes from a registry: `make test` runs tests/image on the base that CHURN_TEST_BASE names",
    "var/telco.csv": "it is fetched from GitHub: tests/training fetches from a server of its own",
}


def targets(words: list[str]) -> list[str]:
    return [word for word in words if "=" not in word and not word.startswith("-")]


def targets_of(command: str) -> list[str]:
    return targets(shlex.split(command)[1:])


CALLED = sorted({each for command in RUNS for each in targets_of(command)})


def called_by_tests() -> Iterator[str]:
    """The targets of every `make` that a test calls: by the checkout's `make` and `done`, as a command, or with all of a job."""
    jobs = yaml.safe_load((CHECKOUT / ".github/workflows/ci.yml").read_text())["jobs"]
    for path in sorted([*CHECKOUT.glob("tests/workflows/*.py"), *CHECKOUT.glob("tests/image/*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="make" | "done"), args=arguments):
                    yield from targets(_texts(arguments))
                case (
                    ast.Call(func=ast.Name(id="run"), args=[ast.Constant("make"), *arguments])
                    | ast.List(elts=[ast.Constant("make"), *arguments])
                ):
                    words = _texts(arguments)
                    yield from [] if "-n" in words else targets(words)
                case ast.Call(func=ast.Name(id="Job"), args=[ast.Constant(str(job)), *_]):
                    yield from (each for step in jobs[job]["steps"] if "run" in step for each in targets_of(step["run"]))
                case _:
                    pass


def _texts(nodes: list[ast.expr]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def called_by_pages() -> Iterator[str]:
    """Those of the commands that test_quickstart.py runs, and of what CI runs, as there."""
    ci = (CHECKOUT / ".ci" / "run").read_text().splitlines()
    for command in [*commands("README.md"), *commands("docs/quickstart.md"), *ci]:
        if command.startswith("make "):
            yield from targets_of(command)


def with_what_they_need(names: set[str]) -> set[str]:
    """With all that make runs before them or, by $(MAKE), within them."""
    needs: dict[str, set[str]] = {}
    for rule in re.findall(r"^[\w./$()-]+:(?!=)[^\n]*\n(?:\t[^\n]*\n)*", (CHECKOUT / "Makefile").read_text(), re.MULTILINE):
        head, _, rest = rule.partition(":")
        first, *recipe = rest.split("\n")
        inner = [word for line in recipe for call in re.findall(r"\$\(MAKE\)(.*)", line) for word in targets(call.split())]
        needs[head] = {*first.partition("##")[0].split(), *inner}
    found, todo = set[str](), list(names)
    while todo:
        if (name := todo.pop()) not in found:
            found.add(name)
            todo += needs.get(name, ())
    return found


RUN = with_what_they_need({*called_by_tests(), *called_by_pages()})


@pytest.mark.parametrize("target", CALLED)
def test_a_target_that_a_workflow_calls_is_run_for_real(target: str):
    if reason := NOT_HERE.get(target):
        assert target not in RUN, "it is run: take it out of NOT_HERE"
        pytest.skip(reason)
    # As the Makefile writes them.
    named = {".venv/complete": "$(ENVIRONMENT)", "var/plans/$STACK.json": "var/plans/$(STACK).json"}.get(target, target)
    assert named in RUN
