"""What is live on a stack: its release file, read as it is."""

from dataclasses import dataclass

from app.release import Release, ReleaseError, decode_release
from stacks.config import ROOT, LocalConfig, StackConfig
from stacks.reading import ConfigError


@dataclass(frozen=True, kw_only=True)
class Live:
    """A release and the exact text of its file, which the pods get to read."""

    release: Release
    text: str
    # As a pod names it.
    image: str


def live_on(config: StackConfig) -> Live | None:
    """The stack's release; None without a file, as an empty account begins. Raises ConfigError."""
    name = config.churn.release or f"releases/{config.stack}.json"
    path = ROOT / name
    if not path.exists() and not config.churn.release:
        return None
    try:
        content = path.read_bytes()
        release = decode_release(content, name)
    except (OSError, ReleaseError) as exc:
        raise ConfigError(config.stack, [f"{exc}; give a file that `churn promote --stack {config.stack}` wrote"]) from exc
    if release.stack != config.stack:
        raise ConfigError(config.stack, [f"{name} is a release of {release.stack}; give one of {config.stack}"])
    return Live(release=release, text=content.decode(), image=_image(config, release, name))


def _image(config: StackConfig, release: Release, name: str) -> str:
    if release.image:
        return f"{release.image.repository}@{release.image.digest}"
    if isinstance(config.base, LocalConfig):
        return config.base.app_image
    raise ConfigError(config.stack, [f"{name} names no image; give one that `churn promote --image REPOSITORY@DIGEST` wrote"])
