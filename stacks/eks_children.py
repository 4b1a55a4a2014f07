"""What pulumi-eks declares below a cluster of which it makes the control plane alone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

COMPONENT = "eks:index:Cluster"
POLICY = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
CLUSTER, PROVIDER = "aws:eks/cluster:Cluster", "pulumi:providers:kubernetes"
# Inputs that the cluster takes as they are, and those that go into its place in the VPC.
TAKEN = ("name", "version", "enabledClusterLogTypes", "bootstrapSelfManagedAddons", "deletionProtection", "upgradePolicy")
PLACE = ("subnetIds", "endpointPrivateAccess", "endpointPublicAccess", "publicAccessCidrs")


@dataclass(frozen=True, kw_only=True)
class Child:
    """One resource of the component; `parent` is the name of another one, or empty for the component."""

    type: str
    name: str
    inputs: dict[str, Any]
    parent: str = ""


# https://github.com/pulumi/pulumi-eks/blob/v4.3.0/nodejs/eks/cluster/cluster.ts and servicerole.ts
def children(name: str, inputs: Mapping[str, Any]) -> tuple[Child, ...]:
    """The resources that the component called `name` registers for its inputs, parents first."""
    role = f"{name}-eksRole"
    made: dict[str, Any] = {key: inputs[key] for key in TAKEN if key in inputs}
    made["roleArn"] = f"${{role/{role}-role.arn}}"
    made["vpcConfig"] = {key: inputs[key] for key in PLACE if key in inputs}
    made["tags"] = {"Name": f"{name}-eksCluster"} | inputs.get("tags", {})
    if "kubernetesServiceIpAddressRange" in inputs:
        made["kubernetesNetworkConfig"] = {
            "serviceIpv4Cidr": inputs["kubernetesServiceIpAddressRange"],
            "ipFamily": inputs.get("ipFamily", "ipv4"),
        }
    if "encryptionConfigKeyArn" in inputs:
        made["encryptionConfig"] = {"provider": {"keyArn": inputs["encryptionConfigKeyArn"]}, "resources": ["secrets"]}
    if "authenticationMode" in inputs:
        made["accessConfig"] = {
            "authenticationMode": inputs["authenticationMode"],
            "bootstrapClusterCreatorAdminPermissions": True,
        }
    return (
        *_role(role, inputs.get("tags", {})),
        Child(type=CLUSTER, name=f"{name}-eksCluster", inputs=made),
        Child(type=PROVIDER, name=f"{name}-eks-k8s", inputs={"kubeconfig": f"${{cluster/{name}.kubeconfigJson}}"}),
    )


def _role(name: str, tags: Mapping[str, str]) -> tuple[Child, ...]:
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Action": ["sts:AssumeRole", "sts:TagSession"],
                "Effect": "Allow",
                "Principal": {"Service": ["eks.amazonaws.com"]},
            }
        ],
    }
    described = {"description": "Allows EKS to manage clusters on your behalf.", "tags": dict(tags)}
    attachment = f"{name}-{sha1(POLICY.encode(), usedforsecurity=False).hexdigest()[:8]}"
    return (
        Child(type="eks:index:ServiceRole", name=name, inputs={}),
        Child(
            type="aws:iam/role:Role",
            name=f"{name}-role",
            inputs=described | {"assumeRolePolicy": json.dumps(trust)},
            parent=name,
        ),
        Child(
            type="aws:iam/rolePolicyAttachment:RolePolicyAttachment",
            name=attachment,
            inputs={"policyArn": POLICY, "role": f"${{role/{name}-role.name}}"},
            parent=name,
        ),
    )
