"""The recording engine that components are tested on."""

from collections.abc import Callable
from typing import Any

import pytest

from stacks.config import AwsConfig, StackConfig, read
from stacks.plan import plan, values_of
from stacks.record import Plan, Resource, record
from tests.stacks import wholes


class Engine:
    """Runs a program until every registration has landed, so that what is absent can be asserted too."""

    def __init__(self) -> None:
        self.plan = Plan(stack="test", outputs={}, resources=())

    def run(self, program: Callable[[], object]) -> None:
        self.plan = record(program, "test", {})

    def resources(self, kind: str) -> list[Resource]:
        return [each for each in self.plan.resources if each.type.endswith(f":{kind}")]

    def inputs(self, kind: str) -> list[dict[str, Any]]:
        return [each.inputs for each in self.resources(kind)]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        [found] = [each.inputs for each in self.resources(kind) if each.name == name]
        return found


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture(scope="session")
def prod() -> StackConfig:
    return read("prod", values_of("prod"))


@pytest.fixture(scope="session")
def dev() -> StackConfig:
    return read("dev", values_of("dev"))


@pytest.fixture(scope="session")
def prod_aws(prod: StackConfig) -> AwsConfig:
    assert prod.aws
    return prod.aws


@pytest.fixture(scope="session")
def dev_aws(dev: StackConfig) -> AwsConfig:
    assert dev.aws
    return dev.aws


@pytest.fixture(scope="session", params=["dev", "staging", "prod"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The plan of each stack on AWS in turn, with everything that it will have once it is past its beginnings."""
    return wholes.complete(request.param, tmp_path_factory.mktemp("releases"))


@pytest.fixture(scope="session", params=["local", "dev", "staging", "prod"])
def everywhere(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The same, with the stack that has no AWS."""
    return wholes.complete(request.param, tmp_path_factory.mktemp("releases"))


@pytest.fixture(scope="session")
def complete(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Values with which prod declares everything."""
    return wholes.grown("prod", tmp_path_factory.mktemp("releases"))


@pytest.fixture(scope="session")
def everything(complete: dict[str, str]) -> Plan:
    """The plan of prod with nothing missing."""
    return plan("prod", complete)
