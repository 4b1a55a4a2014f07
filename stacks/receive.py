"""What takes bundles in on the local stack's volume: a tar of folders with their digests as names, from standard input.

It runs as a text in a pod of the service, whose image has Python and `app` and no tar; see stacks/local_load.py. Each bundle is
verified before it is moved to its place, whole; what is at its place already stays as it is, and is verified as well.
"""

import sys
import tarfile
import tempfile
from pathlib import Path
from typing import BinaryIO

from app.bundle import BundleError, fetch_bundle


def receive(stream: BinaryIO, store: Path) -> None:
    """Put each bundle into the store, and say of each in a line what was done. Raises BundleError, OSError, tarfile.TarError."""
    store.mkdir(parents=True, exist_ok=True)
    # On the volume itself, as a folder is moved in one step within one file system only.
    with tempfile.TemporaryDirectory(dir=store) as arrived:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            # What would lead out of the folder, or is no plain file or folder, is an error.
            archive.extractall(arrived, filter="data")
        for folder in sorted(Path(arrived).iterdir()):
            there = (store / folder.name).exists()
            fetch_bundle((store if there else folder.parent).as_uri(), folder.name)
            if not there:
                folder.rename(store / folder.name)
            sys.stdout.write(f"bundle {folder.name}: {'there already' if there else 'put there'}\n")


if __name__ == "__main__":
    try:
        receive(sys.stdin.buffer, Path(sys.argv[1]))
    except (BundleError, OSError, tarfile.TarError) as exc:
        sys.exit(str(exc))
