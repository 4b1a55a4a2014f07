"""What the local stack needs, brought to a cluster that programs on PATH play; what a pod would run runs here for real."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.release import Image, encode_release
from stacks.local_load import main
from tests.app.support import bundle_files, write_bundle
from tests.image.test_layout import Written
from tests.releases import IMAGE, make_release, make_variant

RECEIVE = Path(__file__).parents[2] / "stacks" / "receive.py"
# Each call is a line of LOG, with what was given to it. What exists already is in THERE, what does not work in BROKEN.
KUBECTL = """#!/bin/sh
echo "kubectl $*" | head -n 1 >> "$LOG"
case "$*" in
  *" $BROKEN "*) echo "error: $BROKEN does not work" >&2; exit 1 ;;
  *" create "*)
    cat >> "$LOG"; echo >> "$LOG"
    [ -z "$THERE" ] || { echo 'Error from server (AlreadyExists): it exists' >&2; exit 1; } ;;
  *" exec "*)
    while [ "$1" != -- ]; do shift; done
    exec "$PYTHON" "$3" "$4" "$VOLUME$5" ;;
esac
"""
KIND = """#!/bin/sh
echo "kind $*" >> "$LOG"
for archive; do :; done
cp "$archive" "$LOG.$(grep -c "^kind" "$LOG").tar"
"""


@dataclass(frozen=True)
class Local:
    """A release, what was made for it, and a cluster."""

    root: Path
    digest: str

    def __call__(self, *arguments: str) -> int:
        return main(["--release", str(self.root / "local.json"), "--from", str(self.root), *arguments])

    def release(self, image: Image | None) -> None:
        made = make_release(image=image, variants=(make_variant(bundle_digest=self.digest),))
        (self.root / "local.json").write_bytes(encode_release(made))

    @property
    def calls(self) -> list[str]:
        return (self.root / "log").read_text().splitlines()

    @property
    def created(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.calls if line.startswith("{")]

    @property
    def volume(self) -> Path:
        return self.root / "volume/var/churn/bundles"


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Local:
    for target in ("app", "mlflow"):
        layout = Written(tmp_path / "images" / target)
        layout.index(layout.image({"a": target.encode()}))
        (layout.folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    for name, text in (("kubectl", KUBECTL), ("kind", KIND)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    told = {"LOG": tmp_path / "log", "VOLUME": tmp_path / "volume", "PYTHON": sys.executable, "BROKEN": "none", "THERE": ""}
    for name, value in (told | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}).items():
        monkeypatch.setenv(name, str(value))
    made = Local(tmp_path, write_bundle(tmp_path / "bundles", bundle_files()))
    made.release(None)
    return made


def named(archive: Path) -> str:
    with tarfile.open(archive) as content:
        index = content.extractfile("index.json")
        assert index
        [manifest] = json.load(index)["manifests"]
        assert f"blobs/sha256/{manifest['digest'].removeprefix('sha256:')}" in content.getnames()
    return manifest["annotations"]["io.containerd.image.name"]


def test_images_and_bundles_are_where_the_local_stack_looks_for_them(local: Local, capsys: pytest.CaptureFixture[str]):
    assert local() == 0
    assert {path.name: path.read_bytes() for path in (local.volume / local.digest).iterdir()} == bundle_files()
    # The names that Pulumi.local.yaml has.
    archives = sorted(local.root.glob("log.*.tar"))
    assert {named(each) for each in archives} == {"localhost/churn-app:latest", "localhost/churn-mlflow:latest"}
    assert all("--name churn " in call for call in local.calls if call.startswith("kind "))
    assert f"bundle {local.digest}: put there" in capsys.readouterr().out


def test_what_a_pod_needs_is_made_as_the_stack_declares_it_and_the_pod_goes_again(local: Local):
    assert local() == 0
    *first, pod = local.created
    assert [each["kind"] for each in first] == ["Namespace", "ServiceAccount", "PersistentVolumeClaim"]
    assert first[-1]["spec"]["storageClassName"] == "standard"
    assert "labels" not in pod["metadata"]
    [container] = pod["spec"]["containers"]
    assert container["image"] == "localhost/churn-app:latest"
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert {each["mountPath"] for each in container["volumeMounts"]} == {"/tmp", "/var/churn"}  # noqa: S108 - the container's own
    assert "delete pod local-load" in local.calls[-1]


def test_once_more_everything_is_there_already(local: Local, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert local() == 0
    before = {path: path.stat().st_mtime_ns for path in local.volume.rglob("*")}
    monkeypatch.setenv("THERE", "yes")
    assert local() == 0
    assert f"bundle {local.digest}: there already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in local.volume.rglob("*")} == before


def test_an_image_that_the_release_names_is_left_to_the_registry_and_another_cluster_has_a_loader(local: Local):
    local.release(IMAGE)
    shutil.rmtree(local.root / "images" / "app")
    assert local("--load", "kind other") == 0
    assert [call.split()[:2] for call in local.calls if call.startswith("kind")] == [["kind", "other"]]
    assert local.created[-1]["spec"]["containers"][0]["image"] == f"{IMAGE.repository}@{IMAGE.digest}"


MISSING = {
    "no release": (lambda local: (local.root / "local.json").unlink(), "churn promote --stack local"),
    "no bundle": (lambda local: shutil.rmtree(local.root / "bundles"), "make model"),
    "a bundle that was changed": (
        lambda local: (local.root / "bundles" / local.digest / "model.onnx").write_bytes(b"another"),
        "model.onnx was changed",
    ),
    "no image": (lambda local: shutil.rmtree(local.root / "images" / "mlflow"), "run `make image`"),
    "no kubectl": (lambda _: os.environ.update(PATH="/nowhere"), "kubectl is not on PATH; install it"),
    "no cluster": (lambda _: os.environ.update(BROKEN="create"), "create does not work"),
    "a pod that does not start": (lambda _: os.environ.update(BROKEN="wait"), "get events"),
}


@pytest.mark.parametrize(("broken", "told"), MISSING.values(), ids=MISSING)
def test_what_is_missing_is_named_with_what_brings_it(broken: Any, told: str, local: Local, capsys: pytest.CaptureFixture[str]):
    broken(local)
    assert local() == 2
    assert told in capsys.readouterr().err
    assert not local.volume.exists()


def test_a_cluster_that_is_not_there_is_named_by_kubectl_itself(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "bin" / "kubectl").unlink()
    if not shutil.which("kubectl"):
        pytest.skip("`kubectl` is not on PATH: install it to see what it says")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert local() == 2
    assert "kind-churn" in capsys.readouterr().err


def received(store: Path, bundles: bytes) -> subprocess.CompletedProcess[bytes]:
    """The end of the program that takes bundles in."""
    command = [sys.executable, "-c", RECEIVE.read_text(), str(store)]
    return subprocess.run(command, input=bundles, capture_output=True, check=False)


def packed(digest: str, files: dict[str, bytes]) -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{digest}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return into.getvalue()


@pytest.mark.parametrize("broken", ["changed", "cut off", "no tar"])
def test_a_bundle_that_does_not_arrive_whole_leaves_nothing(local: Local, broken: str):
    files = bundle_files()
    sent = {
        "changed": packed(local.digest, files | {"card.md": b"another"}),
        "cut off": packed(local.digest, files)[:2000],
        "no tar": b"no tar",
    }
    ended = received(local.volume, sent[broken])
    assert ended.returncode == 1
    assert b"Traceback" not in ended.stderr
    assert list(local.volume.iterdir()) == []


@pytest.mark.parametrize("folder", ["..", "../..", "/etc"])
def test_what_leads_out_of_the_volume_is_refused(folder: str, local: Local):
    ended = received(local.volume, packed(folder, {"churn-test": b"x"}))
    assert (ended.returncode, b"Traceback" in ended.stderr) == (1, False)
    assert not list(local.volume.parent.rglob("churn-test"))


def test_what_stands_at_a_bundles_place_is_never_written_over(local: Local):
    write_bundle(local.volume, bundle_files())
    (local.volume / local.digest / "card.md").write_bytes(b"another")
    ended = received(local.volume, packed(local.digest, bundle_files()))
    assert (ended.returncode, b"card.md was changed" in ended.stderr) == (1, True)
    assert (local.volume / local.digest / "card.md").read_bytes() == b"another"
