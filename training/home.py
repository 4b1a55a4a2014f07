"""Where offline work keeps its things: `releases/` is committed, `var/` is not."""

from dataclasses import dataclass
from pathlib import Path

from app.release import Stack

REPOSITORY = Path(__file__).resolve().parents[1]


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

    def past_release(self, digest: str) -> Path:
        """A copy of a release written here; with the git history of the release file it makes the chain readable."""
        return self.var / "releases" / f"{digest}.json"
