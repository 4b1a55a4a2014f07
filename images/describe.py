"""What is in an image and where it comes from: `python -m images.describe var/images/app ...`.

Beside each OCI layout stand then `<target>.cdx.json`, a CycloneDX list of every Python and Debian package that the image's own
files name, and `<target>.provenance.json`, an in-toto statement of what it was built from. The statement is not signed: it says
what this machine says. BuildKit in a workflow makes one beside it that a registry keeps.
"""

import hashlib
import json
import sys
import uuid
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import quote

from packaging.utils import canonicalize_name

from images.layout import Layout

ROOT = Path(__file__).resolve().parents[1]
LOCKS = {"app": "app", "training": "training", "mlflow": "tracking"}
DPKG, SYSTEM = "var/lib/dpkg/status", "usr/lib/os-release"


def inventory(layout: Layout) -> dict[str, Any]:
    """The packages as CycloneDX 1.6, the same for the same image."""
    labels, held = layout.labels, list(components(layout))
    image = {"type": "container", "name": labels["title"], "version": layout.digest, "bom-ref": labels["title"]}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_OID, layout.digest).urn,
        "metadata": {"timestamp": labels["created"], "component": image},
        "components": held,
        "dependencies": [{"ref": labels["title"], "dependsOn": [each["bom-ref"] for each in held]}],
    }


def components(layout: Layout) -> Iterator[dict[str, Any]]:
    """Every package of Python and of Debian that the image's files say is installed, and which file says so."""
    files = layout.files(lambda path: path.endswith(".dist-info/METADATA") or path.startswith(DPKG) or path == SYSTEM)
    lines = files.get(SYSTEM, b"ID=debian").decode().splitlines()
    system = dict(line.replace('"', "").split("=", 1) for line in lines if "=" in line)
    for path, content in sorted(files.items()):
        if path.endswith("/METADATA"):
            told = message_from_bytes(content)
            name = canonicalize_name(told["Name"])
            yield _component(name, told["Version"], f"pkg:pypi/{name}@{quote(told['Version'])}", path, _licences(told))
        elif path == DPKG or path.startswith(f"{DPKG}.d/"):
            for told in map(message_from_bytes, content.strip().split(b"\n\n")):
                # Of what was removed a line may remain.
                if "installed" in told["Status"].split():
                    distribution = f"{system['ID']}-{system.get('VERSION_ID', '')}".rstrip("-")
                    where = f"{quote(told['Version'])}?arch={told['Architecture']}&distro={distribution}"
                    yield _component(
                        told["Package"], told["Version"], f"pkg:deb/{system['ID']}/{told['Package']}@{where}", path, []
                    )


def _component(name: str, version: str, purl: str, path: str, licences: list[dict[str, Any]]) -> dict[str, Any]:
    # One that is there twice, as pip may be, is told apart by its place.
    found = {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": f"{purl}#{path}"}
    return found | {"evidence": {"occurrences": [{"location": path}]}} | ({"licenses": licences} if licences else {})


def _licences(told: Message) -> list[dict[str, Any]]:
    """The expression that newer packages give; else the names in the classifiers; else the first line of the free text."""
    if expression := told["License-Expression"]:
        return [{"expression": expression}]
    classified = [each.rsplit(" :: ", 1)[1] for each in told.get_all("Classifier", []) if each.startswith("License :: ")]
    names = [each for each in classified if each != "OSI Approved"] or (told["License"] or "").strip().split("\n")[:1]
    return [{"license": {"name": name}} for name in names if name]


def provenance(layout: Layout, target: str) -> dict[str, Any]:
    """What the image was built from, as an in-toto statement with SLSA's predicate, version 1."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": layout.labels["title"], "digest": dict([layout.digest.split(":", 1)])}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:churn:make-image:1",
                "externalParameters": {
                    "dockerfile": "Dockerfile",
                    "target": target,
                    "platform": f"{layout.config['os']}/{layout.config['architecture']}",
                },
                "resolvedDependencies": list(_inputs(layout.labels, target)),
            },
            # Whoever ran make: nobody vouches for that machine.
            "runDetails": {"builder": {"id": "urn:churn:unsigned"}},
        },
    }


def _inputs(labels: dict[str, str], target: str) -> Iterator[dict[str, Any]]:
    commit, _, changed = labels["revision"].partition("-")
    source: dict[str, Any] = {"uri": f"git+{labels.get('source', 'file:.')}", "digest": {"gitCommit": commit}}
    # The commit alone does not say then what was built.
    yield source | ({"annotations": {"uncommittedChanges": True}} if changed else {})
    pinned = {"digest": dict([labels["base.digest"].split(":", 1)])} if "base.digest" in labels else {}
    yield {"uri": f"docker:{labels['base.name']}", **pinned}
    # They hold each package's hash, and nothing with another one is installed; dev.lock has uv itself.
    for lock in (LOCKS[target], "dev"):
        path = Path("requirements", f"{lock}.lock")
        yield {"name": str(path), "digest": {"sha256": hashlib.sha256((ROOT / path).read_bytes()).hexdigest()}}


def main(folders: list[str]) -> int:
    """Write both files beside each layout, and print its digest."""
    for folder in map(Path, folders):
        layout = Layout(folder)
        for kind, content in (("cdx", inventory(layout)), ("provenance", provenance(layout, folder.name))):
            folder.with_suffix(f".{kind}.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        sys.stdout.write(f"{layout.digest} {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
