"""Which changes of a resource cannot be made in place: it is deleted and made anew."""

from collections.abc import Iterable

# AWS: `ForceNew` in hashicorp/terraform-provider-aws, below internal/service: eks/cluster.go, node_group.go, rds/instance.go,
# s3/bucket.go, ec2/vpc_.go, vpc_subnet.go, vpc_nat_gateway.go, vpc_endpoint.go, vpc_security_group.go, ecr/repository.go.
# What is not here may still be replaced: `pulumi preview` asks the provider.
REPLACING: dict[str, tuple[str, ...]] = {
    "aws:eks/cluster:Cluster": (
        "name",
        "roleArn",
        "accessConfig.bootstrapClusterCreatorAdminPermissions",
        "bootstrapSelfManagedAddons",
        "kubernetesNetworkConfig.ipFamily",
        "kubernetesNetworkConfig.serviceIpv4Cidr",
    ),
    "aws:eks/nodeGroup:NodeGroup": (
        "amiType",
        "capacityType",
        "clusterName",
        "diskSize",
        "instanceTypes",
        "launchTemplate.id",
        "nodeGroupName",
        "nodeRoleArn",
        "subnetIds",
    ),
    "aws:rds/instance:Instance": ("dbName", "engine", "identifier", "kmsKeyId", "storageEncrypted", "username"),
    "aws:s3/bucket:Bucket": ("bucket", "bucketPrefix", "objectLockEnabled"),
    "aws:ec2/vpc:Vpc": ("cidrBlock",),
    "aws:ec2/subnet:Subnet": ("availabilityZone", "cidrBlock", "vpcId"),
    "aws:ec2/natGateway:NatGateway": ("allocationId", "subnetId"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": ("serviceName", "vpcEndpointType", "vpcId"),
    "aws:ec2/securityGroup:SecurityGroup": ("description", "name", "vpcId"),
    "aws:ecr/repository:Repository": ("encryptionConfigurations", "name"),
    # pulumi/pulumi-kubernetes, provider/pkg/provider/diff.go
    "kubernetes:apps/v1:Deployment": ("spec.selector",),
    "kubernetes:apps/v1:StatefulSet": ("spec.selector", "spec.serviceName", "spec.volumeClaimTemplates"),
    "kubernetes:batch/v1:Job": ("spec.completions", "spec.parallelism", "spec.selector", "spec.template"),
    "kubernetes:core/v1:ConfigMap": ("binaryData", "data"),
    "kubernetes:core/v1:PersistentVolumeClaim": ("spec.accessModes", "spec.storageClassName", "spec.volumeName"),
    "kubernetes:core/v1:Secret": ("data", "stringData", "type"),
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding": ("roleRef",),
    "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding": ("roleRef",),
    "kubernetes:storage.k8s.io/v1:StorageClass": ("parameters", "provisioner"),
}
OF_OBJECTS = ("metadata.name", "metadata.namespace")


def replaced(kind: str, changed: Iterable[str]) -> bool:
    """Whether a change at one of the places, such as `spec.selector.matchLabels.app`, makes a resource anew."""
    places = REPLACING.get(kind, ()) + (OF_OBJECTS if kind.startswith("kubernetes:") else ())
    return any(each == place or each.startswith((f"{place}.", f"{place}[")) for each in changed for place in places)
