"""What is live on a stack: one content-addressed JSON file, typed."""

import hashlib
import json
from datetime import datetime
from typing import Annotated, Literal

import msgspec

# `$` alone lets a trailing newline through in Python; `\Z` is unknown to JSON Schema.
_END = r"$(?!\n)"
Digest = Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{64}}{_END}", description="sha256, in hex")]
ImageDigest = Annotated[str, msgspec.Meta(pattern=f"^sha256:[0-9a-f]{{64}}{_END}")]
Commit = Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{40}}{_END}")]
SemVer = Annotated[str, msgspec.Meta(pattern=rf"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*){_END}")]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Stack = Literal["local", "dev", "staging", "prod"]
Role = Literal["champion", "challenger", "shadow"]

SCHEMA_VERSION = 1
UNDIGESTED = ("digest", "approval")


class ReleaseError(ValueError):
    """A release file that cannot be read, is not of the schema or does not carry its own digest."""


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The container image, and the contract that the code in it was built with."""

    repository: str
    digest: ImageDigest
    contract_digest: Digest
    commit: Commit


class BusinessCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The retention offer in money: what it costs, who takes it, and what a customer who stays brings."""

    offer_cost_usd: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    offer_acceptance: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.35
    margin_usd_per_month: Annotated[float, msgspec.Meta(gt=0)] = 40.0
    horizon_months: Annotated[int, msgspec.Meta(ge=1, le=120)] = 12


class AlertLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From when on somebody is told that customers have moved too far from the training data, or that the model is old."""

    # Of the population stability index of a field or of the scores; below .1 nothing has moved, above .25 others are asked about.
    drift_index_max: Annotated[float, msgspec.Meta(ge=0.05, le=10)] = 0.2
    model_age_max_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] = 90


class Estimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A figure with its bootstrap 95 % interval."""

    value: float
    low: float
    high: float


class Slice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The share of some customers that churned, and the mean probabilities that the model gave them.

    The intervals of `observed` hold for all slices at once: by chance alone one in twenty evaluations has any share outside.
    """

    observed: Estimate
    predicted: float
    required_fields_predicted: float


class Behaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the model does where it is known beforehand what is right, by name of the check.

    `slices` are fixed groups of rows, `field=value`. `invariance` is the largest change of a probability by what must not change
    any. `direction` is the largest rise of the mean probability as a field goes the way in which churn falls. `functionality` is
    by how much a customer of whom everybody knows it is likelier to churn than another.
    """

    slices: dict[str, Slice]
    invariance: dict[str, float]
    direction: dict[str, float]
    functionality: dict[str, float]


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of one bundle, measured on rows that it was not fitted on.

    Metrics named `required_fields_*` come from the same rows with only the required fields left in them. `subgroups` holds the
    AUC of each `field=value`. `threshold` is the probability from which the figures in money, precision, recall and F1 count a
    customer as offered. The differences are to the bundle `compared_with`, on the same rows, and absent without one.
    `behaviour` is absent from older releases, and then left out: their digests cover no such field.
    """

    evaluated_at: Moment
    data_digest: Digest
    contract_digest: Digest
    rows: Annotated[int, msgspec.Meta(ge=1)]
    seed: Count
    threshold: float
    metrics: dict[str, Estimate]
    subgroups: dict[str, Estimate]
    calibration_error: float
    parity_max_abs: float
    relative_cost: float | None = None
    compared_with: Digest | None = None
    auc_difference: Estimate | None = None
    profit_difference_usd_per_month: Estimate | None = None
    decisions_changed_count: Count | None = None
    behaviour: Behaviour | msgspec.UnsetType = msgspec.UNSET


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A bundle and the share of customers that it answers; a shadow answers none."""

    role: Role
    weight_percent: Annotated[int, msgspec.Meta(ge=0, le=100)]
    bundle_digest: Digest
    version: SemVer
    threshold: float
    evidence: Evidence


class Approval(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An OpenSSH signature of the release digest, by somebody whom `releases/allowed_signers` names."""

    approver: str
    signature: str


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides what a stack answers. `digest` covers all of it but itself and the approval."""

    schema_version: Literal[1] = SCHEMA_VERSION
    stack: Stack
    created_at: Moment
    created_by: Annotated[str, msgspec.Meta(min_length=1)]
    reason: Annotated[str, msgspec.Meta(min_length=1)]
    image: Image | None
    variants: Annotated[tuple[Variant, ...], msgspec.Meta(min_length=1)]
    business_case: BusinessCase
    # Absent from files that were written before there was one: their digests are of what they hold.
    alert_limits: AlertLimits | msgspec.UnsetType = msgspec.UNSET
    previous: Digest | None = None
    rollback_of: Digest | None = None
    approval: Approval | None = None
    digest: Digest | None = None

    @property
    def champion(self) -> Variant:
        """The first variant with that role; the gates refuse a release without exactly one."""
        return next(variant for variant in self.variants if variant.role == "champion")

    @property
    def limits(self) -> AlertLimits:
        """Those that the file has, or the usual ones."""
        return AlertLimits() if isinstance(self.alert_limits, msgspec.UnsetType) else self.alert_limits


# Made on import: a decoder made by one thread while another uses its half-made types ends the process (msgspec 0.22).
_decode = msgspec.json.Decoder(Release).decode


def release_digest(release: Release) -> str:
    """sha256 of the release as canonical JSON (sorted keys, no white space, UTF-8), digest and approval left out."""
    content = {key: value for key, value in _plain(release).items() if key not in UNDIGESTED}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def sealed(release: Release) -> Release:
    """The same release carrying its digest, unapproved: an approval is of one digest."""
    return msgspec.structs.replace(release, digest=release_digest(release), approval=None)


def encode_release(release: Release) -> bytes:
    """The release as the file holds it: sorted keys, indented, so that a diff shows what changed."""
    return (json.dumps(_plain(release), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def decode_release(content: bytes, source: str) -> Release:
    """The release in a file's bytes, its digest checked. Raises ReleaseError naming `source` and the place in it."""
    try:
        release = _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ReleaseError(f"{source} is not a release: {exc}") from exc
    if release.digest != (expected := release_digest(release)):
        # That of local is in no git, and as long as it is there nothing is promoted in its place.
        remedy = "remove it, then run `churn promote` again" if release.stack == "local" else "restore it from git"
        raise ReleaseError(
            f"{source} carries digest {release.digest}, but its content has {expected}: it was edited by hand; {remedy}"
        )
    if all(variant.role != "champion" for variant in release.variants):
        raise ReleaseError(f"{source} has no champion among its variants; one of them must have role champion")
    return release


def _plain(release: Release) -> dict[str, object]:
    return msgspec.to_builtins(release)
