"""The way into the cluster: an Application Load Balancer that the AWS Load Balancer Controller makes of an Ingress."""

import json
from collections.abc import Mapping, Sequence

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


def listens_on(host: str) -> int:
    """Its port: without a name there is no certificate, and so no TLS."""
    return 443 if host else 80


def ingress_metadata(inbound_cidrs: Sequence[str], namespace: pulumi.Input[str], host: str) -> ObjectMetaArgs:
    """Name, settings and who may call; the controller has subnets, tags and target type for every Ingress (addon_values.py).

    Each setting: https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/
    """
    settings = {
        # Of every Ingress here as well, and said where somebody reads this one.
        "scheme": "internal",
        "inbound-cidrs": ",".join(inbound_cidrs),
        "listen-ports": json.dumps([{"HTTPS" if host else "HTTP": listens_on(host)}]),
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


def _pairs(values: Mapping[str, object]) -> str:
    return ",".join(f"{key}={value}" for key, value in values.items())
