"""Which variant answers a customer: the same one every time, in the proportions of the release."""

import hashlib
import math
from collections.abc import Sequence

from app.release import Variant


def assign(variants: Sequence[Variant], unit: str) -> Variant:
    """The variant that answers `unit` (a customer id, or a request's own id where there is none).

    Weighted rendezvous hashing: a customer moves only to a variant that has gained weight beside the one that it leaves. Of two
    variants as few customers move as the weights do. The salt is the bundle digest, so that other bundles draw customers anew.
    """
    answering = [variant for variant in variants if variant.weight_percent > 0]
    if len(answering) == 1:
        return answering[0]
    return max(answering, key=lambda variant: _score(variant, unit))


def _score(variant: Variant, unit: str) -> float:
    digest = hashlib.blake2b(unit.encode(), key=variant.bundle_digest.encode(), digest_size=8).digest()
    # Strictly between 0 and 1, so that the logarithm is finite and negative.
    uniform = (int.from_bytes(digest) + 0.5) / 2**64
    return -variant.weight_percent / math.log(uniform)
