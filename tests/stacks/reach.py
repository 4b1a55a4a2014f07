"""Whether NetworkPolicies, as they are given to Kubernetes, let a connection through."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Manifest = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A pod, or, without a namespace, something outside of the cluster."""

    address: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def reaches(policies: Sequence[Manifest], source: Place, target: Place, port: int, protocol: str = "TCP") -> bool:
    """A connection has to be let out of where it begins and into where it ends."""
    return _passes(policies, "Egress", source, target, (port, protocol)) and _passes(
        policies, "Ingress", target, source, (port, protocol)
    )


def _passes(policies: Sequence[Manifest], way: str, place: Place, other: Place, door: tuple[int, str]) -> bool:
    """Without a policy that is about the place everything passes, with one or more what one of them lets through."""
    about = [each["spec"] for each in policies if way in each["spec"]["policyTypes"] and _is_about(each, place)]
    rules = [rule for spec in about for rule in spec.get(way.lower(), [])]
    return not about or any(_matches(rule, way, other, door) for rule in rules)


def _is_about(policy: Manifest, place: Place) -> bool:
    return policy["metadata"]["namespace"] == place.namespace and _selects(policy["spec"]["podSelector"], place.labels)


def _matches(rule: Manifest, way: str, other: Place, door: tuple[int, str]) -> bool:
    peers = rule["to" if way == "Egress" else "from"]
    return any((each["port"], each["protocol"]) == door for each in rule["ports"]) and any(_is(each, other) for each in peers)


def _is(peer: Manifest, place: Place) -> bool:
    if "ipBlock" in peer:
        # As on EKS, where a pod's address is one of the VPC like any other.
        return ip_address(place.address) in ip_network(peer["ipBlock"]["cidr"])
    named = {"kubernetes.io/metadata.name": place.namespace} if place.namespace else {}
    return _selects(peer["namespaceSelector"], named) and _selects(peer.get("podSelector", {}), place.labels)


def _selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}
    return selector.get("matchLabels", {}).items() <= labels.items()
