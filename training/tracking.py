"""MLflow: every trial as a run, the shipped bundle as a registered version, and aliases that agree with the release file."""

import logging
import os
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

# Read when MLflow loads: what is trained here is told to nobody but the server that was named.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import onnx
from mlflow.entities import Metric, Param
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.onnx import log_model  # pyright: ignore[reportUnknownVariableType]  # untyped keyword arguments
from mlflow.tracking import MlflowClient
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from app.bundle import Bundle
from app.release import Release
from training.home import Home, TrackingError
from training.search import Trial

EXPERIMENT = MODEL = "churn"
BUNDLE_TAG, VERSION_TAG = "bundle_digest", "version"
ALIASES = ("champion", "challenger", "shadow")
_VARIABLE = "MLFLOW_TRACKING_URI"
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_PARENT_TAG = "mlflow.parentRunId"


def tracking_uri(home: Home) -> str:
    """`MLFLOW_TRACKING_URI`, or the embedded database below `home`."""
    return os.environ.get(_VARIABLE) or f"sqlite:///{home.var / 'mlflow.db'}"


class Tracker:
    """One training in MLflow: a parent run with a child for each trial. Methods raise TrackingError."""

    def __init__(self, home: Home, tags: Mapping[str, str]) -> None:
        self._uri = tracking_uri(home)
        with _reporting(self._uri):
            self._client = _client(home)
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            self._experiment_id = (
                experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT, _artifacts(home))
            )
            self.run_id = self._client.create_run(self._experiment_id, tags=dict(tags), run_name="train").info.run_id

    def trial(self, trial: Trial) -> None:
        """Log one finished trial as a child run."""
        tags = {_PARENT_TAG: self.run_id, "candidate": trial.candidate}
        with _reporting(self._uri):
            run = self._client.create_run(self._experiment_id, tags=tags, run_name=trial.candidate)
            self._write(run.info.run_id, trial.params, {"cv_auc": trial.auc, "seconds": trial.seconds})
            self._client.set_terminated(run.info.run_id)

    def finish(self, params: Mapping[str, object], metrics: Mapping[str, float], bundle: Bundle, kept: Sequence[Path]) -> None:
        """Log what was chosen and the files and folders `kept` of it, and register the bundle's graph as a version, once ever."""
        with _reporting(self._uri), _default_uri(self._uri):
            self._write(self.run_id, params, metrics)
            for path in kept:
                keep = mlflow.log_artifacts if path.is_dir() else mlflow.log_artifact
                keep(str(path), "bundle" if path.is_dir() else None, run_id=self.run_id)
            if _registered(self._client, bundle.digest) is None:
                self._register(bundle)

    def _register(self, bundle: Bundle) -> None:
        with mlflow.start_run(run_id=self.run_id):
            logged = log_model(
                onnx.load_from_string(bundle.model),
                name=MODEL,
                # Named here, or MLflow starts a process to find out what the model needs.
                pip_requirements=[f"onnxruntime=={bundle.manifest.versions['onnxruntime']}", "numpy"],
            )
        client, tags = self._client, {BUNDLE_TAG: bundle.digest}
        if not _has_model(client):
            _once(lambda: client.create_registered_model(MODEL), lambda: _has_model(client))
        # A server takes the source of a version only with the id that it belongs to.
        _once(
            lambda: client.create_model_version(MODEL, logged.model_uri, self.run_id, tags=tags, model_id=logged.model_id),
            lambda: _registered(client, bundle.digest) is not None,
        )

    def end(self, status: Literal["FINISHED", "FAILED"]) -> None:
        """Close the parent run."""
        with _reporting(self._uri):
            self._client.set_terminated(self.run_id, status)

    def _write(self, run_id: str, params: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, 0, 0) for name, value in metrics.items()],
            params=[Param(name, str(value)) for name, value in params.items()],
        )


@contextmanager
def tracked(home: Home, tags: Mapping[str, str]) -> Generator[Tracker]:
    """A tracker whose parent run ends as finished, or as failed if the block raises. Raises TrackingError."""
    tracker = Tracker(home, tags)
    try:
        yield tracker
    except BaseException as exc:
        # An MLflow that just failed is asked no more; nor may it hide what went wrong when that was something else.
        if not isinstance(exc, TrackingError):
            with suppress(TrackingError):
                tracker.end("FAILED")
        raise
    tracker.end("FINISHED")


def mark_release(home: Home, release: Release) -> None:
    """Let the aliases and the semver tags of the registered versions say what the release says.

    A bundle that was registered elsewhere, or a machine without an MLflow database, has nothing to mark. Raises TrackingError.
    """
    if not home.is_tracked(release.stack):
        return
    with _reporting(tracking_uri(home)):
        client = _client(home)
        if not _has_model(client):
            return
        aliases: Mapping[str, str] = client.get_registered_model(MODEL).aliases  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # a bare dict in MLflow
        for alias in ALIASES:
            digest = next((v.bundle_digest for v in release.variants if v.role == alias), None)
            found = _registered(client, digest) if digest else None
            if found is not None:
                client.set_registered_model_alias(MODEL, alias, found.version)
            elif alias in aliases:
                client.delete_registered_model_alias(MODEL, alias)
        for variant in release.variants:
            if (found := _registered(client, variant.bundle_digest)) is not None:
                client.set_model_version_tag(MODEL, found.version, VERSION_TAG, variant.version)


def _has_model(client: MlflowClient) -> bool:
    return bool(client.search_registered_models(f"name = '{MODEL}'"))


def _registered(client: MlflowClient, digest: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{MODEL}' and tags.{BUNDLE_TAG} = '{digest}'")
    return max(found, key=lambda version: int(version.version), default=None)


def _client(home: Home) -> MlflowClient:
    # MLflow's own limits let a server that is down hold a command for minutes.
    os.environ.setdefault(_RETRIES, "2")
    # A server's address after each of dozens of runs is not what a command has to say.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    # What goes wrong comes back as an exception, which MLflow logs as well, with its traceback.
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    if not os.environ.get(_VARIABLE):
        _make_database(home.var / "mlflow.db")
    return MlflowClient(tracking_uri(home))


def _make_database(path: Path) -> None:
    """Aside, and named when it is whole: MLflow makes its tables step by step, and never gets over a step cut short."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        made = Path(folder) / path.name
        MlflowClient(f"sqlite:///{made}").get_experiment_by_name(EXPERIMENT)
        # Whoever was first has it.
        with suppress(FileExistsError):
            path.hardlink_to(made)


def _artifacts(home: Home) -> str | None:
    """Where embedded MLflow keeps artifacts; a server knows better."""
    return None if os.environ.get(_VARIABLE) else (home.var / "mlartifacts").as_uri()


def _once(create: Callable[[], object], is_there: Callable[[], bool]) -> None:
    """Create what must not be there twice. Left to itself MLflow repeats a request whose answer was lost, though it was done."""
    retries = os.environ[_RETRIES]
    os.environ[_RETRIES] = "0"
    try:
        create()
    except (MlflowException, RequestException):
        os.environ[_RETRIES] = retries
        if not is_there():
            raise
    finally:
        os.environ[_RETRIES] = retries


@contextmanager
def _default_uri(uri: str) -> Generator[None]:
    """What is logged without a client goes to `uri`; MLflow would leave it in the environment for whatever comes later."""
    before = os.environ.get(_VARIABLE)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before or "")
        if before is None:
            os.environ.pop(_VARIABLE, None)


@contextmanager
def _reporting(uri: str) -> Generator[None]:
    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as exc:
        remedy = f"start it, or unset {_VARIABLE}" if os.environ.get(_VARIABLE) else "make room or give access there, then repeat"
        # The lines after the first are SQL.
        reason = str(exc).split("\n", maxsplit=1)[0]
        raise TrackingError(f"MLflow at {uri} does not do its part: {reason}; {remedy}") from exc
