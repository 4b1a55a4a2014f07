"""What we ask of the cluster's controllers, where that is not what they do by themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

Values = dict[str, object]

# One of two pods may be away: nodes can be drained, and no controller goes with one.
ONE_AWAY: Values = {"maxUnavailable": 1}
UNPRIVILEGED: Values = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
NON_ROOT: Values = {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}}
# The service meshes and gateways that Argo Rollouts could steer; the balancer's controller is the only one here.
OTHER_ROUTERS = ("istio", "smi", "ambassador", "awsAppMesh", "traefik", "apisix", "contour", "glooPlatform", "gatewayAPI")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the cluster is, and what everything in it is tagged with."""

    cluster_name: str
    region: str
    vpc_id: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    tags: Mapping[str, str]


def log_shipping(log_group: str, region: str) -> Values:
    """Fluent Bit: what containers print goes to one log group, a stream for each container, as it was printed."""
    names = {
        "Name": "kubernetes",
        "Match": "kube.*",
        # Each line would carry its pod's annotations, and ours hold a whole release.
        **dict.fromkeys(("Annotations", "Labels", "Merge_Log"), "Off"),
    }
    # https://docs.fluentbit.io/manual/pipeline/outputs/cloudwatch
    output = {
        "Name": "cloudwatch_logs",
        "Match": "kube.*",
        "region": region,
        "log_group_name": log_group,
        # For lines whose pod Kubernetes does not know any more.
        "log_stream_prefix": "unknown.",
        "log_stream_template": "$kubernetes['namespace_name'].$kubernetes['pod_name'].$kubernetes['container_name']",
        "log_key": "log",
        # It is there already, with a retention and a key.
        "auto_create_group": "Off",
    }
    return {
        "config": {"filters": _section("FILTER", names), "outputs": _section("OUTPUT", output)},
        # On every node, whatever it is kept for.
        "tolerations": [{"operator": "Exists"}],
        "resources": resources("50m", "128Mi"),
    }


def secrets_driver(region: str) -> Values:
    """The Secrets Store CSI driver and AWS's provider: a rotated secret reaches mounted files, and is in no Kubernetes Secret."""
    driver: Values = {"enableSecretRotation": True, "rotationPollInterval": "2m", "syncSecret": {"enabled": False}}
    return {"awsRegion": region, "secrets-store-csi-driver": driver}


def autoscaler(place: Place) -> Values:
    """The cluster autoscaler: it finds the node groups by the tags that EKS gives their auto-scaling groups."""
    return {
        "fullnameOverride": "cluster-autoscaler",
        "awsRegion": place.region,
        "autoDiscovery": {"clusterName": place.cluster_name},
        "rbac": {"serviceAccount": {"name": "cluster-autoscaler"}},
        "replicaCount": 2,
        "extraArgs": {
            "expander": "least-waste",
            # Every pod has a volume of its own for temporary files; by default that keeps its node for ever.
            "skip-nodes-with-local-storage": False,
            "skip-nodes-with-system-pods": False,
        },
        "resources": resources("100m", "300Mi"),
        "securityContext": NON_ROOT,
        "containerSecurityContext": UNPRIVILEGED,
    }


def balancer(place: Place) -> Values:
    """The AWS Load Balancer Controller: balancers for Ingresses, inside the VPC and nowhere else."""
    return {
        "fullnameOverride": "aws-load-balancer-controller",
        "clusterName": place.cluster_name,
        "region": place.region,
        "vpcId": place.vpc_id,
        "serviceAccount": {"name": "aws-load-balancer-controller"},
        "replicaCount": 2,
        "podDisruptionBudget": ONE_AWAY,
        "resources": resources("100m", "256Mi"),
        # The chart would make another certificate at every rendering.
        "enableCertManager": True,
        # What it asks for goes before what an Ingress does, so that none can open a balancer to the internet.
        "ingressClassParams": {"spec": {"scheme": "internal", "subnets": {"ids": list(place.subnet_ids)}}},
        # Balance over pods rather than nodes, which would balance again.
        "defaultTargetType": "ip",
        # No AWS provider gives them to what a controller makes.
        "defaultTags": dict(place.tags),
        # It would stand between Kubernetes and every Service, while none of ours asks for a balancer.
        "enableServiceMutatorWebhook": False,
        "controllerConfig": {"featureGates": {"EnableServiceController": False, "ALBGatewayAPI": False, "NLBGatewayAPI": False}},
        **dict.fromkeys(("enableShield", "enableWaf", "enableWafv2"), False),
    }


def keda() -> Values:
    """KEDA: it scales Rollouts and Deployments, and reads secrets of its own namespace alone."""
    parts = ("operator", "metricServer", "webhooks")
    return {
        "operator": {"replicaCount": 2},
        "metricsServer": {"replicaCount": 2},
        "webhooks": {"replicaCount": 2},
        "podDisruptionBudget": dict.fromkeys(parts, ONE_AWAY),
        "resources": dict.fromkeys(parts, resources("100m", "256Mi")),
        "certificates": {"certManager": {"enabled": True}},
        # By default every kind there is. The chart writes the kind where Kubernetes wants a resource: hence the plural.
        "rbac": {"scaledRefKinds": [{"apiGroup": "argoproj.io", "kind": "rollouts"}]},
        "permissions": {part: {"restrict": {"secret": True}} for part in ("operator", "metricServer")},
        "enableServiceLinks": False,
    }


def rollouts(region: str) -> Values:
    """Argo Rollouts: it moves traffic only once the balancer has taken the pods in."""
    return {
        "fullnameOverride": "argo-rollouts",
        "serviceAccount": {"name": "argo-rollouts"},
        "controller": {
            "replicas": 2,
            "pdb": {"enabled": True, **ONE_AWAY},
            "resources": resources("100m", "256Mi"),
            "awsVerifyTargetGroup": True,
            "extraEnv": [{"name": "AWS_REGION", "value": region}],
            "metrics": {"enabled": True},
        },
        "providerRBAC": {"providers": dict.fromkeys(OTHER_ROUTERS, False)},
        "notifications": {"configmap": {"create": False}},
    }


def resources(cpu: str, memory: str) -> Values:
    """Memory is promised in full; the processor is shared by who needs it."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def _section(kind: str, settings: Mapping[str, str]) -> str:
    return f"[{kind}]\n" + "".join(f"    {key} {value}\n" for key, value in settings.items())
