"""`python -m stacks.local_load`: bring images to the local stack's cluster, and the bundles of its release onto its volume.

Before the first `pulumi up` or after it, and as often as you like. Exit codes: 0 done, 2 something is missing, here or there.
"""

import argparse
import io
import json
import shlex
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from app.bundle import BundleError, fetch_bundle
from app.release import Release
from images.layout import Layout
from stacks.config import ROOT, LocalConfig, read
from stacks.live import live_on
from stacks.names import INFERENCE, NAMESPACE
from stacks.plan import plan
from stacks.reading import ConfigError
from stacks.tracking_pods import script
from stacks.values import PlanError, changes_of, values_of
from stacks.volume import BUNDLES, CLAIM

STACK = "local"
# What has to be there before a pod can have the volume. The stack takes over what it finds.
NEEDED = (("Namespace", NAMESPACE), ("ServiceAccount", INFERENCE.name), ("PersistentVolumeClaim", CLAIM))
POD = "local-load"
POD_SECONDS = 600
Manifest = dict[str, Any]


class LoadError(ValueError):
    """What is missing, and what brings it."""


def load(release: Path | None, made: Path, take_in: Sequence[str] | None) -> Iterator[str]:
    """Bring what is in `made`, below `bundles` and `images`, a line for each. Raises LoadError and what reading raises."""
    changes = changes_of(release, [])
    config = read(STACK, values_of(STACK) | changes)
    live = live_on(config)
    if live is None:
        raise LoadError(f"releases/{STACK}.json is not there; run `make model`, which trains and releases on {STACK}")
    if not isinstance(config.base, LocalConfig):
        raise LoadError(f"Pulumi.{STACK}.yaml is of AWS; give `churn:platform: kubeconfig`")
    # Before anything is brought: nothing of it is of use without the rest.
    bundles = _packed(live.release, made / "bundles")
    images = {config.base.mlflow_image: _layout(made / "images" / "mlflow")}
    if not live.release.image:
        # One that the release names is in a registry, where the cluster finds it.
        images[live.image] = _layout(made / "images" / "app")
    command = take_in or _loader(config.base.context)
    declared = {_key(each.inputs): each.inputs for each in plan(STACK, changes).resources if "kind" in each.inputs}
    cluster = Cluster(config.base.context)
    for each in NEEDED:
        cluster.create(declared[each])
    for name, layout in images.items():
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder, "image.tar")
            layout.save(name, archive)
            _run([*command, str(archive)])
        yield f"image {name}"
    yield cluster.receive(waiting(declared["Deployment", INFERENCE.name]), bundles)


def _key(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _packed(release: Release, store: Path) -> bytes:
    """The release's bundles as a tar. Raises LoadError for one that is not there, BundleError for one that is not whole."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for digest in sorted({each.bundle_digest for each in release.variants}):
            try:
                fetch_bundle(store.as_uri(), digest)
            except BundleError as exc:
                bring = f"make champion STACK={STACK} BUNDLES=<its store>"
                raise LoadError(f"{exc}\ntrain it here (`make model`), or bring it from where it is (`{bring}`)") from exc
            archive.add(store / digest, digest)
    return packed.getvalue()


def _layout(folder: Path) -> Layout:
    try:
        return Layout(folder)
    except (OSError, ValueError) as exc:
        raise LoadError(f"{folder} holds no image: {exc}; run `make image`") from exc


def _loader(context: str) -> list[str]:
    """The command that takes an archive of an image into the cluster of a context."""
    kind, _, name = context.partition("-")
    if kind != "kind":
        raise LoadError(
            f"how {context} takes in an image is not known here; give a command that an archive can be added to, "
            'such as LOAD="minikube image load", or LOAD=true if its nodes have the images'
        )
    return ["kind", "load", "image-archive", "--name", name]


def waiting(deployment: Manifest) -> Manifest:
    """A pod with the service's image, rights and volume, which does nothing for some minutes and is gone afterwards."""
    spec = deployment["spec"]["template"]["spec"]
    volumes = [each for each in spec["volumes"] if "downwardAPI" not in each]
    [service] = spec["containers"]
    container = {
        **{key: service[key] for key in ("image", "imagePullPolicy", "securityContext", "resources")},
        "name": POD,
        "command": ["python", "-c", f"import time; time.sleep({POD_SECONDS})"],
        "volumeMounts": [each for each in service["volumeMounts"] if each["name"] in {volume["name"] for volume in volumes}],
    }
    kept = ("automountServiceAccountToken", "enableServiceLinks", "securityContext", "serviceAccountName")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        # Without the service's labels: nobody sends it a request.
        "metadata": {"name": POD, "namespace": NAMESPACE},
        "spec": {
            **{key: spec[key] for key in kept},
            "restartPolicy": "Never",
            # Even if this command is ended before it can remove it.
            "activeDeadlineSeconds": POD_SECONDS,
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "volumes": volumes,
        },
    }


class Cluster:
    """The cluster of a context, by kubectl."""

    def __init__(self, context: str) -> None:
        self._kubectl = ["kubectl", "--context", context]
        self._in_namespace = [*self._kubectl, "--namespace", NAMESPACE]

    def create(self, manifest: Manifest) -> None:
        """Make the object, or leave the one that is there as it is."""
        try:
            _run([*self._kubectl, "create", "-f", "-"], json.dumps(manifest).encode())
        except LoadError as exc:
            if "(AlreadyExists)" not in str(exc):
                raise

    def receive(self, pod: Manifest, bundles: bytes) -> str:
        """Put the bundles onto the volume by the pod, which comes and goes for it; what it said."""
        remove = [*self._in_namespace, "delete", "pod", POD, "--ignore-not-found"]
        _run(remove)
        self.create(pod)
        try:
            self._wait()
            # What the text says is done there, with what `app` is in the image.
            inside = ["python", "-c", script("receive.py"), BUNDLES]
            return _run([*self._in_namespace, "exec", "--stdin", POD, "--", *inside], bundles).strip()
        finally:
            _run([*remove, "--wait=false"])

    def _wait(self) -> None:
        try:
            _run([*self._in_namespace, "wait", "--for=condition=Ready", f"pod/{POD}", "--timeout=180s"])
        except LoadError as exc:
            events = f"kubectl -n {NAMESPACE} get events --field-selector involvedObject.name={POD}"
            raise LoadError(f"{exc}\nits pod does not start; `{events}` says why") from exc


def _run(command: Sequence[str], given: bytes = b"") -> str:
    """What the command printed. Raises LoadError with its own words."""
    try:
        return subprocess.run(command, input=given, capture_output=True, check=True).stdout.decode()  # noqa: S603 - ours, or the user's own
    except FileNotFoundError as exc:
        raise LoadError(f"{command[0]} is not on PATH; install it") from exc
    except subprocess.CalledProcessError as exc:
        raise LoadError((exc.stderr or exc.stdout).decode().strip()) from exc


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring it and say what; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stacks.local_load", description="Fill the local stack's cluster.")
    parser.add_argument("--release", type=Path, metavar="FILE", help=f"a release to load for; releases/{STACK}.json unless given")
    parser.add_argument("--from", dest="made", type=Path, metavar="DIR", default=ROOT / "var", help="has bundles and images; var")
    parser.add_argument("--load", type=shlex.split, metavar="COMMAND", help="takes in an image's archive; kind's unless given")
    asked = parser.parse_args(arguments)
    try:
        for line in load(asked.release, asked.made, asked.load):
            sys.stdout.write(f"{line}\n")
    except (ConfigError, LoadError, PlanError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
