"""Where offline work keeps its things: `releases/` is committed, `var/` is not."""

import os
from dataclasses import dataclass
from pathlib import Path

from app.release import Stack

REPOSITORY = Path(__file__).resolve().parents[1]


class TrackingError(ValueError):
    """An MLflow that does not answer, or refuses."""


class ParityError(ValueError):
    """An exported graph that does not answer as the fitted model does; it must not be served."""


@dataclass(frozen=True)
class Home:
    """The folders below `root`; the checkout unless `churn --home` says otherwise."""

    root: Path = REPOSITORY

    @property
    def var(self) -> Path:
        return self.root / "var"

    @property
    def bundles_url(self) -> str:
        """The bundle store, as `CHURN_BUNDLES` wants it."""
        return (self.var / "bundles").as_uri()

    def bundle(self, digest: str) -> Path:
        """The folder of one bundle in that store."""
        return self.var / "bundles" / digest

    def is_tracked(self, stack: Stack) -> bool:
        """Whether there is an MLflow that follows this stack: a named server, or for local the database of a training here."""
        return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (stack == "local" and (self.var / "mlflow.db").exists())

    @property
    def candidate(self) -> Path:
        """Holds the digest of the bundle that was trained last."""
        return self.var / "candidate"

    @property
    def allowed_signers(self) -> Path:
        return self.root / "releases" / "allowed_signers"

    def release(self, stack: Stack) -> Path:
        return self.root / "releases" / f"{stack}.json"

    def evidence(self, bundle_digest: str) -> Path:
        """What `churn evaluate` found of a bundle, as JSON of `app.release.Evidence`."""
        return self.var / "evidence" / f"{bundle_digest}.json"

    def evaluation(self, bundle_digest: str) -> Path:
        """The same with its curves, as JSON of `training.evaluate.Evaluation`."""
        return self.var / "evaluations" / f"{bundle_digest}.json"

    def training(self, bundle_digest: str) -> Path:
        """How the bundle came to be chosen, as JSON of `training.train.Training`."""
        return self.var / "trainings" / f"{bundle_digest}.json"

    def report(self, bundle_digest: str) -> Path:
        """The page that shows it all."""
        return self.var / "reports" / f"{bundle_digest}.html"

    def past_release(self, digest: str) -> Path:
        """A copy of a release written here; with the git history of the release file it makes the chain readable."""
        return self.var / "releases" / f"{digest}.json"
