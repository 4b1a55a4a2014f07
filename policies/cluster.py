"""The EKS control plane, its add-ons and the machines of the node groups."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Annotated

from msgspec import Meta

from policies.declared import Resource, Stack, UnreadableError, shown
from policies.rule import EachRule, Settings, StackRule, Whole

CLUSTER, COMPONENT = "aws:eks/cluster:Cluster", "eks:index:Cluster"
NODES, TEMPLATE = "aws:eks/nodeGroup:NodeGroup", "aws:ec2/launchTemplate:LaunchTemplate"
ADDON, LOG_GROUP = "aws:eks/addon:Addon", "aws:cloudwatch/logGroup:LogGroup"
LOGS = {"api", "audit", "authenticator", "controllerManager", "scheduler"}
# One machine or one office.
WIDEST_PREFIX = 24


def _endpoint(cluster: Resource, _: Settings) -> Iterator[str]:
    place = cluster["vpcConfig"]
    if (found := place["endpointPrivateAccess"]).known is not True:
        yield f"{found.place} is {shown(found.value)}; give true"
    # AWS opens it where nothing is said.
    if (found := place["endpointPublicAccess"]).known is not False:
        yield f"{found.place} is {shown(found.value)}; give false, or an exemption with a last day for the first `up`"


def _ranges(cluster: Resource, _: Settings) -> Iterator[str]:
    place = cluster["vpcConfig"]
    if place["endpointPublicAccess"].known is False:
        return
    if not (ranges := list(place["publicAccessCidrs"])):
        yield "vpcConfig.publicAccessCidrs is missing, which lets everybody ask; give the operator's address as a /32"
    for each in ranges:
        try:
            wide = ip_network(each.text).prefixlen < WIDEST_PREFIX
        except ValueError as exc:
            raise UnreadableError(f"{each.place} is {shown(each.value)}; give the operator's address as a /32") from exc
        if wide:
            yield f"{each.place} is {shown(each.value)}; give a /{WIDEST_PREFIX} at most, best the operator's address as a /32"


def _logging(cluster: Resource, _: Settings) -> Iterator[str]:
    if missing := sorted(LOGS - set(cluster["enabledClusterLogTypes"].texts)):
        yield f"enabledClusterLogTypes has no {', '.join(missing)}; give all five"


def _secrets(cluster: Resource, _: Settings) -> Iterator[str]:
    encryption = cluster["encryptionConfig"]
    if "secrets" not in encryption["resources"].texts or not encryption["provider"]["keyArn"].given:
        yield f"encryptionConfig is {shown(encryption.value)}; give resources secrets with the ARN of a key of the stack"


def _authentication(cluster: Resource, _: Settings) -> Iterator[str]:
    access = cluster["accessConfig"]
    if (found := access["authenticationMode"]).known != "API":
        yield f"{found.place} is {shown(found.value)}; give API, so that access entries are the only way in"
    if (found := access["bootstrapClusterCreatorAdminPermissions"]).known is not False:
        yield f"{found.place} is {shown(found.value)}; give false, so that nobody is an admin by having run the first `up`"


class Versions(Settings, frozen=True, kw_only=True):
    """The Kubernetes versions that EKS supports without a surcharge."""

    supported: tuple[Annotated[str, Meta(pattern=r"^1\.\d\d$", examples=["1.35"])], ...]


def _version(resource: Resource, settings: Versions) -> Iterator[str]:
    if resource["version"].known not in settings.supported:
        yield f"version is {shown(resource['version'].value)}; give one of {', '.join(settings.supported)}"


def _seen(stack: Stack, _: Settings) -> Whole:
    for component in stack.of(COMPONENT):
        if not any(each.name.startswith(component.name) for each in stack.of(CLUSTER)):
            yield component, "its control plane is not among the resources, so that no rule has seen it; preview the whole stack"


def _metadata(template: Resource, _: Settings) -> Iterator[str]:
    options = template["metadataOptions"]
    if (found := options["httpTokens"]).known != "required":
        yield f"{found.place} is {shown(found.value)}; give required (IMDSv2)"
    if (found := options["httpPutResponseHopLimit"]).known != 1:
        yield f"{found.place} is {shown(found.value)}; give 1, so that no pod gets the node's credentials"
    if (found := options["httpEndpoint"]).known != "enabled":
        yield f"{found.place} is {shown(found.value)}; give enabled, as a node cannot join without"


def _disks(template: Resource, _: Settings) -> Iterator[str]:
    if not (disks := list(template["blockDeviceMappings"])):
        yield "blockDeviceMappings is missing; give the root disk, encrypted with a key of the stack"
    for disk in disks:
        ebs = disk["ebs"]
        if str(ebs["encrypted"].known).lower() != "true" or not ebs["kmsKeyId"].given:
            yield f"{ebs.place} is not encrypted with a key of the stack; give encrypted true and its kmsKeyId"
        if str(ebs["deleteOnTermination"].known).lower() != "true":
            yield f"{ebs.place}.deleteOnTermination is {shown(ebs['deleteOnTermination'].value)}; give true"


def _addresses(template: Resource, _: Settings) -> Iterator[str]:
    if not (interfaces := list(template["networkInterfaces"])):
        yield "networkInterfaces is missing, which leaves addresses to the subnet; give one with associatePublicIpAddress false"
    for each in interfaces:
        if str((found := each["associatePublicIpAddress"]).known).lower() != "false":
            yield f"{found.place} is {shown(found.value)}; give false"
        if not each["securityGroups"].given:
            yield f"{each.place}.securityGroups is missing, for which EKS takes one that lets everything out; give the stack's"


def _template(group: Resource, _: Settings) -> Iterator[str]:
    template = group["launchTemplate"]
    if not (template["id"].given or template["name"].given):
        yield "launchTemplate is missing, so that AWS chooses disks and metadata settings; give the stack's"
    version = template["version"].value
    if version in (None, "", "$Latest", "$Default"):
        yield f"launchTemplate.version is {shown(version)}; give the template's own latestVersion"
    if group["remoteAccess"].given:
        yield f"remoteAccess is {shown(group['remoteAccess'].value)}; leave it out: nobody logs into nodes"
    if not group["releaseVersion"].given:
        yield "releaseVersion is missing, so that each new node may be another image; give the pinned one"


class Addons(Settings, frozen=True, kw_only=True):
    """The add-ons that a stack may run, each with its one version."""

    pinned: dict[str, Annotated[str, Meta(examples=["v1.22.3-eksbuild.1"])]]


def _addons(addon: Resource, settings: Addons) -> Iterator[str]:
    name, version = addon["addonName"].text, addon["addonVersion"].known
    if name not in settings.pinned:
        yield f"addonName is {name}, which is none of {', '.join(sorted(settings.pinned))}; pin it first"
    elif version != settings.pinned[name]:
        yield f"addonVersion is {shown(version)}; give {settings.pinned[name]}"
    if name == "vpc-cni" and addon["configurationValues"].document["enableNetworkPolicy"].known not in ("true", True):
        yield 'configurationValues does not enable network policies; give enableNetworkPolicy "true", or they do nothing'


def _in_force(stack: Stack, _: Settings) -> Whole:
    """What must stand beside a cluster, as its absence is not seen in it."""
    for cluster in stack.of(CLUSTER):
        if not any(each["addonName"].known == "vpc-cni" for each in stack.of(ADDON)):
            yield cluster, "nothing enforces its network policies; declare the add-on vpc-cni"
        name = f"/aws/eks/{cluster['name'].text}/cluster"
        if not any(each["name"].known == name for each in stack.of(LOG_GROUP)):
            yield cluster, f"its logs have neither key nor end; declare a LogGroup {name}"


def _entries(entry: Resource, _: Settings) -> Iterator[str]:
    for each in entry["kubernetesGroups"]:
        if each.text.startswith("system:"):
            yield f"{each.place} is {each.text}, a group of Kubernetes' own; give one of the stack's"
    arn = entry["principalArn"].value
    if isinstance(arn, str) and ("*" in arn or arn.endswith(":root")):
        yield f"principalArn is {arn}; give one IAM role"


RULES = (
    EachRule(
        id="eks-private-endpoint",
        why="A control plane that the internet cannot reach cannot be tried from there.",
        severity="critical",
        frameworks=("CIS EKS 1.7.0 5.4.2",),
        example="vpcConfig.endpointPublicAccess is true; give false, or an exemption with a last day for the first `up`",
        types=(CLUSTER,),
        check=_endpoint,
    ),
    EachRule(
        id="eks-endpoint-ranges",
        why="Even where the control plane is public for a while, it is so for one address and not for everybody.",
        severity="critical",
        frameworks=("CIS EKS 1.7.0 5.4.1",),
        example='vpcConfig.publicAccessCidrs[0] is "0.0.0.0/0"; give a /24 at most, best the operator\'s address as a /32',
        types=(CLUSTER,),
        check=_ranges,
    ),
    EachRule(
        id="eks-logging",
        why="What was asked of the control plane, and by whom, can be told afterwards.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 2.1.1", "Well-Architected SEC04-BP01"),
        example="enabledClusterLogTypes has no audit; give all five",
        types=(CLUSTER,),
        check=_logging,
    ),
    EachRule(
        id="eks-secrets-encryption",
        why="Kubernetes secrets are readable only to those who may use the key.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 5.3.1",),
        example="encryptionConfig is missing; give resources secrets with the ARN of a key of the stack",
        types=(CLUSTER,),
        check=_secrets,
    ),
    EachRule(
        id="eks-authentication",
        why="Access entries are declared and reviewed; the config map and the creator's rights are not.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 4.1.7",),
        example='accessConfig.authenticationMode is "CONFIG_MAP"; give API, so that access entries are the only way in',
        types=(CLUSTER,),
        check=_authentication,
    ),
    EachRule(
        id="eks-version",
        why="A version out of support gets no fixes and costs six times as much.",
        severity="medium",
        frameworks=("NSA Kubernetes Hardening: upgrading and application security practices",),
        example='version is "1.29"; give one of 1.33, 1.34, 1.35',
        settings=Versions,
        types=(CLUSTER, NODES),
        check=_version,
    ),
    StackRule(
        id="eks-seen",
        why="The cluster is made inside a component: had its parts not been shown to the rules, none of them would have failed.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 5.4",),
        needs="presence",
        example="its control plane is not among the resources, so that no rule has seen it; preview the whole stack",
        check=_seen,
    ),
    EachRule(
        id="node-metadata",
        why="A pod that reaches the node's metadata takes over the node's role.",
        severity="critical",
        frameworks=("CIS AWS 5.0.0 5.7",),
        example='metadataOptions.httpTokens is "optional"; give required (IMDSv2)',
        types=(TEMPLATE,),
        check=_metadata,
    ),
    EachRule(
        id="node-disks",
        why="Images, logs and volumes of pods lie on the nodes' disks.",
        severity="high",
        frameworks=("CIS AWS 5.0.0 5.1.1", "Well-Architected SEC08-BP02"),
        example="blockDeviceMappings[0].ebs is not encrypted with a key of the stack; give encrypted true and its kmsKeyId",
        types=(TEMPLATE,),
        check=_disks,
    ),
    EachRule(
        id="node-addresses",
        why="A node with a public address can be found by everybody.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 5.4.3",),
        example='networkInterfaces[0].associatePublicIpAddress is "true"; give false',
        types=(TEMPLATE,),
        check=_addresses,
    ),
    EachRule(
        id="node-template",
        why="A group without a template of ours has AWS's disks, metadata settings and keys for logging in.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 5.4.3",),
        needs="presence",
        example="launchTemplate is missing, so that AWS chooses disks and metadata settings; give the stack's",
        types=(NODES,),
        check=_template,
    ),
    EachRule(
        id="eks-addons",
        why="An add-on without a version changes under a running cluster; without network policies nothing is kept apart.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 4.3.1", "CIS EKS 1.7.0 5.4.4"),
        example="addonVersion is missing; give v1.22.3-eksbuild.1",
        settings=Addons,
        types=(ADDON,),
        check=_addons,
    ),
    StackRule(
        id="eks-beside",
        why="Without the network's add-on policies do nothing; a log group that EKS makes itself has neither key nor end.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 4.3.1", "CIS EKS 1.7.0 2.1.2"),
        example="nothing enforces its network policies; declare the add-on vpc-cni",
        check=_in_force,
    ),
    EachRule(
        id="eks-entries",
        why="Kubernetes' own groups have rights that nobody here has read, and one role is somebody, a wildcard anybody.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 4.1.1",),
        needs="presence",
        example="kubernetesGroups[0] is system:masters, a group of Kubernetes' own; give one of the stack's",
        types=("aws:eks/accessEntry:AccessEntry",),
        check=_entries,
    ),
)
