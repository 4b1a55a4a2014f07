"""The real Pulumi engine on the real program, with a provider of the tests' own instead of a cloud."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from pulumi.runtime.proto.provider_pb2_grpc import add_ResourceProviderServicer_to_server

from app.release import Release, decode_release, encode_release
from tests.engine.provider import Simulated
from tests.releases import IMAGE, make_release
from tests.stacks.wholes import TOKEN_HASHES

ROOT = Path(__file__).parents[2]
PACKAGES = ("aws", "eks", "kubernetes")
# Steps that change nothing, and those that a replacement is made of.
REST = {"same", "create-replacement", "delete-replaced"}


def resource(urn: str) -> str:
    """The type and name of a resource."""
    chain, name = urn.split("::")[2:]
    return f"{chain.rpartition('$')[2]} {name}"


@dataclass(frozen=True)
class Project:
    """A folder with the repository's Pulumi.yaml and one stack's values and state; the program is the repository's."""

    folder: Path
    stack: str
    environment: dict[str, str]

    def pulumi(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command's end, whatever its exit code."""
        place = {"PULUMI_BACKEND_URL": f"file://{self.folder}/state", "PULUMI_HOME": f"{self.folder}/home"}
        command = ["pulumi", *arguments, "--stack", self.stack, "--non-interactive", "--color", "never"]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment | place, capture_output=True, text=True, check=False, timeout=300
        )

    def done(self, *arguments: str) -> str:
        """What a command printed that has to succeed."""
        ended = self.pulumi(*arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def preview(self, *arguments: str) -> set[str]:
        """What an `up` would change, `update aws:s3/bucket:Bucket storage-lake`; a replacement is one change."""
        steps = json.loads(self.done("preview", "--json", *arguments))["steps"]
        return {f"{each['op']} {resource(each['urn'])}" for each in steps if each["op"] not in REST}

    def state(self) -> list[dict[str, Any]]:
        """Every resource that the stack's state holds."""
        return json.loads(self.done("stack", "export"))["deployment"].get("resources", [])

    def standing_on(self, urns: set[str]) -> set[str]:
        """These resources and everything that they need: parents, providers, what they depend on."""
        needs = {
            each["urn"]: {each.get("parent", ""), each.get("provider", "").rpartition("::")[0], *each.get("dependencies", [])}
            for each in self.state()
        }
        found: set[str] = set()
        while new := urns - found:
            found |= new
            urns = set().union(*(needs[urn] for urn in new)) - {""}
        return found

    @property
    def live(self) -> Release:
        """The release that the stack serves."""
        return decode_release((self.folder / "release.json").read_bytes(), "release.json")

    def go_live(self, release: Release) -> None:
        """Make the release the stack's."""
        (self.folder / "release.json").write_bytes(encode_release(release))
        self.set({"churn:release": f"{self.folder}/release.json"})

    def set(self, values: dict[str, object]) -> None:
        """Change values of the stack, as with an editor."""
        path = self.folder / f"Pulumi.{self.stack}.yaml"
        content = yaml.safe_load(path.read_text())
        content["config"] |= values
        path.write_text(yaml.safe_dump(content))


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What `pulumi` gets to see: no credentials, and a provider that listens here."""
    if not shutil.which("pulumi"):
        pytest.skip("`pulumi` is not on PATH: install the Pulumi CLI to run the program on its engine")
    server = grpc.server(ThreadPoolExecutor(max_workers=16))
    add_ResourceProviderServicer_to_server(Simulated(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path_factory.mktemp("home")),
        "PULUMI_CONFIG_PASSPHRASE": "of the tests",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_DEBUG_PROVIDERS": ",".join(f"{package}:{port}" for package in PACKAGES),
    }
    server.stop(grace=None)


def make(folder: Path, stack: str, environment: dict[str, str]) -> Project:
    """A project whose stack has no resource yet."""
    folder.mkdir(parents=True)
    for name in ("state", "home"):
        (folder / name).mkdir()
    for name in ("Pulumi.yaml", f"Pulumi.{stack}.yaml"):
        shutil.copy(ROOT / name, folder)
    (folder / "stacks").symlink_to(ROOT / "stacks")
    (folder / ".venv").symlink_to(sys.prefix)
    project = Project(folder, stack, environment)
    project.done("stack", "init")
    # Whatever a stack can have: MLflow's image is there, clients have tokens, and a release is live.
    project.set({"inference:tokenHashes": json.loads(TOKEN_HASHES)})
    project.set({"delivery:mlflowImageDigest": IMAGE.digest} if stack != "local" else {})
    project.go_live(make_release(stack=stack, image=IMAGE))
    return project


@pytest.fixture
def empty(tmp_path: Path, environment: dict[str, str]) -> Callable[[str], Project]:
    """A stack of the given name before its first `up`."""
    return lambda stack: make(tmp_path / stack, stack, environment)


@pytest.fixture
def raised(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Callable[[str], Project]:
    """A stack of the given name after an `up`, made once for all workers; each test gets a copy of its own."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "raised"

    def copy(stack: str) -> Project:
        shared.mkdir(exist_ok=True)
        with (shared / f"{stack}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (shared / stack).exists():
                ended = make(shared / stack, stack, environment).pulumi("up", "--yes", "--skip-preview")
                (shared / stack / "up.txt").write_text(ended.stdout + ended.stderr)
                if ended.returncode:
                    (shared / stack / "failed").touch()
        # Tried once, however many tests want it.
        assert not (shared / stack / "failed").exists(), (shared / stack / "up.txt").read_text()
        shutil.copytree(shared / stack, tmp_path / stack, symlinks=True)
        return Project(tmp_path / stack, stack, environment)

    return copy
