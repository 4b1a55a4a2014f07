"""The way into the cluster: an Application Load Balancer that the AWS Load Balancer Controller makes of an Ingress."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import (
    HTTPIngressPathArgs,
    HTTPIngressRuleValueArgs,
    IngressBackendArgs,
    IngressRuleArgs,
    IngressServiceBackendArgs,
    IngressSpecArgs,
    ServiceBackendPortArgs,
)

from stacks.names import INFERENCE

# Below the 75 s for which app/__main__.py keeps a connection, or the balancer would send requests into closing ones.
IDLE_TIMEOUT_SECONDS = 60
# By then the requests that were under way are answered: they take milliseconds.
DEREGISTRATION_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Balancer:
    """Where it stands, who may call it, and the stack's tags, which no AWS provider gives to what a controller makes."""

    subnet_ids: Sequence[pulumi.Input[str]]
    inbound_cidrs: Sequence[str]
    tags: Mapping[str, str]


def ingress_metadata(balancer: Balancer, namespace: pulumi.Input[str], host: str) -> ObjectMetaArgs:
    """Name and settings; each is in https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/."""
    settings: dict[str, pulumi.Input[str]] = {
        "scheme": "internal",
        # Balance over pods rather than nodes, which would balance again.
        "target-type": "ip",
        "subnets": pulumi.Output.all(*balancer.subnet_ids).apply(_joined),
        "inbound-cidrs": ",".join(balancer.inbound_cidrs),
        "tags": ",".join(f"{key}={value}" for key, value in balancer.tags.items()),
        "listen-ports": json.dumps([{"HTTPS": 443} if host else {"HTTP": 80}]),
        "healthcheck-path": "/readyz",
        "healthcheck-interval-seconds": "10",
        "healthcheck-timeout-seconds": "2",
        "healthy-threshold-count": "2",
        "unhealthy-threshold-count": "2",
        "load-balancer-attributes": _pairs(
            {"idle_timeout.timeout_seconds": IDLE_TIMEOUT_SECONDS, "routing.http.drop_invalid_header_fields.enabled": "true"}
        ),
        # The next request to whoever has the fewest: close to the one queue that stacks/sizing.py reckons with.
        "target-group-attributes": _pairs(
            {
                "deregistration_delay.timeout_seconds": DEREGISTRATION_SECONDS,
                "load_balancing.algorithm.type": "least_outstanding_requests",
            }
        ),
    }
    if host:
        # The certificate is found by the rule's host.
        settings["ssl-policy"] = "ELBSecurityPolicy-TLS13-1-2-2021-06"
    return ObjectMetaArgs(
        name=INFERENCE.name,
        namespace=namespace,
        labels=INFERENCE.labels,
        annotations={f"alb.ingress.kubernetes.io/{name}": value for name, value in settings.items()},
    )


def ingress_spec(host: str, port_name: str) -> IngressSpecArgs:
    """Everything to the service's port; `use-annotation` is the one whose shares Argo Rollouts writes into an annotation."""
    backend = IngressServiceBackendArgs(name=INFERENCE.name, port=ServiceBackendPortArgs(name=port_name))
    path = HTTPIngressPathArgs(path="/", path_type="Prefix", backend=IngressBackendArgs(service=backend))
    return IngressSpecArgs(
        ingress_class_name="alb",
        rules=[IngressRuleArgs(host=host or None, http=HTTPIngressRuleValueArgs(paths=[path]))],
    )


def _joined(ids: list[str]) -> str:
    return ",".join(ids)


def _pairs(values: Mapping[str, object]) -> str:
    return ",".join(f"{key}={value}" for key, value in values.items())
