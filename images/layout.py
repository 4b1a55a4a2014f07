"""An image as an OCI layout, a folder of blobs under their digests: its configuration and its files, without running it."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
# https://github.com/containerd/containerd/blob/main/core/images/annotations.go
NAME = "io.containerd.image.name"
INDEX_TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")


class Layout:
    """The one image in a layout. Reading a blob that does not have its digest raises ValueError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        index = json.loads((folder / "index.json").read_text())
        while True:
            # Attestations that BuildKit puts beside an image have the platform "unknown".
            found = [each for each in index["manifests"] if each.get("platform", {}).get("os") != "unknown"]
            if len(found) != 1:
                raise ValueError(f"{folder} holds {len(found)} images; give the layout of one")
            self.digest: str = found[0]["digest"]
            index = manifest = self._json(self.digest)
            if found[0]["mediaType"] not in INDEX_TYPES:
                break
        self.config: dict[str, Any] = self._json(manifest["config"]["digest"])
        self._layers: list[str] = [each["digest"] for each in manifest["layers"]]

    @property
    def labels(self) -> dict[str, str]:
        """The image's labels, those of OCI without their common beginning."""
        found: dict[str, str] = self.config["config"].get("Labels") or {}
        return {name.removeprefix("org.opencontainers.image."): value for name, value in found.items()}

    def files(self, wanted: Callable[[str], bool]) -> dict[str, bytes]:
        """The regular files whose path from the root is wanted, as the layers leave them: later ones replace and remove."""
        kept: dict[str, bytes] = {}
        for archive, member in self._members():
            path = PurePosixPath(member.name)
            gone = str(path.parent) if path.name == OPAQUE else str(path.parent / path.name.removeprefix(WHITEOUT))
            if path.name.startswith(WHITEOUT):
                kept = {name: content for name, content in kept.items() if name != gone and not name.startswith(f"{gone}/")}
            elif wanted(str(path)) and (content := archive.extractfile(member) if member.isfile() else None):
                kept[str(path)] = content.read()
        return kept

    def unpack(self, folder: Path) -> None:
        """Lay the files out below `folder`, with their owners where this process may."""
        for archive, member in self._members():
            path = folder / member.name
            if path.name.startswith(WHITEOUT):
                raise ValueError(f"{member.name} removes something; only an image that adds can be unpacked")
            archive.extract(member, folder, filter="fully_trusted")

    def save(self, name: str, archive: Path) -> None:
        """Write the layout as an archive that container runtimes take in under `name`."""
        index = json.loads((self._folder / "index.json").read_text())
        for each in index["manifests"]:
            each["annotations"] = {**each.get("annotations", {}), NAME: name}
        text = json.dumps(index).encode()
        with tarfile.open(archive, "w") as into:
            for part in ("oci-layout", "blobs"):
                into.add(self._folder / part, part)
            member = tarfile.TarInfo("index.json")
            member.size = len(text)
            into.addfile(member, io.BytesIO(text))

    def _members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        for digest in self._layers:
            with tarfile.open(self._blob(digest)) as archive:
                for member in archive:
                    yield archive, member

    def _blob(self, digest: str) -> Path:
        algorithm, _, value = digest.partition(":")
        path = self._folder / "blobs" / algorithm / value
        with path.open("rb") as content:
            if (actual := hashlib.file_digest(content, algorithm).hexdigest()) != value:
                raise ValueError(f"{path} has the digest {actual}; build the image again")
        return path

    def _json(self, digest: str) -> dict[str, Any]:
        return json.loads(self._blob(digest).read_text())
