"""Where each zone's subnets lie in the VPC's range."""

from ipaddress import IPv4Network
from typing import Literal

# Balancers and NAT; nodes and pods; the database.
Tier = Literal["public", "private", "data"]
TIERS: tuple[Tier, ...] = ("public", "private", "data")
SLOTS = "abcdefgh"


def zone_subnets(vpc: IPv4Network, zone: str) -> dict[Tier, IPv4Network]:
    """The subnets of a zone, which depend on its letter alone: adding or removing another zone moves none of them.

    The VPC is cut into eight slots, a to h. Half of a slot is private, an eighth public, a sixteenth data, the rest is spare;
    of a /16 that is a /20, a /22 and a /23.
    """
    slot = list(vpc.subnets(prefixlen_diff=3))[SLOTS.index(zone[-1])]
    private, rest = slot.subnets()
    public, second, _, _ = rest.subnets(prefixlen_diff=2)
    data, _ = second.subnets()
    return {"public": public, "private": private, "data": data}
