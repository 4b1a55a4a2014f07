"""A model bundle: five files under the digest of their manifest, verified before any of them is parsed."""

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from obstore.exceptions import BaseError, GenericError
from obstore.store import ObjectStore, from_url

from app.contract import CONTRACT_DIGEST, Customer
from app.release import Digest

MANIFEST = "manifest.json"
FILES = ("card.md", "golden.json", "model.onnx", "reference.json")
MODEL_INPUT = "customers"
MODEL_OUTPUT = "churn_probability"
MAX_FILE_BYTES = 256 * 2**20
RETRIES: "RetryConfig" = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
# Where the bins of the predicted probability are cut, and what `Reference.churn_probability` calls them.
SCORE_BIN_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SCORE_BINS = tuple(f"{low:g} to {high:g}" for low, high in pairwise((0.0, *SCORE_BIN_EDGES, 1.0)))

if TYPE_CHECKING:
    from obstore.store import RetryConfig

_T = TypeVar("_T")


class BundleError(ValueError):
    """A bundle that cannot be fetched, is not whole, or was made for another contract."""


class StoreError(BundleError):
    """A store that could not be asked, or has no such bundle; later it may answer, or have it."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the bundle holds and what it was made from. `features_digest` covers the engineered columns.

    `parity_max_abs` is the largest difference between the fitted pipeline and its exported graph over every row, with all
    fields and with the required ones only.
    """

    schema_version: int = 1
    contract_digest: Digest
    data_digest: Digest
    algorithm: str
    features_digest: Digest
    seed: int
    rows: int
    parity_max_abs: float
    versions: dict[str, str]
    files: dict[str, Digest]


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Customers and the probabilities that the model must give for them, within `tolerance`."""

    customers: list[Customer]
    churn_probabilities: list[float]
    tolerance: float


class Shares(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The share of the training rows in each bin, and the bins' labels."""

    bins: list[str]
    shares: list[float]


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the training data looked like: shares by field, and of the predicted probability."""

    fields: dict[str, Shares]
    churn_probability: Shares


@dataclass(frozen=True, kw_only=True)
class Bundle:
    digest: str
    manifest: Manifest
    model: bytes
    golden: Golden
    reference: Reference
    card: str


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fetch_bundle(store_url: str, digest: str) -> Bundle:
    """The bundle `<store_url>/<digest>/`. Raises BundleError naming the file, what was found and what is expected."""
    return open_bundle(fetch_files(store_url, digest), digest, _place(store_url, digest))


def kept_bundle(store_url: str, digest: str) -> Bundle:
    """The same, from this machine if an earlier process left it here whole: a store that is down then delays nobody."""
    kept = Path(tempfile.gettempdir()) / "churn-bundles"
    if store_url.startswith("file://"):
        return fetch_bundle(store_url, digest)
    with suppress(BundleError):  # not here, or not what it was: every byte is checked, wherever it comes from
        return fetch_bundle(kept.as_uri(), digest)
    content = fetch_files(store_url, digest)
    bundle = open_bundle(content, digest, _place(store_url, digest))
    with suppress(OSError):  # no room here: then the next process asks the store again
        _keep(content, kept / digest)
    return bundle


def fetch_files(store_url: str, digest: str) -> dict[str, bytes]:
    """The files of the bundle by name, as they are there: for `open_bundle` to verify. Raises BundleError."""
    place = _place(store_url, digest)
    try:
        store = _store(place)
        sizes = {item["path"]: item["size"] for batch in store.list() for item in batch}  # pyright: ignore[reportUnknownMemberType]  # its stub names arro3, which core does not carry
        _check_files(place, sizes)
        return {name: bytes(store.get(name).bytes()) for name in sizes}
    except (BaseError, OSError) as exc:
        raise StoreError(f"{place} cannot be fetched: {_first_line(exc)}") from exc


def _place(store_url: str, digest: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise BundleError(f"the bundle is {digest!a}; give its whole digest, 64 hex digits")
    return f"{store_url.rstrip('/')}/{digest}"


def _keep(content: Mapping[str, bytes], folder: Path) -> None:
    """Write the files beside `folder` and move them there whole, over what may be there and is broken."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        for name, each in content.items():
            (Path(made) / "new" / name).parent.mkdir(exist_ok=True)
            (Path(made) / "new" / name).write_bytes(each)
        if folder.exists():
            folder.rename(Path(made) / "old")
        (Path(made) / "new").rename(folder)


def _store(place: str) -> ObjectStore:
    if place.startswith("file://"):
        _check_folder(place, Path(unquote(urlsplit(place).path)))
    try:
        # Its own limit is three minutes, for which nobody would be told why the process is not ready.
        return from_url(place, retry_config=RETRIES)
    except (ValueError, GenericError) as exc:
        reason = _first_line(exc)
        raise BundleError(f"{place} is no place of a store: {reason}; give a URL such as file:///srv/bundles") from exc


def _check_folder(place: str, folder: Path) -> None:
    if not folder.is_dir():
        raise StoreError(f"{place} is not there; name a bundle that is in this store, or copy it there")
    # Followed before any digest is known: what is elsewhere on this machine would be read, and a device without end.
    if links := [path.name for path in (folder, *folder.iterdir()) if path.is_symlink()]:
        raise BundleError(f"{place}: {min(links)} is a link; a bundle is a folder that holds its files itself")


def _first_line(exc: Exception) -> str:
    """What is wrong; the store's own debugging notes follow it."""
    return str(exc).splitlines()[0]


def open_bundle(content: Mapping[str, bytes], digest: str, place: str) -> Bundle:
    """The bundle in these files. Every byte is checked against `digest` before any but the manifest is parsed."""
    _check_digest(place, MANIFEST, content[MANIFEST], digest)
    manifest = _parse(place, MANIFEST, content, _decode_manifest)
    _check_names(place, manifest.files, FILES, "in its manifest")
    for name, expected in manifest.files.items():
        _check_digest(place, name, content[name], expected)
    if manifest.contract_digest != CONTRACT_DIGEST:
        raise BundleError(
            f"{place} was made for contract {manifest.contract_digest}, but this code has contract {CONTRACT_DIGEST}; "
            "train a bundle with this code, or run the code that the bundle was made with"
        )
    return Bundle(
        digest=digest,
        manifest=manifest,
        model=content["model.onnx"],
        golden=_parse(place, "golden.json", content, _decode_golden),
        reference=_parse(place, "reference.json", content, _decode_reference),
        card=_parse(place, "card.md", content, bytes.decode),
    )


def _check_files(place: str, sizes: Mapping[str, int]) -> None:
    # Who publishes writes it last: a place without it holds no bundle yet.
    if MANIFEST not in sizes:
        raise StoreError(f"{place} holds no bundle: {MANIFEST} is missing there; name one that is in this store, or publish it")
    _check_names(place, sizes, (MANIFEST, *FILES), "there")
    for name, size in sizes.items():
        if size > MAX_FILE_BYTES:
            raise BundleError(f"{place}/{name} has {size:,} bytes; a bundle's file has at most {MAX_FILE_BYTES:,}")


def _check_names(place: str, found: Iterable[str], expected: Iterable[str], where: str) -> None:
    problems = [f"{name} is missing" for name in sorted({*expected} - {*found})]
    problems += [f"{name} does not belong" for name in sorted({*found} - {*expected})]
    if problems:
        raise BundleError(f"{place} is not a bundle: {', '.join(problems)} {where}")


def _check_digest(place: str, name: str, content: bytes, expected: str) -> None:
    if (found := sha256(content)) != expected:
        raise BundleError(f"{place}/{name} was changed: its sha256 is {found}, expected {expected}; fetch it again")


# Made on import, as that of a release: types that are still being made end the process when another thread uses them.
_decode_manifest = msgspec.json.Decoder(Manifest).decode
_decode_golden = msgspec.json.Decoder(Golden).decode
_decode_reference = msgspec.json.Decoder(Reference).decode


def _parse(place: str, name: str, content: Mapping[str, bytes], decode: Callable[[bytes], _T]) -> _T:
    try:
        return decode(content[name])
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BundleError(f"{place}/{name} is not of this schema: {exc}") from exc
