import json
import os
import shutil
import signal
import subprocess
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.contract import Customer
from images.describe import LOCKS, main
from images.layout import Layout
from tests.app.support import ASKED, Place, probability, variant, wait_for
from tests.image.conftest import CHECKOUT, Built, Container, build, container

# Apart from these, what anybody may ship without giving up more than a notice.
COPYLEFT = {"psycopg": "LGPL-3.0-only", "psycopg-binary": "LGPL-3.0-only"}
LARGEST_APP_MB = 250
PROBE = """
import json, os
def writable(folder):
    try:
        open(f"{folder}/probe", "w").close()
    except OSError:
        return False
    return True
def folders():
    for folder, inside, _ in os.walk("/"):
        inside[:] = [each for each in inside if f"{folder}{each}" not in ("/proc", "/dev")]
        yield folder
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "uid": os.getuid(), "groups": os.getgroups(), "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
    "writable": [each for each in folders() if writable(each)],
}))
"""


@pytest.fixture(scope="module")
def unpacked(app: Built, tmp_path_factory: pytest.TempPathFactory) -> Container:
    return container(app, tmp_path_factory.mktemp("app"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A release and its bundle, for a user who is not the one that wrote them."""
    found = Place(tmp_path / "data")
    found.write_release(variant(found.add_bundle()))
    for each in (found.root, *found.root.rglob("*")):
        each.chmod(0o755 if each.is_dir() else 0o644)
    return found


def locked(target: str) -> dict[str, str]:
    """What the lock of an image names for the machine that it was built on."""
    lines = (CHECKOUT / f"requirements/{LOCKS[target]}.lock").read_text().splitlines()
    wanted = [Requirement(line.removesuffix(" \\")) for line in lines if line[:1].isalnum()]
    needed = [each for each in wanted if each.marker is None or each.marker.evaluate()]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in needed}


def described(image: Built, kind: str) -> dict:
    assert main([str(image.folder)]) == 0
    return json.loads(image.folder.with_suffix(f".{kind}.json").read_text())


def test_the_same_commit_built_again_is_the_same_image(built: Built, tmp_path: Path):
    # Every step anew: what comes from a cache is the same, whatever the steps do.
    assert build(built.target, tmp_path, NO_CACHE="1").layout.digest == built.layout.digest


def test_the_whole_image_of_the_endpoint_stays_small(unpacked: Container):
    sizes = [path.lstat().st_size for path in (unpacked.folder / "rootfs").rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(sizes) <= LARGEST_APP_MB * 1_000_000


def test_labels_say_what_it_is_and_where_it_comes_from(built: Built):
    labels = built.layout.labels
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout.strip()
    assert labels["revision"].removesuffix("-dirty") == head
    assert labels["title"] == f"churn-{built.target}"
    assert labels["licenses"] == "MIT"
    assert [labels["base.name"], *filter(None, [labels.get("base.digest")])] == os.environ["CHURN_TEST_BASE"].split("@")
    assert labels["version"]
    assert datetime.fromisoformat(labels["created"]).tzinfo


def test_its_user_is_a_number_and_not_root(built: Built):
    assert built.layout.config["config"]["User"] == "10001:10001"


def test_the_sbom_names_exactly_the_locked_packages_and_debians(built: Built):
    sbom = described(built, "cdx")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(sbom)) is None
    ours = [each for each in sbom["components"] if each["evidence"]["occurrences"][0]["location"].startswith("venv/")]
    assert {each["name"]: each["version"] for each in ours} == locked(built.target)
    assert "libc6" in {each["name"] for each in sbom["components"] if each["purl"].startswith("pkg:deb/debian/")}


def test_no_package_takes_more_than_a_notice_but_those_that_are_known(built: Built):
    bound = {
        each["name"]: text.removeprefix("expression: ")
        for each in described(built, "cdx")["components"]
        for text in (f"{kind}: {name}" for told in each.get("licenses", []) for kind, name in _flat(told))
        if "GPL" in text or "General Public" in text
    }
    assert bound.items() <= COPYLEFT.items()


def _flat(told: dict) -> list[tuple[str, str]]:
    return [("expression", told["expression"])] if "expression" in told else list(told["license"].items())


def test_provenance_is_of_this_image_and_names_commit_base_and_locks(built: Built):
    statement = described(built, "provenance")
    [subject] = statement["subject"]
    assert f"sha256:{subject['digest']['sha256']}" == built.layout.digest
    source, base, lock, _ = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert built.layout.labels["revision"].startswith(source["digest"]["gitCommit"])
    assert base["uri"] == f"docker:{built.layout.labels['base.name']}"
    assert lock["name"] == f"requirements/{LOCKS[built.target]}.lock"


def test_the_endpoints_image_has_no_shell_no_installer_and_nothing_that_lends_rights(unpacked: Container):
    root = unpacked.folder / "rootfs"
    names = {path.name for path in root.rglob("*") if path.is_file()}
    assert not names & {"sh", "bash", "dash", "apt", "dpkg", "perl", "pip", "uv"}
    assert not [path for path in root.rglob("*") if not path.is_symlink() and path.is_file() and path.stat().st_mode & 0o6000]


def test_python_files_are_compiled_for_good_whatever_their_date(unpacked: Container):
    compiled = list((unpacked.folder / "rootfs").rglob("*.pyc"))
    # https://peps.python.org/pep-0552/: hash-based and not checked.
    assert {path.read_bytes()[4:8] for path in compiled} == {b"\1\0\0\0"}
    assert {path.suffixes[-2] for path in compiled} == {".opt-2"}


def test_it_runs_as_nobody_in_particular_and_can_write_to_its_own_room_alone(unpacked: Container):
    told = subprocess.run(unpacked.command("probe", "/venv/bin/python", "-c", PROBE), check=True, capture_output=True, text=True)
    found = json.loads(told.stdout)
    assert (found["uid"], found["capabilities"]) == (10001, 0)
    assert 0 not in found["groups"]
    assert found["writable"] == ["/tmp"]  # noqa: S108 - the container's own


def test_it_answers_a_prediction_from_a_root_that_is_read_only(unpacked: Container, place: Place, tmp_path: Path):
    told = place.settings(release=Path("/data/release.json"), bundles="file:///data/bundles", events="file:///tmp/events")
    command = unpacked.command("serve", *unpacked.entrypoint, data=place.root, environment=told.environment())
    log = tmp_path / "log"
    with log.open("wb") as stderr, subprocess.Popen(command, stderr=stderr) as process:
        try:
            said = wait_for(lambda: [line for line in log.read_text().splitlines() if '"listening"' in line], "its port", 60)
            url = f"http://127.0.0.1:{json.loads(said[0])['port']}"
            wait_for(lambda: httpx.get(f"{url}/readyz").status_code == 200, "readiness", 60)
            given = httpx.post(f"{url}/v1/predict", json=ASKED).raise_for_status().json()
            assert given["churn_probability"] == pytest.approx(probability(Customer(**ASKED)), abs=1e-5)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    assert all(json.loads(line)["event"] for line in log.read_text().splitlines())


@pytest.mark.parametrize("built", ["training", "mlflow"], indirect=True)
def test_the_other_images_start_likewise(built: Built, tmp_path: Path):
    found = container(built, tmp_path)
    told = subprocess.run(found.command("help", *found.entrypoint, "--help"), check=True, capture_output=True, text=True)
    assert "Usage:" in told.stdout


def test_a_blob_that_was_changed_is_refused(app: Built, tmp_path: Path):
    copy = shutil.copytree(app.folder, tmp_path / "app")
    config = copy / "blobs" / "sha256" / json.loads(_manifest(copy))["config"]["digest"].removeprefix("sha256:")
    config.write_text(config.read_text().replace("10001", "0"))
    with pytest.raises(ValueError, match="build the image again"):
        Layout(copy)


def _manifest(folder: Path) -> str:
    [found] = json.loads((folder / "index.json").read_text())["manifests"]
    return (folder / "blobs" / "sha256" / found["digest"].removeprefix("sha256:")).read_text()
