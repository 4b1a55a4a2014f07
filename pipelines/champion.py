"""What is live on a stack, for commands that run where it does not: `python -m pipelines.champion STACK`.

It prints the champion's digest; with `--bundles STORE` the bundles of the release are brought into var/bundles first, every byte
checked. Where nothing is live, or what is live is of another contract than this code and so tells nothing of it, it does neither.
"""

import argparse
import sys
from typing import get_args

from app.bundle import FILES, MANIFEST, BundleError, open_bundle
from app.contract import CONTRACT_DIGEST
from app.release import ReleaseError, Stack
from training.files import write_whole
from training.history import current
from training.home import Home
from training.locations import TableError, child_of, read_bytes


def bring(home: Home, store: str, digest: str) -> None:
    """Copy the bundle from the store into var/bundles. Raises BundleError, TableError, FileNotFoundError."""
    place = child_of(store, digest)
    content = {name: read_bytes(child_of(place, name)) for name in (*FILES, MANIFEST)}
    open_bundle(content, digest, place)
    for name, each in content.items():
        write_whole(home.bundle(digest) / name, each)


def main() -> None:
    """Print the digest; exit 2 with the reason if the release or a bundle cannot be had."""
    parser = argparse.ArgumentParser(description="The digest of the champion that is live on a stack.")
    parser.add_argument("stack", choices=get_args(Stack))
    parser.add_argument("--bundles", metavar="STORE", help="bring the release's bundles from there")
    given = parser.parse_args()
    home = Home()
    try:
        live = current(home, given.stack)
        if live and live.champion.evidence.contract_digest != CONTRACT_DIGEST:
            live = None
        for each in live.variants if live and given.bundles else ():
            bring(home, given.bundles, each.bundle_digest)
    except (BundleError, ReleaseError, TableError, FileNotFoundError) as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)
    if live:
        sys.stdout.write(f"{live.champion.bundle_digest}\n")


if __name__ == "__main__":
    main()
