from ipaddress import IPv4Network
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from stacks.subnets import SLOTS, zone_subnets

vpcs = st.builds(
    lambda prefix, block: list(IPv4Network("10.0.0.0/12").subnets(new_prefix=prefix))[block],
    st.integers(16, 20),
    st.integers(0, 15),
)
zones = st.lists(st.sampled_from(SLOTS), min_size=1, unique=True).map(lambda letters: [f"eu-west-1{each}" for each in letters])


@given(vpcs, zones)
def test_subnets_lie_in_the_vpc_and_overlap_nowhere(vpc: IPv4Network, zones: list[str]):
    subnets = [subnet for zone in zones for subnet in zone_subnets(vpc, zone).values()]
    assert all(subnet.subnet_of(vpc) for subnet in subnets)
    assert not any(one.overlaps(other) for one, other in combinations(subnets, 2))


@given(vpcs)
def test_every_subnet_has_room_for_what_it_is_for(vpc: IPv4Network):
    subnets = zone_subnets(vpc, "eu-west-1h")
    # A balancer wants a /27, AWS gives nothing below a /28, a pod takes an address of the private subnet.
    assert subnets["public"].prefixlen <= 27
    assert subnets["data"].prefixlen <= 28
    assert subnets["private"].prefixlen <= 24
