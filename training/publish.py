"""A bundle in a store: there under its digest once and for all, where pods fetch it."""

from dataclasses import dataclass

from app.bundle import FILES, MANIFEST, BundleError, fetch_files, open_bundle, sha256
from training.home import Home
from training.locations import TableError, child_of, create_bytes, read_bytes


@dataclass(frozen=True, kw_only=True)
class Published:
    """Where the bundle is, and how many of its files an earlier run had not yet put there."""

    location: str
    written: int


def publish(home: Home, digest: str, store: str) -> Published:
    """Put the bundle in var/bundles at `<store>/<digest>/`, verified here before and there afterwards.

    No file that is there is ever written over. The manifest comes last, and without it a place holds no bundle. Raises
    BundleError for one that is not whole here or another one there, and for a store that does not do its part: then the same
    command goes on where this one ended.
    """
    content = fetch_files(home.bundles_url, digest)
    open_bundle(content, digest, child_of(home.bundles_url, digest))
    location = child_of(store, digest)
    try:
        written = [name for name in (*FILES, MANIFEST) if _put(child_of(location, name), content[name])]
        # By name: who may only add to a store cannot list it.
        found = {name: read_bytes(child_of(location, name)) for name in content}
    except (TableError, FileNotFoundError) as exc:
        raise BundleError(f"{exc}\n{location} is not published; what is there stays, and the same command puts the rest") from exc
    open_bundle(found, digest, location)
    return Published(location=location, written=len(written))


def _put(location: str, content: bytes) -> bool:
    """Whether it was not there before. Raises BundleError where something else is."""
    if create_bytes(location, content):
        return True
    if (there := sha256(read_bytes(location))) != (ours := sha256(content)):
        raise BundleError(
            f"{location} has sha256 {there}, but this bundle's has {ours}, and what is published is never changed; "
            "find out who wrote it, or publish to another store"
        )
    return False
