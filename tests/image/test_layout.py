import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from images.describe import components, provenance
from images.layout import Layout

DEBIAN = b"Package: bash\nStatus: install ok installed\nVersion: 5.2+b1\nArchitecture: amd64\n\n"
REMOVED = b"Package: apt\nStatus: deinstall ok config-files\nVersion: 2.6\nArchitecture: amd64\n"


class Written:
    """A layout that is put together by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)

    def blob(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / "sha256" / digest).write_bytes(content)
        return f"sha256:{digest}"

    def layer(self, files: Mapping[str, bytes]) -> str:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as into:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                into.addfile(member, io.BytesIO(content))
        return self.blob(archive.getvalue())

    def image(self, *layers: Mapping[str, bytes], **labels: str) -> str:
        told = {f"org.opencontainers.image.{name.replace('_', '.')}": value for name, value in labels.items()}
        config = {"os": "linux", "architecture": "arm64", "config": {"Labels": told}}
        manifest = {
            "config": {"digest": self.blob(json.dumps(config).encode())},
            "layers": [{"digest": self.layer(files)} for files in layers],
        }
        return self.blob(json.dumps(manifest).encode())

    def index(self, *digests: str, kind: str = "manifest", **platform: str) -> bytes:
        media = f"application/vnd.oci.image.{kind}.v1+json"
        listed = [{"mediaType": media, "digest": each, **({"platform": platform} if platform else {})} for each in digests]
        content = json.dumps({"manifests": listed}).encode()
        (self.folder / "index.json").write_bytes(content)
        return content


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def everything(written: Written) -> dict[str, bytes]:
    return Layout(written.folder).files(lambda _: True)


def test_a_later_layer_replaces_and_removes_what_an_earlier_one_has(written: Written):
    first = {"a": b"1", "b": b"1", "c/d": b"1", "e/f": b"1", "ef": b"1"}
    second = {"a": b"2", ".wh.b": b"", "c/.wh..wh..opq": b"", "c/g": b"2", ".wh.e": b""}
    written.index(written.image(first, second))
    assert everything(written) == {"a": b"2", "c/g": b"2", "ef": b"1"}


def test_an_image_is_found_through_the_index_of_its_platforms(written: Written):
    image = written.image({"a": b"1"})
    written.index(written.blob(written.index(image, os="linux")), kind="index")
    assert (everything(written), Layout(written.folder).digest) == ({"a": b"1"}, image)


def test_a_layout_of_two_images_is_refused(written: Written):
    written.index(written.image({"a": b"1"}), written.image({"a": b"2"}))
    with pytest.raises(ValueError, match="holds 2 images; give the layout of one"):
        Layout(written.folder)


def test_packages_are_found_where_debian_and_distroless_images_list_them(written: Written):
    package = b"Name: Some.Package\nVersion: 1.0\nLicense-Expression: MIT\n\nAll about it."
    files = {
        "venv/x/some_package-1.0.dist-info/METADATA": package,
        "var/lib/dpkg/status": DEBIAN + REMOVED,
        "var/lib/dpkg/status-old": DEBIAN,
        "var/lib/dpkg/status.d/libc6": DEBIAN.replace(b"bash", b"libc6"),
        "usr/lib/os-release": b'ID=debian\nVERSION_ID="12"\n\n',
    }
    written.index(written.image(files))
    found = {each["purl"]: each.get("licenses") for each in components(Layout(written.folder))}
    assert found == {
        "pkg:pypi/some-package@1.0": [{"expression": "MIT"}],
        "pkg:deb/debian/bash@5.2%2Bb1?arch=amd64&distro=debian-12": None,
        "pkg:deb/debian/libc6@5.2%2Bb1?arch=amd64&distro=debian-12": None,
    }


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("Classifier: License :: OSI Approved :: MIT License\nLicense: long text", ["MIT License"]),
        ("Classifier: License :: OSI Approved\nLicense: BSD\n more of it", ["BSD"]),
        ("Summary: none", []),
    ],
    ids=["classifier", "free text", "none"],
)
def test_a_licence_is_read_from_wherever_a_package_tells_it(written: Written, told: str, wanted: list[str]):
    written.index(written.image({"venv/x.dist-info/METADATA": f"Name: x\nVersion: 1\n{told}\n".encode()}))
    [found] = components(Layout(written.folder))
    assert [each["license"]["name"] for each in found.get("licenses", [])] == wanted


def test_provenance_says_that_what_was_built_was_not_committed(written: Written):
    base = {"base_name": "python:3.11", "base_digest": f"sha256:{'b' * 64}", "title": "churn-app"}
    written.index(written.image({}, revision=f"{'c' * 40}-dirty", **base))
    definition = provenance(Layout(written.folder), "app")["predicate"]["buildDefinition"]
    source, pinned, *_ = definition["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": "c" * 40}
    assert source["annotations"] == {"uncommittedChanges": True}
    assert pinned == {"uri": "docker:python:3.11", "digest": {"sha256": "b" * 64}}
    assert definition["externalParameters"]["platform"] == "linux/arm64"
