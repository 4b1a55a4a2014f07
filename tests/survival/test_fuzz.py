"""Ten thousand requests made from the OpenAPI document, as it allows them and as it does not, to a real process.

Every answer is held against the document: status, content type, headers and body; what is valid is taken and what is not is
refused, unsupported methods and content types included, and without a token nothing is answered that needs one.
"""

import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from app.access import ROLES
from app.main import SERVICE_VERSION
from app.openapi import document
from tests.app.support import ServerProcess
from tests.app.test_access import TOKENS, write_tokens
from tests.survival.conftest import Report
from tests.survival.crowd import SHARE, SOAK
from tests.survival.hostile import BODIES, make_place, ready

# For each of the three operations that take a body, open and guarded: those drawn and, at any length, those at the limits of
# what the document says of values, types and methods. The other operations have no input to vary.
CASES = math.ceil(10_000 * SHARE / len(BODIES) / 2)
DRAWN = 1_700 if SOAK else 110
counted = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it counts over all cases, as it should


def documented(*, guarded: bool) -> Any:
    api = schemathesis.openapi.from_dict(document(SERVICE_VERSION, guarded=guarded))
    # The same cases each time: a failure is one of the code.
    api.config.generation.update(max_examples=DRAWN, deterministic=True)
    return api


OPEN, GUARDED = documented(guarded=False), documented(guarded=True)


@GUARDED.auth(refresh_interval=None)
class Tokens:
    """The token of each route's role."""

    def get(self, case: schemathesis.Case, _: schemathesis.AuthContext) -> str | None:
        role = ROLES.get(case.operation.path)
        return TOKENS[role] if role else None

    def set(self, case: schemathesis.Case, data: str | None, _: schemathesis.AuthContext) -> None:
        if data:
            case.headers["authorization"] = f"Bearer {data}"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ready(make_place(tmp_path_factory.mktemp("open"))) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    place = make_place(tmp_path_factory.mktemp("guarded"))
    with ready(place, tokens=write_tokens(place)) as server:
        yield server


@pytest.fixture
def check(report: Report) -> Iterator[Any]:
    """Asks one case; there have to be enough of them, and of those that the document allows as well as of others."""
    statuses: list[tuple[str, int]] = []
    paths: set[str] = set()

    def call(case: schemathesis.Case, server: ServerProcess) -> None:
        answer = case.call_and_validate(base_url=server.url)
        statuses.append((case.method, answer.status_code))
        paths.add(case.path)
        if len(statuses) == CASES:
            report(f"{case.path}: answers outside the document, of {CASES:,} and more", 0, limit="0")

    yield call
    if paths & BODIES.keys():
        assert len(statuses) >= CASES
        assert {200, 202} & {status for _, status in statuses}
        assert {405, 415, 422} <= {status for _, status in statuses}


@OPEN.parametrize()
@counted
def test_no_answer_is_outside_the_document(case: schemathesis.Case, opened: ServerProcess, check: Any):
    check(case, opened)


@GUARDED.parametrize()
@counted
def test_no_answer_is_outside_the_document_where_tokens_are_asked_for(
    case: schemathesis.Case, guarded: ServerProcess, check: Any
):
    check(case, guarded)


def test_the_document_is_the_one_that_the_process_gives(opened: ServerProcess, guarded: ServerProcess):
    for server, api in ((opened, OPEN), (guarded, GUARDED)):
        assert httpx.get(f"{server.url}/openapi.json").json() == api.raw_schema
