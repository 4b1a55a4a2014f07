"""Bytes at a location: a local path, or a URL of an object store or a web server."""

from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore, from_url

from training.files import write_whole

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

TELCO_URL = "https://raw.githubusercontent.com/IBM/telco-customer-churn-on-icp4d/master/data/Telco-Customer-Churn.csv"
TELCO_SHA256 = "16320c9c1ec72448db59aa0a26a0b95401046bef5d02fd3aeb906448e3055e91"

# What a silent server may take before it is given up; a large table may take longer as long as its bytes keep coming.
_CLIENT: "ClientConfig" = {"connect_timeout": "3s", "read_timeout": "5s", "timeout": "10m", "allow_http": True}
_RETRY: "RetryConfig" = {"max_retries": 2, "retry_timeout": timedelta(seconds=5)}


class TableError(ValueError):
    """A table that cannot be read or written, or that breaks the contract."""


def is_url(location: str) -> bool:
    return "://" in location


def suffix_of(location: str) -> str:
    """The file's suffix in lower case, such as `.csv`; a URL's query left out."""
    return Path(urlsplit(location).path if is_url(location) else location).suffix.lower()


def child_of(location: str, name: str) -> str:
    """The location of `name` in the folder `location`."""
    return f"{location.rstrip('/')}/{name}"


def local_path(location: str) -> Path | None:
    """The path that a plain path or a file:// URL means, None for any other URL."""
    if location.startswith("file://"):
        return Path(unquote(urlsplit(location).path))
    return None if is_url(location) else Path(location).expanduser()


def read_bytes(location: str) -> bytes:
    """The whole content. Raises TableError saying why it cannot be had; FileNotFoundError when there is nothing."""
    path = local_path(location)
    try:
        if path is not None:
            return path.read_bytes()
        store, name = _remote(location)
        return bytes(store.get(name).bytes())
    except FileNotFoundError as exc:
        raise FileNotFoundError(f"{location} is not there; give the path or URL of a table") from exc
    except (BaseError, OSError) as exc:
        raise TableError(f"{location} cannot be read: {_reason(exc)}") from exc


def read_all(folder: str, suffix: str) -> Iterator[bytes]:
    """The content of each file in the folder, or below a URL, whose name ends so; one at a time. Raises TableError."""
    path = local_path(folder)
    try:
        if path is not None and not path.is_dir():
            raise TableError(f"{folder} is not there; give the folder or URL that holds the files *{suffix}")
        place = folder if path is None else path.absolute().as_uri()
        store = from_url(place, client_options=_CLIENT, retry_config=_RETRY)
        names = [item["path"] for batch in store.list() for item in batch]  # pyright: ignore[reportUnknownMemberType]  # its stub names arro3, which is not here
        for name in sorted(name for name in names if name.endswith(suffix)):
            yield bytes(store.get(name).bytes())
    except (BaseError, OSError) as exc:
        raise TableError(f"{folder} cannot be read: {_reason(exc)}") from exc


def write_bytes(location: str, content: bytes) -> None:
    """Write the whole content or, raising TableError, nothing."""
    path = local_path(location)
    try:
        if path is not None:
            write_whole(path, content)
        else:
            store, name = _remote(location)
            store.put(name, content)
    except (BaseError, OSError) as exc:
        raise TableError(f"{location} cannot be written: {_reason(exc)}") from exc


def create_bytes(location: str, content: bytes) -> bool:
    """Whether the content was written there, whole: what is there already stays, whoever comes at the same time."""
    path = local_path(location)
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            location = path.absolute().as_uri()
        store, name = _remote(location)
        store.put(name, content, mode="create")
    except AlreadyExistsError:
        return False
    except (BaseError, OSError) as exc:
        raise TableError(f"{location} cannot be written: {_reason(exc)}") from exc
    return True


def version_of(location: str) -> str:
    """Text that is another one once the content at the location is. Raises TableError where there is none."""
    path = local_path(location)
    try:
        if path is not None:
            about = path.stat()
            return f"{about.st_size} {about.st_mtime_ns}"
        store, name = _remote(location)
        head = store.head(name)
        return f"{head['size']} {head['e_tag']} {head['last_modified']}"
    except FileNotFoundError as exc:
        raise TableError(f"{location} is not there; give the path or URL of a table") from exc
    except (BaseError, OSError) as exc:
        raise TableError(f"{location} cannot be read: {_reason(exc)}") from exc


def fetch_file(url: str, path: Path) -> None:
    """Copy what is at the URL to `path`, whole or not at all, a piece at a time."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        store, name = _remote(url)
        with partial.open("wb") as file:
            for piece in store.get(name):
                file.write(piece)
    except BaseError as exc:
        raise TableError(f"{url} cannot be read: {_reason(exc)}") from exc
    partial.replace(path)


def put_file(location: str, path: Path) -> None:
    """Put the file at the location, whole or not at all: a path on the same disk, to which it moves, or a URL."""
    to = local_path(location)
    try:
        if to is not None:
            path.replace(to)
        else:
            store, name = _remote(location)
            store.put(name, path)
    except (BaseError, OSError) as exc:
        raise TableError(f"{location} cannot be written: {_reason(exc)}") from exc


def download(url: str, digest: str, path: Path) -> int:
    """The number of bytes written to `path`. Raises TableError, writing nothing, unless their sha256 is `digest`."""
    try:
        content = read_bytes(url)
    except FileNotFoundError as exc:
        raise TableError(str(exc)) from exc
    if (found := sha256(content).hexdigest()) != digest:
        raise TableError(f"{url} has sha256 {found}, expected {digest}; the file was changed or is another one")
    write_bytes(str(path), content)
    return len(content)


def _remote(location: str) -> tuple[ObjectStore, str]:
    # A web address may carry a query, so it is opened as it stands and asked for nothing below it.
    folder, name = (location, "") if location.startswith(("http://", "https://")) else location.rsplit("/", 1)
    return from_url(folder, client_options=_CLIENT, retry_config=_RETRY), name


def _reason(exc: Exception) -> str:
    """Why, which names the store's address, and what to do."""
    first, *_ = str(exc).split("\n", maxsplit=1)
    return f"{first}; see to it, then repeat"
