import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

import stacks.passfile
from stacks.passfile import EVERY_SECONDS, line
from stacks.tracking_pods import script
from tests.stacks.postgres import serving

PROGRAM = Path(stacks.passfile.__file__)
FIRST, SECOND = "first: \\ one", "second"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return tmp_path / "secret" / "database.json"


@pytest.fixture
def passfile(tmp_path: Path) -> Path:
    return tmp_path / "passfile"


@pytest.fixture
def follower(secret: Path, passfile: Path) -> Iterator[subprocess.Popen[str]]:
    secret.parent.mkdir()
    command = [sys.executable, PROGRAM, secret, passfile]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()


def rotate(secret: Path, password: str) -> None:
    """As the driver does it: a new file in place of the old one."""
    new = secret.with_suffix(".new")
    new.write_text(json.dumps({"username": "mlflow", "password": password}))
    new.replace(secret)


def soon(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with suppress(FileNotFoundError):
            if holds():
                return True
        time.sleep(0.02)
    return False


@pytest.mark.usefixtures("follower")
def test_the_password_is_written_for_its_owner_alone_and_again_when_it_changes(secret: Path, passfile: Path):
    rotate(secret, FIRST)
    assert soon(lambda: passfile.read_text() == "*:*:*:mlflow:first\\: \\\\ one\n")
    assert passfile.stat().st_mode & 0o777 == 0o600
    rotate(secret, SECOND)
    assert soon(lambda: passfile.read_text() == "*:*:*:mlflow:second\n")
    assert passfile.stat().st_mode & 0o777 == 0o600


def test_what_is_no_secret_changes_nothing_and_is_not_repeated_in_the_log(
    follower: subprocess.Popen[str], secret: Path, passfile: Path
):
    rotate(secret, FIRST)
    assert soon(passfile.exists)
    secret.write_text('{"password": "hush"')
    assert follower.stderr
    said = ""
    while "is no secret" not in said:
        said += follower.stderr.readline()
    # That it is not said again can only be waited for.
    time.sleep(2 * EVERY_SECONDS)
    follower.terminate()
    said += follower.stderr.read()
    assert said.count("is no secret of RDS (JSONDecodeError)") == 1
    assert "hush" not in said
    assert passfile.read_text() == line(json.dumps({"username": "mlflow", "password": FIRST}))


def test_as_the_pod_starts_it_the_standard_library_is_enough_and_a_signal_ends_it(secret: Path, passfile: Path):
    secret.parent.mkdir()
    rotate(secret, FIRST)
    with subprocess.Popen([sys.executable, "-ISc", script("passfile.py"), secret, passfile]) as process:
        assert soon(passfile.exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_a_line_has_five_fields_whatever_the_password_is(password: str):
    text = line(json.dumps({"username": "mlflow", "password": password}))
    fields = text.removesuffix("\n").replace("\\\\", "\1").replace("\\:", "\2").split(":")
    assert [*fields[:4], fields[4].replace("\2", ":").replace("\1", "\\")] == ["*", "*", "*", "mlflow", password]
    assert len(fields) == 5


@pytest.mark.usefixtures("follower")
def test_a_rotated_password_is_used_by_the_next_connection(secret: Path, passfile: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    with serving(FIRST) as server:
        rotate(secret, FIRST)
        assert soon(passfile.exists)
        with psycopg.connect(server.uri(), autocommit=True) as lasting:
            lasting.execute(sql.SQL("ALTER USER mlflow PASSWORD {}").format(sql.Literal(SECOND)))
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(server.uri())
            rotate(secret, SECOND)
            assert soon(lambda: SECOND in passfile.read_text())
            psycopg.connect(server.uri()).close()
            assert lasting.execute("SELECT 1").fetchone() == (1,), "connections that are there stay"
