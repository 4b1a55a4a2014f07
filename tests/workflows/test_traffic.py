"""`python -m pipelines.traffic` and `make traffic` against a real process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from app.contract import Customer
from pipelines.traffic import RATE_PER_SECOND, customers
from stacks.canary import GOOD_IN_A_ROW, INTERVAL_SECONDS, LOOKS_MAX, REQUESTS_MIN
from tests.app.support import Place, ServerProcess, serving, variant
from tests.conftest import CHECKOUT

TOKEN = "churn_t"  # noqa: S105 - of these tests alone


def traffic(*arguments: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.traffic", *arguments]
    environment = os.environ | {"SMOKE_TOKEN": token}
    return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    place = Place(tmp_path)
    place.write_release(variant(place.add_bundle()))
    (tmp_path / "tokens.json").write_text(json.dumps({"predict": [sha256(TOKEN.encode()).hexdigest()]}))
    with serving(place.settings(tokens=tmp_path / "tokens.json"), tmp_path / "log") as started:
        started.said("ready")
        yield started


def test_every_made_up_customer_keeps_the_contract_and_is_counted_by_no_experiment():
    made = [msgspec.convert(each, Customer) for each in customers()]
    assert len(set(made)) > 1500
    assert {each.customer_id for each in made} == {None}
    assert {each.contract for each in made} == {"month-to-month", "one-year", "two-year"}


def test_at_the_usual_rate_the_smallest_canary_gets_its_predictions_while_it_is_looked_at():
    looks = REQUESTS_MIN / (RATE_PER_SECOND * 0.1 * INTERVAL_SECONDS)
    assert looks + GOOD_IN_A_ROW < LOOKS_MAX * 0.7


def test_requests_are_sent_by_make_while_the_target_beside_runs_and_end_with_it(server: ServerProcess, tmp_path: Path):
    own = tmp_path / "Makefile"
    own.write_text(f"include {CHECKOUT / 'Makefile'}\nslow:\n\tsleep 3; echo $(STACK) is done\n")
    command = ["make", "-f", str(own), "traffic", "BESIDE=slow", "RATE=20"]
    environment = os.environ | {"SMOKE_TOKEN": TOKEN, "URL": server.url, "STACK": "staging"}
    ended = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, "staging is done" in ended.stdout) == (0, True), ended.stderr
    [answered] = [int(word) for line in ended.stderr.splitlines() if line.endswith(" 200") for word in line.split()[-2:-1]]
    assert 30 <= answered <= 70


def test_what_the_command_ends_with_is_what_it_ends_with(server: ServerProcess):
    ended = traffic(server.url, "--", sys.executable, "-c", "import sys; sys.exit(1)")
    assert ended.returncode == 1, ended.stderr


def test_where_nobody_answers_yet_the_command_runs_as_without():
    ended = traffic("http://127.0.0.1:1", "--", sys.executable, "-c", "import time; time.sleep(1); print('done')")
    assert (ended.returncode, ended.stdout) == (0, "done\n")
    assert "ConnectError" in ended.stderr


def test_without_a_command_it_ends_after_its_seconds_and_says_how_requests_ended(server: ServerProcess):
    answered, refused = traffic(server.url, "--seconds", "1"), traffic(server.url, "--seconds", "1", token="other")  # noqa: S106
    assert (answered.returncode, answered.stderr.split()[-1]) == (0, "200")
    assert (refused.returncode, refused.stderr.split()[-1]) == (1, "401")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["http://127.0.0.1:1", "--seconds", "0.2"], "ConnectError"),
        (["http://127.0.0.1:1", "--rate", "0"], "--rate is 0"),
        (["http://127.0.0.1:1", "--seconds", "1e9"], "--seconds is 1e+09"),
        (["nonsense", "--seconds", "0.2"], "UnsupportedProtocol"),
        (["http://127.0.0.1:1", "--", "/no/such/command"], "give the address of an endpoint, and a command"),
    ],
    ids=["nobody there", "no rate", "without an end", "no address", "no command"],
)
def test_what_cannot_be_asked_is_bad_input(arguments: list[str], reason: str):
    ended = traffic(*arguments)
    assert (ended.returncode, reason in ended.stderr, "Traceback" in ended.stderr) == (2, True, False), ended.stderr
