"""MLflow's server as the stacks declare it, started: on PostgreSQL, and on a server that speaks S3."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import boto3
import psycopg
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from psycopg import sql

from stacks.record import Plan
from tests.app.support import wait_for
from tests.stacks.mlflow_pod import BUCKET, IDENTITY, Manifest, Pod, declared, pod
from tests.stacks.postgres import Server, free_port, programs, serving

FIRST, SECOND = "first: \\ one", "second"
RUNBOOK = Path(__file__).parents[2] / "docs" / "mlflow-server.md"
REGION = "eu-west-1"


@pytest.fixture(scope="module")
def spec(everything: Plan) -> Manifest:
    return declared(everything)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that speaks S3 and has the artifacts' bucket."""
    port = free_port()
    log = tmp_path_factory.mktemp("store") / "log"
    command = [Path(sys.executable).parent / "moto_server", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as told, subprocess.Popen(command, stdout=told, stderr=told) as process:
        try:
            wait_for(lambda: b"Running on" in log.read_bytes(), "the store", 60)
            address = f"http://127.0.0.1:{port}"
            s3 = buckets(address)
            s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
            # As stacks/storage.py has it.
            s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
            yield address
        finally:
            process.terminate()


def buckets(address: str):
    key, secret = IDENTITY.values()
    return boto3.client("s3", endpoint_url=address, region_name=REGION, aws_access_key_id=key, aws_secret_access_key=secret)


@contextmanager
def empty(password: str) -> Iterator[Server]:
    """A database server as RDS makes it: with the database that MLflow's tables will be in."""
    with serving(password) as server:
        with connected(server, password) as connection:
            connection.execute("CREATE DATABASE mlflow")
        yield server


def connected(server: Server, password: str) -> psycopg.Connection:
    return psycopg.connect(server.uri(), password=password, autocommit=True)


@pytest.fixture(scope="module")
def running(spec: Manifest, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    with empty(FIRST) as database:
        found = pod(spec, tmp_path_factory.mktemp("pod"), database, store, FIRST)
        with found.running():
            wait_for(lambda: found.probe("readiness") == 200, "readiness", 60)
            yield found


@pytest.fixture
def client(running: Pod, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return client_of(running, monkeypatch)


def client_of(found: Pod, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    # A refusal is not worth minutes of asking again; and who tracks has no rights on the bucket.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    for name in IDENTITY:
        monkeypatch.delenv(name, raising=False)
    return MlflowClient(tracking_uri=found.url, registry_uri=found.url)


def track(client: MlflowClient, folder: Path, name: str) -> str:
    """A run with a metric and a file, registered as version 1 of a model of that name; the run's id."""
    experiment = client.create_experiment(name)
    run = client.create_run(experiment, run_name=name)
    client.log_metric(run.info.run_id, "auc", 0.84)
    model = folder / "model"
    model.mkdir()
    (model / "MLmodel").write_text("flavors: {}\n")
    client.log_artifact(run.info.run_id, str(model))
    client.create_registered_model(name)
    client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
    client.set_registered_model_alias(name, "champion", "1")
    return run.info.run_id


def known(client: MlflowClient, name: str, folder: Path) -> tuple[float, str, str]:
    """What the server says about what `track` told it: the metric, the file, the version that is the champion."""
    version = client.get_model_version_by_alias(name, "champion")
    assert version.run_id
    folder.mkdir()
    file = client.download_artifacts(version.run_id, "model/MLmodel", str(folder))
    return client.get_run(version.run_id).data.metrics["auc"], Path(file).read_text(), version.version


def test_runs_models_and_files_come_back_and_files_lie_in_the_bucket(client: MlflowClient, store: str, tmp_path: Path):
    run = track(client, tmp_path, "tracked")
    assert known(client, "tracked", tmp_path / "back") == (0.84, "flavors: {}\n", "1")
    kept = [each["Key"] for each in buckets(store).list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert [key for key in kept if run in key and key.startswith("mlflow/") and key.endswith("/model/MLmodel")]


def test_who_calls_it_by_a_name_that_is_not_its_own_is_refused(running: Pod):
    assert running.probe("readiness", Host=f"mlflow.churn.svc.cluster.local:{running.port}") == 200
    assert running.probe("readiness", Host="evil.example") == 403
    assert running.probe("readiness", Host=f"10.30.0.1:{running.port}") == 403


def test_nobody_is_let_into_the_database_without_encryption(running: Pod):
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(running.database.uri().replace("require", "disable"), password=FIRST)


@contextmanager
def rotated(running: Pod) -> Iterator[None]:
    """Another password in the database, and in the secret a little later, as it is when RDS rotates; then the first again."""
    for old, new in ((FIRST, SECOND), (SECOND, FIRST)):
        with connected(running.database, old) as connection:
            connection.execute(sql.SQL("ALTER ROLE mlflow PASSWORD {}").format(sql.Literal(new)))
            running.give(new)
            wait_for(
                lambda new=new: new.replace("\\", "\\\\").replace(":", "\\:") in running.passfile.read_text(),
                "the new password",
                30,
            )
            # Nobody goes on with a connection that was made with the old one.
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'mlflow'")
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            connected(running.database, old)
        if new == SECOND:
            yield


def test_a_rotated_password_is_followed_without_a_restart(running: Pod, client: MlflowClient, tmp_path: Path):
    with rotated(running):
        track(client, tmp_path, "rotated")
        assert running.probe("readiness") == running.probe("liveness") == 200
    assert known(client, "rotated", tmp_path / "back")[0] == 0.84


def test_without_its_database_it_is_alive_and_not_ready_and_with_it_ready_again(running: Pod):
    running.database.stop()
    try:
        assert wait_for(lambda: running.probe("readiness") != 200, "unreadiness", 60)
        assert running.probe("liveness") == 200
    finally:
        running.database.start()
    wait_for(lambda: running.probe("readiness") == 200, "readiness", 60)


def commands(heading: str) -> str:
    """The commands of the runbook below a heading."""
    [found] = re.findall(rf"^#+ {re.escape(heading)}\n.*?```sh\n(.*?)```", RUNBOOK.read_text(), re.DOTALL | re.MULTILINE)
    return found


def follow(heading: str, folder: Path, told: Mapping[str, str]) -> None:
    """Do what the runbook says, with the variables that it asks for."""
    path = {"PATH": f"{programs()}:{os.environ['PATH']}", "HOME": os.environ["HOME"]}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands(heading)],
        env={**path, **told},
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def reached(server: Server, password: str) -> dict[str, str]:
    return {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "mlflow", "PGSSLMODE": "require", "PGPASSWORD": password}


def test_from_a_dump_an_empty_database_and_the_same_bucket_everything_is_there_again(
    running: Pod, client: MlflowClient, spec: Manifest, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    track(client, tmp_path, "kept")
    follow("Back up", tmp_path, reached(running.database, FIRST))
    with empty(SECOND) as fresh:
        follow("Restore", tmp_path, reached(fresh, SECOND))
        restored = pod(spec, tmp_path / "pod", fresh, store, SECOND)
        with restored.running():
            wait_for(lambda: restored.probe("readiness") == 200, "readiness", 60)
            found = client_of(restored, monkeypatch)
            assert known(found, "kept", tmp_path / "back") == (0.84, "flavors: {}\n", "1")
            # What comes next does not collide with what was there.
            (tmp_path / "next").mkdir()
            track(found, tmp_path / "next", "next")


@pytest.mark.skipif(shutil.which("aws") is None, reason="no AWS CLI: install the package awscli")
def test_deleted_files_are_there_again_once_their_markers_are_gone(client: MlflowClient, store: str, tmp_path: Path):
    run = track(client, tmp_path, "deleted")
    s3 = buckets(store)
    [file] = [key for each in s3.list_objects_v2(Bucket=BUCKET)["Contents"] if run in (key := each["Key"])]
    s3.delete_object(Bucket=BUCKET, Key=file)
    with pytest.raises(MlflowException):
        known(client, "deleted", tmp_path / "gone")
    where = {"AWS_ENDPOINT_URL_S3": store, "AWS_DEFAULT_REGION": REGION, "BUCKET": BUCKET, "PREFIX": "mlflow/"}
    follow("Bring back deleted files", tmp_path, IDENTITY | where)
    assert known(client, "deleted", tmp_path / "back") == (0.84, "flavors: {}\n", "1")
    # There is nothing left to do, which is no error.
    follow("Bring back deleted files", tmp_path, IDENTITY | where)
