"""Images built for real, once for all who look at them, and their file systems under a container runtime."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from images.layout import Layout

CHECKOUT = Path(__file__).parents[2]
BUILDERS = ("docker", "podman", "buildah")
TAG = "churn-test"
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Built:
    """An image as `.ci/image` leaves it."""

    target: str
    folder: Path

    @property
    def layout(self) -> Layout:
        return Layout(self.folder)


def build(target: str, out: Path, **told: str) -> Built:
    environment = os.environ | {"BASE": os.environ["CHURN_TEST_BASE"], "TARGETS": target, "OUT": str(out), **told}
    done = subprocess.run([CHECKOUT / ".ci/image", TAG], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    for builder in filter(shutil.which, BUILDERS):
        subprocess.run([builder, "rmi", f"{TAG}-{target}"], check=False, capture_output=True)
    return Built(target, out / target)


@pytest.fixture(scope="session")
def everybodys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers share."""
    folder = tmp_path_factory.getbasetemp()
    shared = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "images"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="session", params=["app", "training", "mlflow"])
def built(request: pytest.FixtureRequest, everybodys: Path) -> Built:
    """Each image that is to be built."""
    return _built(request.param, everybodys)


@pytest.fixture(scope="session")
def app(everybodys: Path) -> Built:
    return _built("app", everybodys)


def _built(target: str, folder: Path) -> Built:
    if "CHURN_TEST_BASE" not in os.environ or not any(map(shutil.which, BUILDERS)):
        pytest.skip(
            "no image is built: name a base in CHURN_TEST_BASE, such as the Dockerfile's, and install Docker, podman or buildah"
        )
    if target not in os.environ.get("CHURN_TEST_TARGETS", "app").split():
        pytest.skip(f"its build takes minutes: CHURN_TEST_TARGETS='app training mlflow' builds the image {target} too")
    with (folder / f"{target}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return Built(target, folder / target) if (folder / target / "index.json").exists() else build(target, folder)


@dataclass(frozen=True)
class Container:
    """An image's file system, to be run as a pod is: not root, no capability, a root that is read-only."""

    folder: Path
    config: dict[str, Any]

    @property
    def entrypoint(self) -> list[str]:
        return self.config["config"]["Entrypoint"]

    def command(self, name: str, *args: str, data: Path | None = None, environment: Mapping[str, str] = NOTHING) -> list[str]:
        """How to run `args` in it; `data` is mounted on /data, and there is room in /tmp."""
        told = self.config["config"]
        uid, gid = map(int, told["User"].split(":"))
        mounts: list[dict[str, Any]] = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},  # noqa: S108 - the container's own
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ]
        if data:
            mounts.append({"destination": "/data", "type": "bind", "source": str(data), "options": ["rbind", "ro"]})
        spec = {
            "ociVersion": "1.0.0",
            "process": {
                "user": {"uid": uid, "gid": gid},
                "args": args,
                "env": [*told["Env"], *(f"{name}={value}" for name, value in environment.items())],
                "cwd": told["WorkingDir"],
                "capabilities": {},
                "noNewPrivileges": True,
            },
            "root": {"path": str(self.folder / "rootfs"), "readonly": True},
            "mounts": mounts,
            # The network is the tests' own, so that they reach it.
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "mount", "uts")]},
        }
        bundle = self.folder / name
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(spec))
        # No limits are asked for; on a machine with control groups of both versions crun would refuse even so.
        modern = ["unshare", "--mount", "sh", "-c", 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "sh"]
        state = str(self.folder / "state")
        return [*modern, "crun", "--root", state, "--cgroup-manager=disabled", "run", "--bundle", str(bundle), name]


def container(image: Built, folder: Path) -> Container:
    if os.geteuid() != 0 or not shutil.which("crun"):
        pytest.skip("no container is run: that takes root and Debian's package `crun`")
    image.layout.unpack(folder / "rootfs")
    return Container(folder, image.layout.config)
