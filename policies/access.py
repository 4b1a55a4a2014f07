"""IAM: who may do what, and who may become whom."""

from collections.abc import Iterator
from typing import Annotated, Any, cast

from msgspec import Meta, field

from policies.declared import Node, Resource, Stack
from policies.rule import EachRule, Settings, StackRule, Text, Whole
from policies.statements import allowing, everywhere, kinds, matches, sid

ROLE, ROLE_POLICY, POLICY = "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy", "aws:iam/policy:Policy"
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
IDENTITY_POLICIES = {ROLE_POLICY: "policy", POLICY: "policy"}
# Documents that say who may come, beside those that say what a role may do.
RESOURCE_POLICIES = {
    ROLE: "assumeRolePolicy",
    "aws:s3/bucketPolicy:BucketPolicy": "policy",
    "aws:kms/key:Key": "policy",
    "aws:ecr/repositoryPolicy:RepositoryPolicy": "policy",
    "aws:sns/topicPolicy:TopicPolicy": "policy",
    "aws:sns/topic:Topic": "policy",
    "aws:secretsmanager/secretPolicy:SecretPolicy": "policy",
    "aws:sqs/queuePolicy:QueuePolicy": "policy",
}
# Keys of a condition that say who asks.
IDENTITIES = (
    "aws:principalarn",
    "aws:sourceaccount",
    "aws:sourcearn",
    # Log groups are named with their account.
    "kms:encryptioncontext:aws:logs:arn",
)
READING = ("*:Get*", "*:List*", "*:Describe*", "*:Batch*Get*", "*:View*", "kms:Decrypt")
# Rights that are only meant for one thing, and the keys of a condition of which one says for what.
FOR_ONE_THING = {
    "kms:Decrypt": ("kms:viaservice", "kms:resourcealiases"),
    "kms:GenerateDataKey": ("kms:viaservice", "kms:resourcealiases"),
    "kms:CreateGrant": ("kms:grantisforawsresource",),
    "iam:PassRole": ("iam:passedtoservice",),
    "iam:CreateServiceLinkedRole": ("iam:awsservicename",),
    "iam:AttachRolePolicy": ("iam:policyarn",),
    "iam:CreateRole": ("aws:requesttag/project", "aws:requesttag/stack"),
}
# What EKS says of a pod when it takes a role for it.
POD = tuple(f"aws:RequestTag/{each}" for each in ("eks-cluster-name", "kubernetes-namespace", "kubernetes-service-account"))
# Services in which everything includes rights for oneself, or the data and secrets that others keep.
NEVER_WHOLE = ("iam", "kms", "organizations", "s3", "secretsmanager", "sts")
Statement = Annotated[str, Meta(pattern="^[^/]+/[^/]+$", examples=["delivery-deploy/ManageHere"])]


class Grants(Settings, frozen=True, kw_only=True):
    """Statements, by policy and Sid, that cannot be narrower, each with the reason: on any resource, or with all of a service."""

    any_resource: dict[Statement, Text] = field(default_factory=dict[str, str])
    # Of those on any resource, the ones that change something and have no condition either.
    unconditional: dict[Statement, Text] = field(default_factory=dict[str, str])
    whole_services: dict[Statement, Text] = field(default_factory=dict[str, str])


def rights(resource: Resource) -> Iterator[Node]:
    """The documents that say what a role may do."""
    if resource.type == ROLE:
        yield from (each["policy"] for each in resource["inlinePolicies"])
    else:
        yield resource[IDENTITY_POLICIES[resource.type]]


def _wildcards(resource: Resource, settings: Grants) -> Iterator[str]:
    for statement in (each for policy in rights(resource) for each in allowing(policy)):
        name = f"{resource.name}/{sid(statement)}"
        for key in ("NotAction", "NotResource", "NotPrincipal"):
            if statement[key].given:
                yield f"{sid(statement)} allows by {key}, which is all but a few; give what is allowed"
        if not (actions := statement["Action"].texts):
            yield f"{sid(statement)} names no Action; give those that are used"
        for action in actions:
            service, _, rest = action.partition(":")
            if set(action) <= set("*:") or (rest == "*" and (service in NEVER_WHOLE or name not in settings.whole_services)):
                yield f"{sid(statement)} allows {action}; give the actions that are used"
        if everywhere(statement) and name not in settings.any_resource:
            yield f"{sid(statement)} is about every resource; give those that are meant, or a reason for {name} in `anyResource`"


def _tests(statement: Node) -> dict[str, Node]:
    """The keys of a statement's condition, in lower case, with what they are compared with."""
    return {key.lower(): value for _, operator in statement["Condition"].items for key, value in operator.items}


def _unconditional(resource: Resource, settings: Grants) -> Iterator[str]:
    for statement in (each for policy in rights(resource) for each in allowing(policy)):
        actions, tests = statement["Action"].texts, _tests(statement)
        for action, keys in FOR_ONE_THING.items():
            if matches(tuple(actions), action) and not any(tests[key].given for key in keys if key in tests):
                yield f"{sid(statement)} allows {action} for whatever it may be; give a condition on {keys[0]}"
        changing = [each for each in actions if not matches(READING, each)]
        wide = kinds(statement) or (everywhere(statement) and f"{resource.name}/{sid(statement)}" not in settings.unconditional)
        if changing and wide and not tests:
            yield f"{sid(statement)} allows {changing[0]} on everything of a kind; give a condition, such as on a tag"
        for key, value in statement["Condition"]["Bool"].items:
            if value.text != "true":
                yield f"{sid(statement)} asks for {key} {value.text}; give true"


def _principals(statement: Node) -> list[Any]:
    found = statement["Principal"].known
    if isinstance(found, dict):
        listed = cast("dict[str, Any]", found).values()
        return [each for value in listed for each in (cast("list[Any]", value) if isinstance(value, list) else [value])]
    return [found]


def _everybody(resource: Resource, _: Settings) -> Iterator[str]:
    policy = resource[RESOURCE_POLICIES[resource.type]]
    if policy.given:
        for statement in allowing(policy):
            yield from _who(statement, resource.type)
            yield from _for_what(statement)
    elif resource.type == ROLE:
        yield "assumeRolePolicy is missing; give who may take the role"


def _who(statement: Node, kind: str) -> Iterator[str]:
    principals, tests = _principals(statement), _tests(statement)
    named = any(tests[key].given for key in IDENTITIES if key in tests)
    service = statement["Principal"].value != "*" and statement["Principal"]["Service"].given
    if statement["NotPrincipal"].given or None in principals or not principals:
        yield f"{sid(statement)} does not say whom it lets in; give a Principal"
    if "*" in principals and (service or not named):
        yield f"{sid(statement)} lets everybody in; give a Principal, or a condition on {IDENTITIES[0]}"
    # A service of AWS works for every account that asks it to; a role of machines or clusters is taken in this one alone.
    if service and not named and kind != ROLE:
        yield f"{sid(statement)} lets a service in for any account; give a condition on aws:sourceaccount"


def _for_what(statement: Node) -> Iterator[str]:
    actions, principals = statement["Action"].texts, _principals(statement)
    if not actions:
        yield f"{sid(statement)} names no Action; give those that are used"
    root = principals and all(str(each).endswith(":root") for each in principals)
    for action in actions:
        if set(action) <= set("*:") or (action.endswith(":*") and not root):
            yield f"{sid(statement)} lets in for {action}; give the actions that are used"
        grants = _tests(statement).get("kms:grantisforawsresource")
        if action == "kms:CreateGrant" and (grants is None or grants.text != "true"):
            yield f"{sid(statement)} lets in for {action}; give a condition that kms:GrantIsForAWSResource is true"


def _trust(role: Resource, _: Settings) -> Iterator[str]:
    for statement in allowing(role["assumeRolePolicy"]):
        for action in statement["Action"].texts:
            if action not in ("sts:AssumeRole", "sts:TagSession", "sts:AssumeRoleWithWebIdentity"):
                yield f"{sid(statement)} lets in for {action}; give sts:AssumeRole"
        if "pods.eks.amazonaws.com" in _principals(statement):
            equals = statement["Condition"]["StringEquals"]
            for key in (each for each in POD if not equals[each].given):
                yield f"{sid(statement)} lets in pods whatever their {key.rpartition('/')[2]}; give StringEquals {key}"


class ManagedPolicies(Settings, frozen=True, kw_only=True):
    """The policies that AWS keeps and a role here may have."""

    allowed: tuple[Annotated[str, Meta(examples=["AmazonEKSWorkerNodePolicy"])], ...]


def _managed(attachment: Resource, settings: ManagedPolicies) -> Iterator[str]:
    arn = attachment["policyArn"].value
    # One of the stack's own is read where it is declared.
    if isinstance(arn, str) and (name := arn.rpartition("/")[2]) not in settings.allowed:
        yield f"policyArn is {name}, which nobody here has read; give one of {', '.join(settings.allowed)}"
    if arn is None:
        yield "policyArn is missing; give a policy"


# What gives a role rights, or somebody a role, and the input that names it.
GIVING = {
    ROLE_POLICY: ("role", ROLE),
    ATTACHMENT: ("role", ROLE),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": ("roleArn", ROLE),
}
ENTRY, RIGHTS = "aws:eks/accessEntry:AccessEntry", "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"


def _called(stack: Stack, _: Settings) -> Whole:
    for kind, (key, target) in GIVING.items():
        for giving in stack.of(kind):
            meant = next((each for each in stack.of(target) if each.is_meant_by(giving[key])), None)
            if meant and not giving.name.startswith(meant.name.removesuffix("-role")):
                yield giving, f"{key} is {meant.name}, by whose name it is not called; give its own, or call it {meant.name}"
    entries = {each.name: each["principalArn"].value for each in stack.of(ENTRY)}
    for rights in stack.of(RIGHTS):
        if entries.get(rights.name) != rights["principalArn"].value:
            yield rights, f"principalArn is not that of the access entry {rights.name}; give its"


def _people(resource: Resource, _: Settings) -> Iterator[str]:
    yield f"it is a {resource.type.rpartition(':')[2]}, whose keys never expire; give a role"


RULES = (
    EachRule(
        id="iam-for-one-thing",
        why="A key, or a role to pass on, is lent for one use: without a condition it is lent for all.",
        severity="high",
        frameworks=("Well-Architected SEC03-BP02",),
        example="Decrypt allows kms:Decrypt for whatever it may be; give a condition on kms:viaservice",
        settings=Grants,
        types=(ROLE, ROLE_POLICY, POLICY),
        check=_unconditional,
    ),
    EachRule(
        id="iam-pod-identities",
        why="Every pod of the cluster comes as the same service of AWS: only its tags say which one it is.",
        severity="critical",
        frameworks=("CIS EKS 1.7.0 5.2.1",),
        example=(
            "Pods lets in pods whatever their kubernetes-service-account; "
            "give StringEquals aws:RequestTag/kubernetes-service-account"
        ),
        types=(ROLE,),
        check=_trust,
    ),
    EachRule(
        id="iam-least-privilege",
        why="A right on everything is a right on what will be there tomorrow.",
        severity="critical",
        frameworks=("CIS AWS 1.4.0 1.16", "Well-Architected SEC03-BP02"),
        example="Everything allows s3:*; give the actions that are used",
        settings=Grants,
        types=(ROLE, ROLE_POLICY, POLICY),
        check=_wildcards,
    ),
    EachRule(
        id="iam-named-principals",
        why="A policy that lets everybody in is a publication.",
        severity="critical",
        frameworks=("Well-Architected SEC03-BP07",),
        example="Open lets everybody in; give a Principal, or a condition on aws:principalarn",
        types=tuple(RESOURCE_POLICIES),
        check=_everybody,
    ),
    EachRule(
        id="iam-managed-policies",
        why="What AWS's own policies allow is not written here and changes without notice.",
        severity="high",
        frameworks=("Well-Architected SEC03-BP02",),
        needs="presence",
        example="policyArn is AdministratorAccess, which nobody here has read; give one of AmazonEKSWorkerNodePolicy",
        settings=ManagedPolicies,
        types=(ATTACHMENT,),
        check=_managed,
    ),
    StackRule(
        id="iam-called-after-role",
        why="Rights that are given to another role than they were written for are seen by nobody who reads either.",
        severity="high",
        frameworks=("Well-Architected SEC03-BP02",),
        needs="presence",
        example="role is other, by whose name it is not called; give its own, or call it other",
        check=_called,
    ),
    EachRule(
        id="iam-no-users",
        why="A user's keys are copied, forgotten and found again; a role's last an hour.",
        severity="high",
        frameworks=("CIS AWS 5.0.0 1.14", "Well-Architected SEC02-BP02"),
        needs="presence",
        example="it is a AccessKey, whose keys never expire; give a role",
        types=("aws:iam/user:User", "aws:iam/accessKey:AccessKey", "aws:iam/userPolicy:UserPolicy"),
        check=_people,
    ),
)
