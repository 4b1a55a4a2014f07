"""What a process is told from outside: `CHURN_*` environment variables, read once."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

PREFIX = "CHURN_"


class SettingsError(ValueError):
    """Every variable that is missing, wrong or misspelt, one line each."""


def _told(read: Callable[[str], object], wanted: str) -> dict[str, Any]:
    """A field's metadata: `read` raises ValueError on a value that is not `wanted`."""
    return {"read": read, "wanted": wanted}


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError
    return Path(text)


def _store(text: str) -> str:
    if not text.startswith(("file:///", "s3://")) or text in ("file:///", "s3://"):
        raise ValueError
    return text


def _host(text: str) -> str:
    if not text or any(character.isspace() for character in text):
        raise ValueError
    return text


def _port(text: str) -> int:
    if not 0 <= (port := int(text)) <= 65_535:  # noqa: PLR2004 # the highest port there is
        raise ValueError
    return port


def _seconds(text: str) -> float:
    if not 0 < (seconds := float(text)) <= 3600:  # noqa: PLR2004 # an hour: longer is a mistake of unit
        raise ValueError
    return seconds


_STORE = "a store such as file:///var/churn/{0} or s3://bucket/{0}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One process of the inference service. `bundles` and `events` are store URLs; port 0 takes any free one."""

    release: Path = field(metadata=_told(_path, "the path of a release file, such as /etc/churn/release.json"))
    bundles: str = field(metadata=_told(_store, _STORE.format("bundles")))
    events: str = field(metadata=_told(_store, _STORE.format("events")))
    # Without it everybody may ask everything: for a laptop.
    tokens: Path | None = field(
        default=None, metadata=_told(_path, "the path of a file of token hashes, such as /etc/churn/tokens.json")
    )
    # Loopback unless told otherwise: a pod listens on 0.0.0.0, a laptop should not.
    host: str = field(default="127.0.0.1", metadata=_told(_host, "an address to listen on, such as 0.0.0.0"))
    port: int = field(default=8080, metadata=_told(_port, "a port from 0 to 65535, such as 8080"))
    metrics_port: int = field(default=9090, metadata=_told(_port, "a port from 0 to 65535, such as 9090"))
    grace_seconds: float = field(
        default=25.0, metadata=_told(_seconds, "seconds from SIGTERM to exit, above 0, at most 3600, such as 25")
    )

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """The settings in `environ`. Raises SettingsError naming every bad variable, the value found and one to give."""
        values: dict[str, Any] = {}
        problems = list(_unknown(environ))
        for declared in fields(cls):
            name, wanted = _variable(declared.name), declared.metadata["wanted"]
            if name in environ:
                try:
                    values[declared.name] = declared.metadata["read"](environ[name])
                except ValueError:
                    problems.append(f"{name} is {environ[name]!r}; give {wanted}")
            elif declared.default is MISSING:
                problems.append(f"{name} is not set; give {wanted}")
        if problems:
            raise SettingsError("\n".join(problems))
        return cls(**values)

    def environment(self) -> dict[str, str]:
        """The variables from which `load` makes these settings again."""
        told = {_variable(declared.name): getattr(self, declared.name) for declared in fields(self)}
        return {name: str(value) for name, value in told.items() if value is not None}


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _unknown(environ: Mapping[str, str]) -> Iterator[str]:
    known = [_variable(declared.name) for declared in fields(Settings)]
    for name in sorted(name for name in environ if name.startswith(PREFIX) and name not in known):
        near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
        yield f"{name} is {environ[name]!r}, but there is no such setting; the nearest is {near}"
