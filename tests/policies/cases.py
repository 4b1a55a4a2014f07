"""For each rule a stack that keeps it, and changes of it that break it; the first one is said as the rule's example has it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from policies.declared import Node, Resource, Unknown

# In a change: the place, or the whole resource, is not there.
GONE = object()
ARN = "arn:aws:kms:eu-west-1:123456789012:key/1"
KEY = Unknown("key/key.arn")
Change = tuple[str, str | tuple[str | int, ...], Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Resources by `type name`; a change is of one resource, at a place, to a value."""

    rule: str
    good: Mapping[str, Mapping[str, Any]]
    bad: Sequence[Change]
    settings: Mapping[str, Any] = field(default_factory=dict)
    # Places whose absence is as good, such as a setting that AWS has off by itself.
    may_be_missing: Sequence[str] = ()
    # Places of names and keys that AWS gives, where it is enough that there is one.
    may_be_unknown: Sequence[str | tuple[str | int, ...]] = ()
    protect: bool = False

    def resources(self, change: Change | None = None) -> tuple[Resource, ...]:
        """All resources, with a change if there is one."""
        name, place, new = change or ("", "", None)
        made: list[Resource] = []
        for key, inputs in self.good.items():
            kind, own = key.rsplit(" ", 1)
            if own == name and place == "":
                continue
            given = changed(inputs, steps(place), new) if own == name and place != "protect" else inputs
            protect = new if own == name and place == "protect" else self.protect
            provider = Resource(type="pulumi:providers:aws", name="aws", inputs=Node({}))
            made.append(Resource(type=kind, name=own, inputs=Node(given), protect=protect is True, provider=provider))
        return tuple(made)


def steps(place: str | tuple[str | int, ...]) -> tuple[str | int, ...]:
    if isinstance(place, tuple):
        return place
    return tuple(int(each) if each.isdigit() else each for each in place.split("."))


def changed(value: Any, place: Sequence[str | int], new: Any) -> Any:
    """A copy with another value in a place, made where it is not there yet."""
    first, *rest = place
    if isinstance(value, list):
        copied: Any = dict(enumerate(cast("list[Any]", value)))
    else:
        copied = dict(cast("dict[str, Any]", value or {}))
    if rest:
        copied[first] = changed(copied.get(first, {}), rest, new)
    elif new is GONE:
        del copied[first]
    else:
        copied[first] = new
    return list(copied.values()) if isinstance(value, list) else copied


def document(*statements: Mapping[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(sid: str, action: Any, resource: Any, **more: Any) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource, **more}


BUCKET = "aws:s3/bucket:Bucket"
S3 = "aws:s3/bucket"


def of_bucket(kind: str, name: str, **inputs: Any) -> dict[str, dict[str, Any]]:
    return {f"{S3}{kind}:Bucket{kind} {name}": {"bucket": Unknown("bucket/lake.id"), **inputs}}


TLS = [
    {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [Unknown("bucket/lake.arn"), "${bucket/lake.arn}/*"],
        "Condition": condition,
    }
    for sid, condition in {
        "Http": {"Bool": {"aws:SecureTransport": "false"}},
        "Old": {"NumericLessThan": {"s3:TlsVersion": "1.2"}},
    }.items()
]
BUCKETS = [
    Case(
        rule="bucket-guards",
        good={
            f"{BUCKET} lake": {},
            **of_bucket("PublicAccessBlock", "block"),
            **of_bucket("ServerSideEncryptionConfiguration", "encryption"),
            **of_bucket("Versioning", "versioning"),
            **of_bucket("OwnershipControls", "ownership"),
            **of_bucket("Policy", "policy"),
            **of_bucket("LifecycleConfiguration", "lifecycle"),
        },
        bad=[("encryption", "", None), ("policy", "", None), ("versioning", "bucket", Unknown("bucket/logs.id"))],
    ),
    Case(
        rule="bucket-access-logs",
        good={
            f"{BUCKET} lake": {},
            f"{BUCKET} logs": {},
            **of_bucket("Logging", "logging", targetBucket=Unknown("bucket/logs.id"), targetPrefix="lake/"),
        },
        bad=[
            ("logging", "", None),
            ("logging", "targetBucket", Unknown("bucket/lake.id")),
            ("logging", "targetPrefix", ""),
        ],
    ),
    Case(
        rule="bucket-public-access",
        good=of_bucket(
            "PublicAccessBlock",
            "block",
            blockPublicAcls=True,
            blockPublicPolicy=True,
            ignorePublicAcls=True,
            restrictPublicBuckets=True,
        ),
        bad=[("block", "blockPublicPolicy", False), ("block", "restrictPublicBuckets", False)],
    ),
    Case(
        rule="bucket-encryption",
        good=of_bucket(
            "ServerSideEncryptionConfiguration",
            "encryption",
            rules=[{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": ARN}}],
        ),
        bad=[
            ("encryption", "rules.0.applyServerSideEncryptionByDefault.kmsMasterKeyId", GONE),
            ("encryption", "rules.0.applyServerSideEncryptionByDefault.sseAlgorithm", "none"),
            ("encryption", "rules", []),
        ],
        may_be_unknown=["rules.0.applyServerSideEncryptionByDefault.kmsMasterKeyId"],
    ),
    Case(
        rule="bucket-own-key",
        good={
            f"{BUCKET} lake": {},
            **of_bucket(
                "ServerSideEncryptionConfiguration",
                "encryption",
                rules=[{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms"}}],
            ),
        },
        bad=[("encryption", "rules.0.applyServerSideEncryptionByDefault.sseAlgorithm", "AES256")],
    ),
    Case(
        rule="bucket-tls-only",
        good=of_bucket("Policy", "policy", policy=document(*TLS)),
        bad=[
            ("policy", "policy.Statement.0.Condition.Bool", {"aws:SecureTransport": "true"}),
            ("policy", "policy.Statement.0.Effect", "Allow"),
            ("policy", "policy.Statement.0.Principal", {"AWS": "arn:aws:iam::1:root"}),
            ("policy", "policy.Statement.0.Action", "s3:GetObject"),
            ("policy", "policy.Statement.0.Resource", ["${bucket/lake.arn}/*"]),
            ("policy", "policy.Statement.1", GONE),
        ],
    ),
    Case(
        rule="bucket-versioning",
        good=of_bucket("Versioning", "versioning", versioningConfiguration={"status": "Enabled"}),
        bad=[("versioning", "versioningConfiguration.status", "Suspended")],
    ),
    Case(
        rule="bucket-ownership",
        good=of_bucket("OwnershipControls", "ownership", rule={"objectOwnership": "BucketOwnerEnforced"}),
        bad=[("ownership", "rule.objectOwnership", "ObjectWriter")],
    ),
    Case(
        rule="bucket-data-kept",
        settings={"oldVersionsDays": 30, "logsDays": 90, "expiring": ["logs-lifecycle"]},
        good={
            **of_bucket(
                "LifecycleConfiguration",
                "lake-lifecycle",
                rules=[
                    {"status": "Enabled", "noncurrentVersionExpiration": {"noncurrentDays": 30}},
                    {"status": "Enabled", "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7}},
                ],
            ),
            **of_bucket(
                "LifecycleConfiguration",
                "logs-lifecycle",
                rules=[
                    {"status": "Enabled", "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7}},
                    {"status": "Enabled", "expiration": {"days": 90}},
                ],
            ),
        },
        bad=[
            ("lake-lifecycle", "rules.0.expiration", {"days": 90}),
            ("lake-lifecycle", "rules.0.noncurrentVersionExpiration.noncurrentDays", 29),
            ("lake-lifecycle", "rules.1.abortIncompleteMultipartUpload", GONE),
            ("logs-lifecycle", "rules.1.expiration.days", 1),
            ("logs-lifecycle", "rules.0.status", "Disabled"),
        ],
        may_be_missing=["rules.0.expiration", "rules.0.noncurrentVersionExpiration.noncurrentDays", "rules.1.expiration.days"],
    ),
]

RULE_IN = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
RULE_OUT = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
VPC = "aws:ec2/vpc:Vpc"
PORTS = {"ipProtocol": "tcp", "fromPort": 443, "toPort": 443}
NETWORK = [
    Case(
        rule="network-ingress",
        good={
            f"{RULE_IN} in": {**PORTS, "referencedSecurityGroupId": "sg-1", "securityGroupId": "sg-2"},
            f"{RULE_IN} among": {"ipProtocol": "-1", "referencedSecurityGroupId": "sg-1", "securityGroupId": "sg-1"},
        },
        bad=[
            ("in", "cidrIpv4", "0.0.0.0/0"),
            ("in", "cidrIpv6", "::/0"),
            ("in", "cidrIpv4", "10.0.0.0/8"),
            ("in", "cidrIpv4", "everybody"),
            ("in", "fromPort", 22),
            ("in", "ipProtocol", "-1"),
            ("in", "referencedSecurityGroupId", ""),
        ],
        may_be_missing=["cidrIpv4", "cidrIpv6", "ipProtocol"],
        may_be_unknown=["referencedSecurityGroupId"],
    ),
    Case(
        rule="network-egress",
        settings={"ports": [443]},
        good={f"{RULE_OUT} out": {"ipProtocol": "tcp", "fromPort": 443, "toPort": 443, "cidrIpv4": "0.0.0.0/0"}},
        bad=[
            ("out", "ipProtocol", "-1"),
            ("out", "fromPort", 80),
            ("out", "toPort", 8443),
            ("out", "cidrIpv4", "anywhere"),
            ("out", "ipProtocol", "udp"),
        ],
        may_be_missing=["cidrIpv4"],
    ),
    Case(
        rule="network-rules-apart",
        good={"aws:ec2/securityGroup:SecurityGroup group": {"vpcId": "vpc-1"}},
        bad=[("group", "ingress", [{"protocol": "tcp"}]), ("group", "egress", [{"protocol": "-1"}])],
        may_be_missing=["ingress", "egress"],
    ),
    Case(
        rule="network-default-group",
        good={
            f"{VPC} vpc": {},
            "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup default": {"vpcId": Unknown("vpc/vpc.id")},
        },
        bad=[("default", "", None), ("default", "vpcId", "vpc-of-somebody")],
    ),
    Case(
        rule="network-flow-logs",
        good={
            f"{VPC} vpc": {"id": "vpc-1"},
            "aws:ec2/flowLog:FlowLog logs": {"vpcId": "vpc-1", "trafficType": "ALL"},
        },
        bad=[("logs", "", None), ("logs", "trafficType", "REJECT")],
    ),
    Case(
        rule="network-no-public-addresses",
        good={"aws:ec2/subnet:Subnet subnet": {"mapPublicIpOnLaunch": False}},
        bad=[("subnet", "mapPublicIpOnLaunch", True), ("subnet", "assignIpv6AddressOnCreation", True)],
        may_be_missing=["mapPublicIpOnLaunch", "assignIpv6AddressOnCreation"],
    ),
    Case(
        rule="network-private-subnets",
        good={
            "aws:rds/subnetGroup:SubnetGroup subnets": {"subnetIds": [Unknown("subnet/data.id")]},
            "aws:eks/cluster:Cluster cluster": {"vpcConfig": {"subnetIds": [Unknown("subnet/data.id")]}},
            "aws:ec2/routeTableAssociation:RouteTableAssociation data": {
                "subnetId": Unknown("subnet/data.id"),
                "routeTableId": Unknown("routeTable/data.id"),
            },
            "aws:ec2/routeTable:RouteTable public": {},
            "aws:ec2/routeTable:RouteTable data": {},
            "aws:ec2/internetGateway:InternetGateway internet": {},
            "aws:ec2/route:Route way-out": {
                "routeTableId": Unknown("routeTable/public.id"),
                "gatewayId": Unknown("internetGateway/internet.id"),
            },
        },
        bad=[
            ("way-out", "routeTableId", Unknown("routeTable/data.id")),
            ("data", "", None),
            ("subnets", "subnetIds.0", Unknown("subnet/public.id")),
        ],
        may_be_missing=["routeTableId", "subnetIds.0"],
    ),
]

CLUSTER, TEMPLATE = "aws:eks/cluster:Cluster", "aws:ec2/launchTemplate:LaunchTemplate"
EKS = [
    Case(
        rule="eks-private-endpoint",
        good={f"{CLUSTER} cluster": {"vpcConfig": {"endpointPrivateAccess": True, "endpointPublicAccess": False}}},
        bad=[
            ("cluster", "vpcConfig.endpointPublicAccess", True),
            ("cluster", "vpcConfig.endpointPrivateAccess", False),
            ("cluster", "vpcConfig", "private"),
        ],
    ),
    Case(
        rule="eks-endpoint-ranges",
        good={f"{CLUSTER} cluster": {"vpcConfig": {"endpointPublicAccess": True, "publicAccessCidrs": ["203.0.113.7/32"]}}},
        bad=[
            ("cluster", "vpcConfig.publicAccessCidrs.0", "0.0.0.0/0"),
            ("cluster", "vpcConfig.publicAccessCidrs", []),
            ("cluster", "vpcConfig.publicAccessCidrs.0", "home"),
        ],
    ),
    Case(
        rule="eks-logging",
        good={
            f"{CLUSTER} cluster": {"enabledClusterLogTypes": ["api", "audit", "authenticator", "controllerManager", "scheduler"]}
        },
        bad=[
            ("cluster", "enabledClusterLogTypes", ["api", "authenticator", "controllerManager", "scheduler"]),
            ("cluster", "enabledClusterLogTypes.0", "apis"),
        ],
    ),
    Case(
        rule="eks-secrets-encryption",
        good={f"{CLUSTER} cluster": {"encryptionConfig": {"provider": {"keyArn": ARN}, "resources": ["secrets"]}}},
        bad=[
            ("cluster", "encryptionConfig", GONE),
            ("cluster", "encryptionConfig.provider", {}),
            ("cluster", "encryptionConfig.resources.0", "pods"),
        ],
    ),
    Case(
        rule="eks-authentication",
        good={
            f"{CLUSTER} cluster": {
                "accessConfig": {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False}
            }
        },
        bad=[
            ("cluster", "accessConfig.authenticationMode", "CONFIG_MAP"),
            ("cluster", "accessConfig.bootstrapClusterCreatorAdminPermissions", True),
        ],
    ),
    Case(
        rule="eks-version",
        settings={"supported": ["1.33", "1.34", "1.35"]},
        good={f"{CLUSTER} cluster": {"version": "1.35"}},
        bad=[("cluster", "version", "1.29")],
    ),
    Case(
        rule="eks-seen",
        good={"eks:index:Cluster cluster": {}, f"{CLUSTER} cluster-eksCluster": {}},
        bad=[("cluster-eksCluster", "", None)],
    ),
    Case(
        rule="node-metadata",
        good={
            f"{TEMPLATE} nodes": {
                "metadataOptions": {"httpEndpoint": "enabled", "httpTokens": "required", "httpPutResponseHopLimit": 1}
            }
        },
        bad=[
            ("nodes", "metadataOptions.httpTokens", "optional"),
            ("nodes", "metadataOptions.httpPutResponseHopLimit", 2),
            ("nodes", "metadataOptions.httpEndpoint", "disabled"),
        ],
    ),
    Case(
        rule="node-disks",
        good={
            f"{TEMPLATE} nodes": {
                "blockDeviceMappings": [{"ebs": {"encrypted": "true", "kmsKeyId": ARN, "deleteOnTermination": "true"}}]
            }
        },
        bad=[
            ("nodes", "blockDeviceMappings.0.ebs.encrypted", "false"),
            ("nodes", "blockDeviceMappings.0.ebs.deleteOnTermination", "false"),
            ("nodes", "blockDeviceMappings", []),
        ],
    ),
    Case(
        rule="node-addresses",
        good={f"{TEMPLATE} nodes": {"networkInterfaces": [{"associatePublicIpAddress": "false", "securityGroups": ["sg-1"]}]}},
        bad=[
            ("nodes", "networkInterfaces.0.associatePublicIpAddress", "true"),
            ("nodes", "networkInterfaces.0.securityGroups", []),
            ("nodes", "networkInterfaces", []),
        ],
        may_be_unknown=["networkInterfaces.0.securityGroups"],
    ),
    Case(
        rule="node-template",
        good={
            "aws:eks/nodeGroup:NodeGroup nodes": {"launchTemplate": {"id": "lt-1", "version": "3"}, "releaseVersion": "1.35.6"}
        },
        bad=[
            ("nodes", "launchTemplate", {"version": "3"}),
            ("nodes", "launchTemplate.version", "$Latest"),
            ("nodes", "remoteAccess", {"ec2SshKey": "key"}),
            ("nodes", "releaseVersion", GONE),
        ],
        may_be_missing=["remoteAccess"],
    ),
    Case(
        rule="eks-addons",
        settings={"pinned": {"vpc-cni": "v1.22.3-eksbuild.1"}},
        good={
            "aws:eks/addon:Addon network": {
                "addonName": "vpc-cni",
                "addonVersion": "v1.22.3-eksbuild.1",
                "configurationValues": '{"enableNetworkPolicy": "true"}',
            }
        },
        bad=[
            ("network", "addonVersion", GONE),
            ("network", "addonVersion", "latest"),
            ("network", "addonName", "other"),
            ("network", "configurationValues", '{"enableNetworkPolicy": "false"}'),
            ("network", "configurationValues", "none"),
        ],
    ),
    Case(
        rule="eks-beside",
        good={
            f"{CLUSTER} cluster": {"name": "churn-prod"},
            "aws:eks/addon:Addon network": {"addonName": "vpc-cni"},
            "aws:cloudwatch/logGroup:LogGroup logs": {"name": "/aws/eks/churn-prod/cluster"},
        },
        bad=[("network", "", None), ("logs", "name", "/aws/eks/other/cluster"), ("network", "addonName", "coredns")],
    ),
    Case(
        rule="eks-entries",
        good={
            "aws:eks/accessEntry:AccessEntry entry": {
                "kubernetesGroups": ["churn:viewer"],
                "principalArn": "arn:aws:iam::123456789012:role/viewer",
            }
        },
        bad=[
            ("entry", "kubernetesGroups.0", "system:masters"),
            ("entry", "principalArn", "arn:aws:iam::123456789012:role/*"),
        ],
        may_be_missing=["kubernetesGroups.0", "principalArn"],
    ),
]

INSTANCE = "aws:rds/instance:Instance"
DATABASE = [
    Case(
        rule="database-encrypted",
        good={f"{INSTANCE} database": {"storageEncrypted": True, "kmsKeyId": ARN}},
        bad=[("database", "storageEncrypted", False), ("database", "kmsKeyId", "")],
        may_be_unknown=["kmsKeyId"],
    ),
    Case(
        rule="database-private",
        good={
            f"{INSTANCE} database": {"publiclyAccessible": False, "dbSubnetGroupName": "data", "vpcSecurityGroupIds": ["sg-1"]}
        },
        bad=[
            ("database", "publiclyAccessible", True),
            ("database", "dbSubnetGroupName", ""),
            ("database", "vpcSecurityGroupIds", []),
        ],
        may_be_unknown=["dbSubnetGroupName", "vpcSecurityGroupIds"],
    ),
    Case(
        rule="database-password",
        good={f"{INSTANCE} database": {"manageMasterUserPassword": True, "masterUserSecretKmsKeyId": ARN}},
        bad=[
            ("database", "password", "hunter2"),
            ("database", "manageMasterUserPassword", False),
            ("database", "masterUserSecretKmsKeyId", ""),
        ],
        may_be_missing=["password"],
        may_be_unknown=["masterUserSecretKmsKeyId"],
    ),
    Case(
        rule="database-multi-zone",
        settings={"multiZone": True},
        good={f"{INSTANCE} database": {"multiAz": True}},
        bad=[("database", "multiAz", False)],
    ),
    Case(
        rule="database-kept",
        settings={"backupDays": 30, "deletionProtection": True},
        good={
            f"{INSTANCE} database": {
                "backupRetentionPeriod": 30,
                "deletionProtection": True,
                "skipFinalSnapshot": False,
                "finalSnapshotIdentifier": "final",
            }
        },
        bad=[
            ("database", "backupRetentionPeriod", 1),
            ("database", "deletionProtection", False),
            ("database", "skipFinalSnapshot", True),
        ],
    ),
    Case(
        rule="database-current",
        good={f"{INSTANCE} database": {"autoMinorVersionUpgrade": True, "engineVersion": "17"}},
        bad=[("database", "autoMinorVersionUpgrade", False), ("database", "engineVersion", "17.2")],
        may_be_missing=["engineVersion"],
    ),
    Case(
        rule="database-tls",
        good={
            f"{INSTANCE} database": {"parameterGroupName": Unknown("parameterGroup/parameters.name")},
            "aws:rds/parameterGroup:ParameterGroup parameters": {"parameters": [{"name": "rds.force_ssl", "value": "1"}]},
        },
        bad=[
            ("parameters", "parameters.0.value", "0"),
            ("parameters", "parameters", []),
            ("database", "parameterGroupName", "default.postgres17"),
        ],
    ),
]

ROLE, ROLE_POLICY = "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy"
GITHUB = "token.actions.githubusercontent.com"
SERVICE = {"Sid": "Open", "Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
WORKFLOWS = {
    "Sid": "Workflows",
    "Effect": "Allow",
    "Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/github"},
    "Action": "sts:AssumeRoleWithWebIdentity",
    "Condition": {
        "StringEquals": {f"{GITHUB}:aud": "sts.amazonaws.com", f"{GITHUB}:sub": "repo:retention-team/churn:environment:prod"}
    },
}
SUBJECT = ("assumeRolePolicy", "Statement", 0, "Condition", "StringEquals", f"{GITHUB}:sub")
TAGGED = {"StringEquals": {"aws:ResourceTag/stack": "prod"}}
PODS_COME = {
    "Sid": "Pods",
    "Effect": "Allow",
    "Principal": {"Service": "pods.eks.amazonaws.com"},
    "Action": ["sts:AssumeRole", "sts:TagSession"],
    "Condition": {
        "StringEquals": {
            f"aws:RequestTag/{each}": each for each in ("eks-cluster-name", "kubernetes-namespace", "kubernetes-service-account")
        }
    },
}
POD_TAGS = ("assumeRolePolicy", "Statement", 0, "Condition", "StringEquals")
REPOSITORY = {"repository": "retention-team/churn", "previewRoles": ["preview"]}
IAM = [
    Case(
        rule="iam-least-privilege",
        settings={
            "anyResource": {"policy/Questions": "AWS cannot limit them"},
            "wholeServices": {"policy/Here": "its own kinds"},
        },
        good={
            f"{ROLE_POLICY} policy": {
                "policy": document(
                    allow("Everything", "s3:GetObject", "arn:aws:s3:::lake/*"),
                    allow("Questions", ["ec2:DescribeVpcs"], "*"),
                    allow("Here", "rds:*", [Unknown("instance/database.arn")]),
                    {"Effect": "Deny", "Action": "*", "Resource": "*"},
                )
            },
            f"{ROLE} role": {"inlinePolicies": [{"policy": document(allow("Read", "s3:GetObject", ["arn:aws:s3:::lake/*"]))}]},
        },
        bad=[
            ("policy", "policy.Statement.0.Action", "s3:*"),
            ("policy", "policy.Statement.0.Action", "*"),
            ("policy", "policy.Statement.0.Action", ["s3:GetObject", "iam:*"]),
            ("policy", "policy.Statement.0.Resource", "*"),
            ("policy", "policy.Statement.0.Resource", ["arn:aws:s3:::lake/*", "*"]),
            ("policy", "policy.Statement.0.Resource", "arn:aws:s3:::*"),
            ("policy", "policy.Statement.0.NotResource", ["arn:aws:s3:::other"]),
            ("role", "inlinePolicies.0.policy.Statement.0.Action", "dynamodb:*"),
            ("policy", "policy.Statement.2.Sid", "There"),
        ],
        may_be_missing=["policy.Statement.0.NotResource"],
        # A reference is one resource.
        may_be_unknown=["policy.Statement.0.Resource"],
    ),
    Case(
        rule="iam-named-principals",
        good={
            f"{ROLE} role": {"assumeRolePolicy": document(SERVICE)},
            "aws:kms/key:Key key": {
                "policy": document(
                    allow(
                        "Disks", ["kms:Decrypt"], "*", Principal={"AWS": "*"}, Condition={"ArnEquals": {"aws:PrincipalArn": "x"}}
                    )
                )
            },
            "aws:sns/topicPolicy:TopicPolicy topic": {
                "policy": document(
                    {**SERVICE, "Action": "sns:Publish", "Condition": {"StringEquals": {"aws:SourceAccount": "1"}}}
                )
            },
        },
        bad=[
            ("role", "assumeRolePolicy.Statement.0.Principal", "*"),
            ("role", "assumeRolePolicy.Statement.0.Principal", {"AWS": ["arn:aws:iam::1:root", "*"]}),
            ("role", "assumeRolePolicy", GONE),
            ("key", "policy.Statement.0.Condition", GONE),
            ("key", "policy.Statement.0.Action", ["kms:CreateGrant"]),
            ("topic", "policy.Statement.0.Principal", GONE),
            ("topic", "policy.Statement.0.Principal", {"Service": "*"}),
            ("topic", "policy.Statement.0.Condition", {}),
            ("topic", "policy.Statement.0.Action", "*"),
        ],
    ),
    Case(
        rule="iam-workflow-subjects",
        settings=REPOSITORY,
        good={
            f"{ROLE} deploy": {"assumeRolePolicy": document(WORKFLOWS)},
            f"{ROLE} preview": {
                "assumeRolePolicy": document(changed(WORKFLOWS, SUBJECT[3:], "repo:retention-team/churn:pull_request"))
            },
            f"{ROLE} nodes": {"assumeRolePolicy": document(SERVICE)},
        },
        bad=[
            ("deploy", SUBJECT, "repo:retention-team/churn:*"),
            ("deploy", SUBJECT, "repo:retention-team/churn:pull_request"),
            ("deploy", SUBJECT, "repo:retention-team/churn-fork:environment:prod"),
            ("deploy", SUBJECT, "repo:retention-team/churn:ref:refs/heads/*"),
            ("deploy", SUBJECT, GONE),
            ("deploy", (*SUBJECT[:-1], f"{GITHUB}:aud"), "others"),
            (
                "deploy",
                "assumeRolePolicy.Statement.0.Condition",
                {"StringLike": {f"{GITHUB}:sub": "repo:retention-team/churn:*"}},
            ),
        ],
    ),
    Case(
        rule="iam-previews-read",
        settings=REPOSITORY,
        good={
            f"{ROLE} preview": {},
            f"{ROLE_POLICY} rights": {
                "role": Unknown("role/preview.id"),
                "policy": document(allow("Preview", ["s3:GetObject"], "arn:aws:s3:::state/*")),
            },
            f"{ROLE_POLICY} others": {
                "role": Unknown("role/deploy.id"),
                "policy": document(allow("Deploy", ["s3:PutObject"], "arn:aws:s3:::state/*")),
            },
        },
        bad=[("rights", "policy.Statement.0.Action.0", "s3:PutObject")],
        may_be_missing=["policy.Statement.0.Action.0"],
    ),
    Case(
        rule="iam-for-one-thing",
        settings={"unconditional": {"policy/Budgets": "they carry none"}},
        good={
            f"{ROLE_POLICY} policy": {
                "policy": document(
                    allow("Decrypt", "kms:Decrypt", KEY, Condition={"StringEquals": {"kms:ViaService": "s3"}}),
                    allow("Groups", "ec2:DeleteSecurityGroup", "arn:aws:ec2:eu:1:security-group/*", Condition=TAGGED),
                    allow("Budgets", "budgets:ModifyBudget", "*"),
                    allow("Questions", "ec2:DescribeVpcs", "*"),
                    allow("Grants", "kms:CreateGrant", KEY, Condition={"Bool": {"kms:GrantIsForAWSResource": "true"}}),
                )
            }
        },
        bad=[
            ("policy", "policy.Statement.0.Condition", {}),
            ("policy", "policy.Statement.1.Condition", {}),
            ("policy", "policy.Statement.1.Action", "iam:PassRole"),
            ("policy", "policy.Statement.3.Action", "ec2:DeleteVpc"),
            ("policy", "policy.Statement.4.Condition.Bool", {"kms:GrantIsForAWSResource": "false"}),
        ],
        may_be_missing=["policy.Statement.1.Action", "policy.Statement.3.Action"],
    ),
    Case(
        rule="iam-pod-identities",
        good={
            f"{ROLE} role": {"assumeRolePolicy": document(PODS_COME)},
            f"{ROLE} nodes": {"assumeRolePolicy": document(SERVICE)},
        },
        bad=[
            ("role", (*POD_TAGS, "aws:RequestTag/kubernetes-service-account"), GONE),
            ("role", "assumeRolePolicy.Statement.0.Condition", {}),
            ("nodes", "assumeRolePolicy.Statement.0.Action", "sts:*"),
        ],
        may_be_missing=["assumeRolePolicy.Statement.0.Action"],
        may_be_unknown=[(*POD_TAGS, "aws:RequestTag/kubernetes-service-account")],
    ),
    Case(
        rule="iam-managed-policies",
        settings={"allowed": ["AmazonEKSWorkerNodePolicy"]},
        good={
            "aws:iam/rolePolicyAttachment:RolePolicyAttachment nodes": {
                "policyArn": "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy"
            }
        },
        bad=[("nodes", "policyArn", "arn:aws:iam::aws:policy/AdministratorAccess"), ("nodes", "policyArn", GONE)],
    ),
    Case(
        rule="iam-refusals",
        settings={
            "refused": {"deploy/NeverData": ["s3:GetObject*"]},
            "refusedWhere": {"others/NeverOthers": ["kms:PutKeyPolicy"]},
        },
        good={
            f"{ROLE_POLICY} deploy": {
                "policy": document({"Sid": "NeverData", "Effect": "Deny", "Action": ["s3:GetObject*"], "Resource": "*"})
            },
            f"{ROLE_POLICY} others": {
                "policy": document(
                    {
                        "Sid": "NeverOthers",
                        "Effect": "Deny",
                        "Action": ["kms:PutKeyPolicy"],
                        "Resource": "*",
                        "Condition": {"Null": {"aws:ResourceTag/stack": "false"}},
                    }
                )
            },
        },
        bad=[
            ("deploy", "policy.Statement.0.Effect", "Allow"),
            ("deploy", "policy.Statement.0.Action.0", "s3:List*"),
            ("deploy", "policy.Statement.0.Condition", {"Bool": {"aws:SecureTransport": "false"}}),
            ("deploy", "", None),
            ("others", "policy.Statement.0.Effect", "Allow"),
            ("others", "policy.Statement.0.Action.0", "kms:List*"),
            ("others", "", None),
        ],
        may_be_missing=["policy.Statement.0.Condition"],
    ),
    Case(
        rule="iam-called-after-role",
        good={
            f"{ROLE} reader": {},
            f"{ROLE} other": {},
            f"{ROLE_POLICY} reader": {"role": Unknown("role/reader.id")},
            f"{ROLE_POLICY} theirs": {"role": "role-of-another-stack"},
            "aws:eks/accessEntry:AccessEntry admin": {"principalArn": ARN},
            "aws:eks/accessPolicyAssociation:AccessPolicyAssociation admin": {"principalArn": ARN},
        },
        bad=[("theirs", "role", Unknown("role/other.id"))],
        may_be_missing=["role"],
    ),
    Case(
        rule="iam-no-users",
        good={f"{ROLE} role": {}},
        bad=[],
    ),
]

OTHERS = [
    Case(
        rule="kms-keys",
        settings={"deletionWindowDays": 30},
        good={"aws:kms/key:Key key": {"enableKeyRotation": True, "deletionWindowInDays": 30}},
        bad=[
            ("key", "enableKeyRotation", False),
            ("key", "deletionWindowInDays", 7),
            ("key", "isEnabled", False),
            ("key", "bypassPolicyLockoutSafetyCheck", True),
        ],
        may_be_missing=["isEnabled", "bypassPolicyLockoutSafetyCheck"],
    ),
    Case(
        rule="kms-own-key",
        good={
            "aws:kms/key:Key key": {},
            "aws:kms/key:Key other": {},
            "aws:cloudwatch/logGroup:LogGroup logs": {"kmsKeyId": KEY},
            "aws:ecr/repository:Repository images": {"encryptionConfigurations": [{"kmsKey": Unknown("key/other.arn")}]},
        },
        bad=[
            ("logs", "kmsKeyId", "arn:aws:kms:eu-west-1:999999999999:key/1"),
            ("images", "encryptionConfigurations.0.kmsKey", KEY),
        ],
        may_be_missing=["kmsKeyId", "encryptionConfigurations.0.kmsKey"],
    ),
    Case(
        rule="ecr-images",
        good={
            "aws:ecr/repository:Repository images": {
                "imageTagMutability": "IMMUTABLE",
                "imageScanningConfiguration": {"scanOnPush": True},
                "encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": ARN}],
            }
        },
        bad=[
            ("images", "imageTagMutability", "MUTABLE"),
            ("images", "imageScanningConfiguration.scanOnPush", False),
            ("images", "encryptionConfigurations.0.encryptionType", "AES256"),
            ("images", "encryptionConfigurations", []),
        ],
    ),
    Case(
        rule="log-groups",
        settings={"retentionDays": 90},
        good={"aws:cloudwatch/logGroup:LogGroup logs": {"retentionInDays": 90, "kmsKeyId": KEY}},
        bad=[("logs", "retentionInDays", 1), ("logs", "kmsKeyId", GONE)],
        may_be_unknown=["kmsKeyId"],
    ),
    Case(
        rule="topics-encrypted",
        good={"aws:sns/topic:Topic alarms": {"kmsMasterKeyId": KEY}},
        bad=[("alarms", "kmsMasterKeyId", GONE)],
    ),
    Case(
        rule="volumes-encrypted",
        good={"kubernetes:storage.k8s.io/v1:StorageClass gp3": {"parameters": {"encrypted": "true", "kmsKeyId": KEY}}},
        bad=[("gp3", "parameters.encrypted", "false"), ("gp3", "parameters", {})],
    ),
]

TAGS = {"project": "churn", "stack": "prod", "owner": "team"}
STACK = [
    Case(
        rule="tags",
        settings={"required": {"project": "churn", "stack": "prod", "owner": ""}},
        good={
            "pulumi:providers:aws aws": {"defaultTags": {"tags": TAGS}},
            "aws:s3/bucket:Bucket lake": {"tags": {"component": "storage", "Name": "lake"}},
            "aws:ec2/launchTemplate:LaunchTemplate nodes": {
                "tagSpecifications": [{"resourceType": kind, "tags": TAGS} for kind in ("instance", "volume")]
            },
        },
        bad=[
            ("aws", "defaultTags.tags.owner", GONE),
            ("aws", "defaultTags.tags.stack", "dev"),
            ("aws", "defaultTags", '{"tags": {}}'),
            ("nodes", "tagSpecifications.1.resourceType", "instance"),
            ("lake", "tags.component", ""),
        ],
        may_be_unknown=["defaultTags.tags.owner", "tags.component"],
    ),
    Case(
        rule="budget",
        settings={"usdPerMonth": 2500},
        good={
            "aws:budgets/budget:Budget budget": {
                "limitAmount": "2500",
                "limitUnit": "USD",
                "timeUnit": "MONTHLY",
                "notifications": [{"threshold": 80, "subscriberEmailAddresses": ["team@example.com"]}],
            }
        },
        bad=[
            ("budget", "", None),
            ("budget", "limitAmount", "2501"),
            ("budget", "limitAmount", "all of it"),
            ("budget", "limitUnit", "EUR"),
            ("budget", "timeUnit", "ANNUALLY"),
            ("budget", "notifications.0.threshold", 200),
            ("budget", "notifications", []),
        ],
    ),
    Case(
        rule="data-protected",
        settings={"protected": True},
        protect=True,
        good={"aws:s3/bucket:Bucket lake": {"forceDestroy": False}, "aws:kms/key:Key key": {}},
        bad=[("key", "protect", False), ("lake", "forceDestroy", True)],
    ),
    Case(
        rule="charts-pinned",
        settings={"pinned": {"keda": {"repository": "https://kedacore.github.io/charts", "version": "2.20.2"}}},
        good={
            "kubernetes:helm.sh/v3:Release keda": {
                "chart": "keda",
                "version": "2.20.2",
                "repositoryOpts": {"repo": "https://kedacore.github.io/charts"},
            }
        },
        bad=[
            ("keda", "version", "9.0.0"),
            ("keda", "chart", "other"),
            ("keda", "repositoryOpts.repo", "https://elsewhere.example"),
            ("keda", "devel", True),
            ("keda", "values", {"image": {"tag": "latest"}}),
        ],
        may_be_missing=["devel", "values"],
        may_be_unknown=["values"],
    ),
    Case(
        rule="charts-hardened",
        good={
            "kubernetes:helm.sh/v3:Release keda": {
                "values": {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}}
            }
        },
        bad=[
            ("keda", "values.securityContext.runAsNonRoot", False),
            ("keda", "values.operator.containerSecurityContext.privileged", True),
            ("keda", "values.securityContext.seccompProfile.type", "Unconfined"),
        ],
        may_be_missing=[
            "values.securityContext.runAsNonRoot",
            "values.operator.containerSecurityContext.privileged",
            "values.securityContext.seccompProfile.type",
        ],
    ),
    Case(rule="exemptions", good={}, bad=[]),
]

POD: dict[str, Any] = {
    "metadata": {"name": "inference", "namespace": "churn"},
    "spec": {
        "replicas": 3,
        "template": {
            "metadata": {"labels": {"app": "inference"}, "annotations": {"churn/tokens": json.dumps({"predict": ["1" * 64]})}},
            "spec": {
                "serviceAccountName": "inference",
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [
                    {
                        "name": "inference",
                        "image": f"registry.example/churn@sha256:{'1' * 64}",
                        "env": [{"name": "CHURN_TOKENS", "value": "/etc/churn/tokens.json"}],
                        "ports": [{"containerPort": 8080}],
                        "livenessProbe": {"httpGet": {"path": "/livez"}},
                        "readinessProbe": {"httpGet": {"path": "/readyz"}},
                        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "privileged": False,
                            "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }
                ],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            },
        },
    },
}
IN = "spec.template.spec"
FIRST = f"{IN}.containers.0"
HASHES = ("spec", "template", "metadata", "annotations", "churn/tokens")
ON = {"kubernetes:apps/v1:Deployment pod": POD}
PODS = [
    Case(
        rule="pod-non-root",
        good=ON,
        bad=[
            ("pod", f"{FIRST}.securityContext.runAsNonRoot", False),
            ("pod", f"{IN}.securityContext.runAsNonRoot", False),
            ("pod", f"{IN}.securityContext.runAsUser", 0),
        ],
        may_be_missing=[f"{FIRST}.securityContext.runAsNonRoot", f"{IN}.securityContext.runAsUser"],
    ),
    Case(rule="pod-read-only", good=ON, bad=[("pod", f"{FIRST}.securityContext.readOnlyRootFilesystem", False)]),
    Case(
        rule="pod-no-privilege",
        good=ON,
        bad=[
            ("pod", f"{FIRST}.securityContext.privileged", True),
            ("pod", f"{FIRST}.securityContext.allowPrivilegeEscalation", True),
            ("pod", f"{IN}.hostNetwork", True),
            ("pod", f"{IN}.hostPID", True),
            ("pod", f"{IN}.hostIPC", True),
            ("pod", f"{IN}.volumes.0.hostPath", {"path": "/"}),
            ("pod", f"{FIRST}.ports.0.hostPort", 80),
        ],
        may_be_missing=[
            f"{FIRST}.securityContext.privileged",
            *(f"{IN}.{each}" for each in ("hostNetwork", "hostPID", "hostIPC", "volumes.0.hostPath")),
            f"{FIRST}.ports.0.hostPort",
        ],
    ),
    Case(
        rule="pod-capabilities",
        good=ON,
        bad=[
            ("pod", f"{FIRST}.securityContext.capabilities", {"add": ["NET_RAW"]}),
            ("pod", f"{FIRST}.securityContext.capabilities.add", ["NET_RAW"]),
        ],
        may_be_missing=[f"{FIRST}.securityContext.capabilities.add"],
    ),
    Case(
        rule="pod-seccomp",
        good=ON,
        bad=[
            ("pod", f"{IN}.securityContext.seccompProfile.type", "Unconfined"),
            ("pod", f"{FIRST}.securityContext.seccompProfile", {"type": "Unconfined"}),
        ],
        may_be_missing=[f"{FIRST}.securityContext.seccompProfile"],
    ),
    Case(
        rule="pod-resources",
        good=ON,
        bad=[("pod", f"{FIRST}.resources.limits.memory", GONE), ("pod", f"{FIRST}.resources.requests.cpu", "")],
    ),
    Case(
        rule="pod-probes",
        good=ON,
        bad=[("pod", f"{FIRST}.readinessProbe", GONE), ("pod", f"{FIRST}.livenessProbe", {"periodSeconds": 5})],
    ),
    Case(
        rule="pod-images",
        good=ON,
        bad=[("pod", f"{FIRST}.image", "churn:latest"), ("pod", f"{FIRST}.image", "churn@sha256:1")],
    ),
    Case(
        rule="pod-no-secret-in-env",
        good=ON,
        bad=[
            ("pod", f"{FIRST}.env.0", {"name": "PGPASSWORD", "value": "hunter2"}),
            ("pod", f"{FIRST}.env.0", {"name": "DB", "value": "postgres://m:hunter2@db/m"}),  # pragma: allowlist secret
            ("pod", f"{FIRST}.env.0", {"name": "PGPASSFILE", "valueFrom": {"secretKeyRef": {"name": "password"}}}),
            ("pod", f"{FIRST}.envFrom", [{"secretRef": {"name": "password"}}]),
        ],
        may_be_missing=[f"{FIRST}.env.0", f"{FIRST}.envFrom"],
    ),
    Case(
        rule="pod-account",
        good=ON,
        bad=[
            ("pod", f"{IN}.automountServiceAccountToken", GONE),
            ("pod", f"{IN}.serviceAccountName", "default"),
            ("pod", f"{IN}.automountServiceAccountToken", True),
        ],
    ),
    Case(
        rule="pod-clients",
        settings={"tokens": True},
        good=ON,
        bad=[
            ("pod", f"{FIRST}.env.0.name", "CHURN_TOKEN"),
            ("pod", f"{FIRST}.env.0.value", ""),
            ("pod", f"{FIRST}.env.0", {"name": "CHURN_TOKENS"}),
            ("pod", f"{FIRST}.env", []),
            ("pod", f"{FIRST}.name", "other"),
            ("pod", f"{IN}.containers", []),
            ("pod", HASHES, "{}"),
            ("pod", HASHES, "no JSON"),
            ("pod", HASHES, json.dumps({"predict": [], "operate": ["1" * 64]})),
            ("pod", HASHES, json.dumps({"predict": ["1" * 63]})),
            ("pod", HASHES, json.dumps({"predict": ["g" * 64]})),
        ],
    ),
]

SPACE, POLICY = "kubernetes:core/v1:Namespace", "kubernetes:networking.k8s.io/v1:NetworkPolicy"
SERVED, WAY_IN = "kubernetes:core/v1:Service", "kubernetes:networking.k8s.io/v1:Ingress"
ANNOTATED = ("metadata", "annotations")
ISOLATION = [
    Case(
        rule="namespace-default-deny",
        settings={"others": ["keda"]},
        good={
            f"{SPACE} ours": {"metadata": {"name": "churn"}},
            f"{SPACE} theirs": {"metadata": {"name": "keda"}},
            f"{POLICY} deny": {
                "metadata": {"namespace": "churn"},
                "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
            },
        },
        bad=[
            ("deny", "", None),
            ("deny", "spec.policyTypes", ["Ingress"]),
            ("deny", "spec.podSelector", {"matchLabels": {"app": "x"}}),
            ("deny", "spec.ingress", [{}]),
            ("deny", "metadata.namespace", "other"),
        ],
        may_be_missing=["spec.podSelector", "spec.ingress"],
    ),
    Case(
        rule="network-policy-openings",
        settings={"ports": [443]},
        good={
            f"{POLICY} open": {
                "spec": {
                    "podSelector": {"matchLabels": {"app": "x", "app.kubernetes.io/part-of": "churn"}},
                    "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "x"}}}], "ports": [{"port": 8080}]}],
                    "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 443}]}],
                }
            }
        },
        bad=[
            ("open", "spec.ingress.0.from", GONE),
            ("open", "spec.ingress.0.from.0", {}),
            ("open", "spec.ingress.0.ports", GONE),
            ("open", "spec.ingress.0.ports.0", {"protocol": "TCP"}),
            ("open", "spec.ingress.0.from.0", {"ipBlock": {"cidr": "0.0.0.0/0"}}),
            ("open", "spec.egress.0.ports.0.port", 25),
            ("open", "spec.podSelector.matchLabels.app", GONE),
            ("open", "spec.ingress.0.from.0", {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "x"}}}),
        ],
        may_be_unknown=["spec.podSelector.matchLabels.app"],
    ),
    Case(
        rule="namespace-pod-security",
        settings={"lower": {"monitoring": "baseline"}},
        good={
            f"{SPACE} ours": {"metadata": {"name": "churn", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
            f"{SPACE} theirs": {"metadata": {"name": "monitoring", "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}},
        },
        bad=[
            ("ours", "metadata.labels", {}),
            ("ours", ("metadata", "labels", "pod-security.kubernetes.io/enforce"), "baseline"),
        ],
    ),
    Case(
        rule="namespace-own",
        good={f"{SERVED} service": {"metadata": {"namespace": "churn"}}},
        bad=[("service", "metadata.namespace", "default"), ("service", "metadata", {})],
    ),
    Case(
        rule="service-internal",
        good={f"{SERVED} service": {"spec": {"type": "ClusterIP"}}},
        bad=[
            ("service", "spec.type", "LoadBalancer"),
            ("service", "spec.type", "NodePort"),
            ("service", "spec.externalIPs", ["203.0.113.7"]),
        ],
        may_be_missing=["spec.type", "spec.externalIPs"],
    ),
    Case(
        rule="ingress-internal",
        good={
            f"{WAY_IN} in": {
                "metadata": {
                    "annotations": {
                        "alb.ingress.kubernetes.io/scheme": "internal",
                        "alb.ingress.kubernetes.io/inbound-cidrs": "10.30.0.0/16",
                    }
                }
            }
        },
        bad=[
            ("in", (*ANNOTATED, "alb.ingress.kubernetes.io/scheme"), "internet-facing"),
            ("in", (*ANNOTATED, "alb.ingress.kubernetes.io/inbound-cidrs"), "10.30.0.0/16,0.0.0.0/0"),
        ],
    ),
    Case(
        rule="disruption-budget",
        good={
            **ON,
            "kubernetes:policy/v1:PodDisruptionBudget budget": {
                "metadata": {"namespace": "churn"},
                "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "inference"}}},
            },
            "kubernetes:autoscaling/v2:HorizontalPodAutoscaler scaler": {
                "spec": {"minReplicas": 3, "scaleTargetRef": {"name": "other"}}
            },
        },
        bad=[
            ("budget", "", None),
            ("budget", "spec.maxUnavailable", 3),
            ("budget", "spec.maxUnavailable", 0),
            ("budget", "spec.selector.matchLabels", {"app": "other"}),
            ("budget", "metadata.namespace", "other"),
        ],
    ),
    Case(
        rule="rbac-least-privilege",
        good={
            "kubernetes:rbac.authorization.k8s.io/v1:Role role": {
                "rules": [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]
            }
        },
        bad=[
            ("role", "rules.0.verbs", ["*"]),
            ("role", "rules.0.resources", ["secrets"]),
            ("role", "rules.0.verbs", ["bind"]),
            ("role", "rules.0.apiGroups.0", "*"),
        ],
        may_be_missing=["rules.0.verbs", "rules.0.resources", "rules.0.apiGroups.0"],
    ),
    Case(
        rule="rbac-bindings",
        good={
            "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding binding": {
                "roleRef": {"name": "churn-viewer"},
                "subjects": [{"name": "churn:viewer"}],
            }
        },
        bad=[
            ("binding", "roleRef.name", "cluster-admin"),
            ("binding", "subjects.0.name", "system:authenticated"),
        ],
        may_be_missing=["roleRef.name", "subjects.0.name"],
    ),
    Case(
        rule="account-no-token",
        good={"kubernetes:core/v1:ServiceAccount account": {"automountServiceAccountToken": False}},
        bad=[("account", "automountServiceAccountToken", True)],
    ),
    Case(
        rule="secrets-not-in-state",
        good={"kubernetes:core/v1:Secret secret": {"metadata": {"name": "x"}}},
        bad=[("secret", "stringData", {"password": "hunter2"}), ("secret", "data", {"password": "aHVudGVyMg=="})],
        may_be_missing=["stringData", "data"],
    ),
]

CASES = {case.rule: case for group in (BUCKETS, NETWORK, EKS, DATABASE, IAM, OTHERS, STACK, PODS, ISOLATION) for case in group}
