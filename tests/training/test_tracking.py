"""MLflow: the embedded database, a real server, and one that does not answer."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow
import msgspec
import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from app.bundle import MODEL_INPUT, Bundle
from app.release import Release, sealed
from tests.app.support import wait_for
from tests.releases import make_release as release_of
from tests.releases import make_variant
from tests.training.models import quick_contents, small_table
from training import cli
from training.bundle import Scorer, write_bundle
from training.home import Home, TrackingError
from training.sample import write_sample
from training.search import Training, Trial
from training.tracking import EXPERIMENT, MODEL, mark_release, tracked, tracking_uri

TRIAL = Trial(candidate="logistic-regression", params={"C": 0.5}, auc=0.84, seconds=0.1)


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    elsewhere = Home(tmp_path_factory.mktemp("bundles"))
    return [write_bundle(quick_contents("logistic-regression", card=f"# {n}"), elsewhere) for n in range(3)]


def client(home: Home) -> MlflowClient:
    return MlflowClient(tracking_uri(home))


def runs(home: Home) -> list[Any]:
    experiment = client(home).get_experiment_by_name(EXPERIMENT)
    return [*client(home).search_runs([experiment.experiment_id])] if experiment else []


def register(home: Home, *bundles: Bundle) -> None:
    for bundle in bundles:
        with tracked(home, {}) as tracker:
            tracker.finish({}, {}, bundle, [])


def versions(home: Home) -> dict[str, Any]:
    """The latest version by bundle digest."""
    return {version.tags["bundle_digest"]: version for version in registered(home)}


def registered(home: Home) -> list[Any]:
    """All versions, the latest last."""
    return sorted(client(home).search_model_versions(f"name = '{MODEL}'"), key=lambda version: int(version.version))


def aliases(home: Home) -> dict[str, str]:
    """Bundle digest by alias."""
    by_version = {str(version.version): version.tags["bundle_digest"] for version in registered(home)}
    return {name: by_version[str(version)] for name, version in client(home).get_registered_model(MODEL).aliases.items()}


def released(home: Home, **roles: tuple[Bundle, str]) -> Release:
    weights = {"champion": 90 if "challenger" in roles else 100, "challenger": 10, "shadow": 0}
    variants = tuple(
        make_variant(role=role, weight_percent=weights[role], bundle_digest=bundle.digest, version=version)
        for role, (bundle, version) in roles.items()
    )
    release = sealed(release_of(variants=variants))
    mark_release(home, release)
    return release


def test_every_trial_of_a_training_is_a_child_run_with_its_parameters_and_score(trained_home: Home):
    [parent] = [run for run in runs(trained_home) if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs(trained_home) if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    digest = trained_home.candidate.read_text().strip()
    kept = msgspec.json.decode(trained_home.training(digest).read_bytes(), type=Training)
    logged = {
        (run.data.tags["candidate"], tuple(sorted((k, float(v)) for k, v in run.data.params.items())), run.data.metrics["cv_auc"])
        for run in children
    }
    assert logged == {(trial.candidate, tuple(sorted(trial.params.items())), trial.auc) for trial in kept.trials}
    assert len(children) == 3
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert parent.data.params["algorithm"] == kept.chosen
    assert 0.75 < parent.data.metrics["auc"] < 0.95
    artifacts = {file.path for file in client(trained_home).list_artifacts(parent.info.run_id)}
    assert {"bundle", f"{digest}.html"} <= artifacts
    assert versions(trained_home)[digest].run_id == parent.info.run_id


def test_a_registered_model_scores_as_the_bundle(home: Home, bundles: list[Bundle]):
    register(home, bundles[0])
    registered = versions(home)[bundles[0].digest]
    mlflow.set_tracking_uri(tracking_uri(home))
    try:
        model: Any = mlflow.pyfunc.load_model(f"models:/{MODEL}/{registered.version}")
    finally:
        mlflow.set_tracking_uri("")
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    rows = small_table().matrix[:50]
    [scores] = model.predict({MODEL_INPUT: rows}).values()
    np.testing.assert_array_equal(scores, Scorer(bundles[0].model)(rows).astype(np.float32))


def test_a_training_that_fails_is_a_failed_run_with_nothing_registered(home: Home):
    with pytest.raises(ZeroDivisionError):
        _fails_after_a_trial(home)
    assert sorted(run.info.status for run in runs(home)) == ["FAILED", "FINISHED"]
    assert not versions(home)


def _fails_after_a_trial(home: Home) -> None:
    with tracked(home, {"seed": "0"}) as tracker:
        tracker.trial(TRIAL)
        raise ZeroDivisionError


def test_two_homes_in_one_process_do_not_mix_and_the_environment_is_left_alone(tmp_path: Path, bundles: list[Bundle]):
    homes = [Home(tmp_path / "a"), Home(tmp_path / "b")]
    for home, bundle in zip(homes, bundles, strict=False):
        register(home, bundle)
        assert "MLFLOW_TRACKING_URI" not in os.environ
    register(homes[0], bundles[2])
    assert [{*versions(home)} for home in homes] == [{bundles[0].digest, bundles[2].digest}, {bundles[1].digest}]
    for home in homes:
        for registered in versions(home).values():
            assert str(home.var / "mlartifacts") in client(home).get_model_version_download_uri(MODEL, registered.version)


def test_aliases_and_versions_say_what_the_release_says_also_after_going_back(home: Home, bundles: list[Bundle]):
    first, second, third = bundles
    register(home, *bundles)
    released(home, champion=(first, "1.0.0"))
    assert aliases(home) == {"champion": first.digest}
    released(home, champion=(first, "1.0.0"), challenger=(second, "1.1.0"), shadow=(third, "1.2.0"))
    assert aliases(home) == {"champion": first.digest, "challenger": second.digest, "shadow": third.digest}
    released(home, champion=(second, "1.1.0"))
    assert aliases(home) == {"champion": second.digest}
    released(home, champion=(first, "1.0.0"))
    assert aliases(home) == {"champion": first.digest}
    tags = {digest: version.tags.get("version") for digest, version in versions(home).items()}
    assert tags == {first.digest: "1.0.0", second.digest: "1.1.0", third.digest: "1.2.0"}


def test_a_bundle_that_is_trained_again_is_a_run_more_and_no_version_more(home: Home, bundles: list[Bundle]):
    register(home, bundles[0], bundles[1], bundles[0])
    assert [version.tags["bundle_digest"] for version in registered(home)] == [bundles[0].digest, bundles[1].digest]
    assert [run.info.status for run in runs(home)] == ["FINISHED"] * 3


def test_a_bundle_from_elsewhere_takes_the_alias_away_and_leaves_none(home: Home, bundles: list[Bundle]):
    register(home, bundles[0])
    released(home, champion=(bundles[0], "1.0.0"))
    released(home, champion=(bundles[1], "1.0.1"))
    assert aliases(home) == {}


def test_where_nothing_was_ever_tracked_or_registered_there_is_nothing_to_mark(home: Home, bundles: list[Bundle]):
    released(home, champion=(bundles[0], "1.0.0"))
    assert not home.var.exists()
    with tracked(home, {}):
        pass
    released(home, champion=(bundles[0], "1.0.0"))
    assert client(home).search_registered_models() == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with a database of its own."""
    folder = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "artifacts")]
    quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=quiet, start_new_session=True) as process,
    ):
        try:
            wait_for(lambda: _answers(port), "the MLflow server", seconds=180)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def test_a_server_gets_runs_artifacts_version_and_alias(
    server: str, home: Home, bundles: list[Bundle], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    folder = home.bundle(write_bundle(quick_contents("logistic-regression"), home).digest)
    with tracked(home, {"seed": "0"}) as tracker:
        tracker.trial(TRIAL)
        tracker.finish({"algorithm": "x"}, {"auc": 0.8}, bundles[0], [folder])
    released(home, champion=(bundles[0], "1.0.0"))
    assert os.environ["MLFLOW_TRACKING_URI"] == server
    parent, child = sorted(runs(home), key=lambda run: "mlflow.parentRunId" in run.data.tags)
    assert child.data.metrics["cv_auc"] == TRIAL.auc
    assert {file.path for file in client(home).list_artifacts(parent.info.run_id, "bundle")} >= {"bundle/model.onnx"}
    assert aliases(home) == {"champion": bundles[0].digest}
    # Nothing of it is here.
    assert not (home.var / "mlflow.db").exists()
    assert not (home.var / "mlartifacts").exists()


ENDLESS = 1_000_000


class Line:
    """The way to a server: cut once so many more requests have gone through, or at a path; or it loses one answer then."""

    def __init__(self, server: str) -> None:
        self.left, self.ends_at, self.loses_an_answer = ENDLESS, "", False
        line = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                line.left = 0 if line.ends_at and line.ends_at in self.path else line.left
                line.left -= 1
                lost = line.loses_an_answer and line.left == -1
                if line.left < 0 and not line.loses_an_answer:
                    return
                connection = HTTPConnection(server.removeprefix("http://"), timeout=60)
                connection.request(self.command, self.path, content, dict(self.headers))
                answer = connection.getresponse()
                found = answer.read()
                connection.close()
                if lost:
                    return
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
                self.send_header("Content-Length", str(len(found)))
                self.end_headers()
                self.wfile.write(found)

            do_GET = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815  # the names that the server looks for

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name it overrides
                """Say nothing."""

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.httpd.server_port}"


@pytest.fixture
def line(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    registry, made = MlflowClient(server), Line(server)
    for model in registry.search_registered_models():
        registry.delete_registered_model(model.name)
    thread = threading.Thread(target=made.httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    yield made
    made.httpd.shutdown()
    made.httpd.server_close()
    thread.join()


def register_within(requests: int, line: Line, home: Home, bundle: Bundle) -> int:
    """How many it took; the line is as before afterwards."""
    with tracked(home, {}) as tracker:
        line.left = requests
        try:
            tracker.finish({"algorithm": "x"}, {"auc": 0.8}, bundle, [home.bundle(bundle.digest)])
        finally:
            used, line.left = requests - line.left, ENDLESS
    return used


def unregister(home: Home, bundle: Bundle) -> None:
    """As if nothing had ever been registered; what is there must be one version of the bundle."""
    assert [version.tags["bundle_digest"] for version in registered(home)] == [bundle.digest]
    client(home).delete_registered_model(MODEL)


def test_wherever_registration_is_cut_off_no_version_is_there_and_the_next_one_is_whole(line: Line, home: Home):
    bundle = write_bundle(quick_contents("logistic-regression"), home)
    used = register_within(ENDLESS, line, home, bundle)
    unregister(home, bundle)
    # The last request of all is the one that registers.
    for requests in {*range(0, used, 5), used - 2, used - 1}:
        with pytest.raises(TrackingError, match=rf"MLflow at {line.uri} does not do its part"):
            register_within(requests, line, home, bundle)
        assert not registered(home)
    register_within(used, line, home, bundle)
    unregister(home, bundle)


@pytest.mark.parametrize("retries", ["0", "2"])
def test_whichever_answer_is_lost_on_its_way_a_bundle_is_registered_once(
    retries: str, line: Line, home: Home, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    bundle = write_bundle(quick_contents("logistic-regression"), home)
    used = register_within(ENDLESS, line, home, bundle)
    unregister(home, bundle)
    line.loses_an_answer = True
    # The last two create the model and its version.
    for requests in {*range(0, used, 5), used - 2, used - 1}:
        try:
            register_within(requests, line, home, bundle)
        except TrackingError:
            assert retries == "0"
            register_within(ENDLESS, line, home, bundle)
        unregister(home, bundle)


def test_wherever_the_marking_of_a_release_is_cut_off_marking_again_completes_it(line: Line, home: Home, bundles: list[Bundle]):
    first, second, _ = bundles
    register(home, first, second)
    released(home, champion=(first, "1.0.0"))
    line.left = ENDLESS
    released(home, champion=(second, "1.1.0"), challenger=(first, "1.0.0"))
    used = ENDLESS - line.left
    for requests in range(used):
        line.left = ENDLESS
        released(home, champion=(first, "1.0.0"))
        line.left = requests
        with pytest.raises(TrackingError):
            released(home, champion=(second, "1.1.0"), challenger=(first, "1.0.0"))
        line.left = ENDLESS
        released(home, champion=(second, "1.1.0"), challenger=(first, "1.0.0"))
        assert aliases(home) == {"champion": second.digest, "challenger": first.digest}


def test_a_training_that_loses_its_server_ends_with_one_message_and_the_same_command_completes_it(
    line: Line, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write_sample(tmp_path / "table.csv", rows=300, seed=0)
    monkeypatch.setattr(sys, "argv", ["churn", "--home", str(home.root), "train", str(tmp_path / "table.csv"), "--trials", "1"])

    def train(ends_at: str) -> tuple[int, str]:
        line.left, line.ends_at = ENDLESS, ends_at
        with pytest.raises(SystemExit) as ended:
            cli.main()
        line.left, line.ends_at = ENDLESS, ""
        return int(ended.value.code or 0), capsys.readouterr().err

    code, said = train("/runs/log-batch")
    assert (code, home.var.exists()) == (2, False)
    assert said.startswith(f"MLflow at {line.uri} does not do its part: ")
    assert said.endswith("; start it, or unset MLFLOW_TRACKING_URI\n")
    code, said = train("/mlflow-artifacts/")
    [digest] = [folder.name for folder in (home.var / "bundles").iterdir()]
    assert (code, home.candidate.exists(), registered(home)) == (2, False, [])
    assert said.splitlines()[-1].startswith(f"bundle {digest} is whole here, with its evidence; ")
    assert train("")[0] == 0
    assert home.candidate.read_text() == f"{digest}\n"
    assert [version.tags["bundle_digest"] for version in registered(home)] == [digest]


def test_a_server_that_is_down_is_named_within_a_minute(home: Home, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    started = time.monotonic()
    with (
        pytest.raises(TrackingError, match=rf"MLflow at {uri} .*; start it, or unset MLFLOW_TRACKING_URI") as raised,
        tracked(home, {}),
    ):
        pytest.fail("a training that cannot be tracked must not begin")
    assert time.monotonic() - started < 60
    assert "\n" not in str(raised.value)


def test_a_server_that_never_answers_is_given_up(home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(TrackingError, match="does not do its part"), tracked(home, {}):
            pytest.fail("a training that cannot be tracked must not begin")


def test_a_database_that_is_damaged_is_named_with_what_to_do(home: Home):
    home.var.mkdir()
    (home.var / "mlflow.db").write_bytes(b"no database " * 1000)
    with (
        pytest.raises(TrackingError, match=r"mlflow\.db does not do its part: .*; make room or give access there"),
        tracked(home, {}),
    ):
        pytest.fail("a training that cannot be tracked must not begin")


MAKES_A_DATABASE = """
import sys
from pathlib import Path
from training.home import Home
from training.tracking import tracked
print("ready", flush=True)
with tracked(Home(Path(sys.argv[1])), {}):
    pass
"""


def test_killed_while_the_database_is_made_the_next_training_makes_it(home: Home):
    with subprocess.Popen([sys.executable, "-c", MAKES_A_DATABASE, str(home.root)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        wait_for(lambda: [*home.var.glob(".mlflow.db.*/mlflow.db")], "the database")
        process.kill()
    assert not (home.var / "mlflow.db").exists()
    with tracked(home, {}):
        pass
    assert "FINISHED" in {run.info.status for run in runs(home)}
