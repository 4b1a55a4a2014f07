import os
import subprocess
import sys
from pathlib import Path

import psycopg

import stacks.migrate
from tests.stacks.postgres import serving

HERE = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}


def start(uri: str, **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, stacks.migrate.__file__, uri]
    return subprocess.Popen(command, env=HERE | more, stderr=subprocess.PIPE, text=True)


def test_a_file_gets_its_folder_and_its_tables(tmp_path: Path):
    file = tmp_path / "mlflow" / "mlflow.db"
    _, said = (process := start(f"sqlite:///{file}")).communicate()
    assert process.returncode == 0, said
    assert file.stat().st_size > 0


def test_two_at_once_on_an_empty_database_both_succeed(tmp_path: Path):
    passfile = tmp_path / "passfile"
    passfile.write_text("*:*:*:mlflow:word\n")
    passfile.chmod(0o600)
    with serving("word") as server:
        both = [start(server.uri("+psycopg"), PGPASSFILE=str(passfile)) for _ in range(2)]
        said = [process.communicate()[1] for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        with psycopg.connect(server.uri(), password=server.password) as connection:
            assert connection.execute("SELECT count(*) FROM experiments").fetchone() == (0,)


def test_a_database_that_is_not_there_is_a_failure(tmp_path: Path):
    _, said = (process := start("postgresql+psycopg://mlflow@127.0.0.1:1/mlflow", PGPASSFILE=str(tmp_path))).communicate()
    assert process.returncode != 0
    assert "127.0.0.1" in said
