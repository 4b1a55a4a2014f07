"""What workflows of the project's repository may do in the account, as plain documents."""

from collections.abc import Sequence
from dataclasses import dataclass

from stacks.documents import Document, policy
from stacks.grants import allow, by_key
from stacks.rights import BUCKETS, CHANGES, EKS_POLICIES, KEYS, LINKED_FOR, MANAGED, QUESTIONS, ROLE_OWNERS, ROLES_FOR

GITHUB = "token.actions.githubusercontent.com"
STATE_KEY = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/churn-state"}}
# Statements on any resource, by name, each with the reason why there is no narrower one.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
ANY_RESOURCE = {
    "ReadSettings": "what a plan compares with; most of these questions AWS cannot limit to resources",
    "LogInToImages": "AWS has one login for all repositories of an account; pushing is limited to one",
    "ManageHere": "what is made has no name before; limited to the stack's region, and to kinds that the program declares",
    "ManageBudgets": "budgets are in no region and carry no condition but tags",
    "NeverBecome": "a refusal, of every other role",
    "NeverOthers": "a refusal, of whatever carries another stack's tag",
    "NeverPasswords": "a refusal, of every secret",
}


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The stack that a workflow works for, and where it is."""

    stack: str
    region: str
    account_id: str
    repository: str
    cluster_name: str

    def arn(self, service: str, resource: str) -> str:
        """Something of the account in the region."""
        return f"arn:aws:{service}:{self.region}:{self.account_id}:{resource}"

    def role_arn(self, name: str) -> str:
        """A role, or a pattern of roles, of the account."""
        return f"arn:aws:iam::{self.account_id}:role/{name}"

    @property
    def provider_arn(self) -> str:
        """The account's identity provider for GitHub, of which there can be one."""
        return f"arn:aws:iam::{self.account_id}:oidc-provider/{GITHUB}"


def trust_policy(scope: Scope, subject: str) -> Document:
    """Who may take the role: GitHub, for workflows of the repository that run as `subject`."""
    # https://docs.github.com/en/actions/reference/security/oidc
    claims = {f"{GITHUB}:aud": "sts.amazonaws.com", f"{GITHUB}:sub": f"repo:{scope.repository}:{subject}"}
    statement = {
        "Sid": "WorkflowsOfTheRepository",
        "Effect": "Allow",
        "Principal": {"Federated": scope.provider_arn},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": claims},
    }
    return policy(statement)


def preview(scope: Scope) -> list[Document]:
    """Reads settings and the stack's state; no data, no image, no secret."""
    return [allow("ReadSettings", QUESTIONS, ["*"]), *_state(scope, ["s3:GetObject"], ["kms:Decrypt"])]


def release(scope: Scope) -> list[Document]:
    """Reaches the cluster, in which it is a deployer, and the stack's state: a new release changes nothing in AWS."""
    cluster = allow("ReachCluster", ["eks:DescribeCluster"], [scope.arn("eks", f"cluster/{scope.cluster_name}")])
    return [cluster, *_state_kept(scope)]


def publish(scope: Scope, images_arn: str, artifacts_arn: str, artifacts_key_arn: str) -> list[Document]:
    """Adds images and bundles; both are written once, and nothing is deleted."""
    pushing = (
        *("BatchCheckLayerAvailability", "BatchGetImage", "CompleteLayerUpload", "DescribeImages", "InitiateLayerUpload"),
        *("PutImage", "UploadLayerPart"),
    )
    return [
        allow("LogInToImages", ["ecr:GetAuthorizationToken"], ["*"]),
        allow("PushImages", [f"ecr:{each}" for each in pushing], [images_arn]),
        allow("AddBundles", ["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload"], [f"{artifacts_arn}/bundles/*"]),
        by_key("EncryptBundles", ["kms:GenerateDataKey", "kms:Decrypt"], artifacts_key_arn, f"s3.{scope.region}"),
    ]


def deploy(scope: Scope) -> list[Document]:
    """Changes whatever the program declares, but for the roles of workflows: those are their operator's.

    Whoever makes roles and starts pods with them can do what such a role may, which is why an environment wants an approval. Here
    the rights are held to the stack's region and tag, and data, passwords, other roles and other stacks are refused outright.
    """
    here = {"StringEquals": {"aws:RequestedRegion": scope.region}}
    return [
        allow("ReadSettings", QUESTIONS, ["*"]),
        allow("ManageHere", [*MANAGED, *KEYS], ["*"], here),
        allow("ManageBudgets", ["budgets:ModifyBudget", "budgets:TagResource"], ["*"]),
        allow("ManageBuckets", BUCKETS, ["arn:aws:s3:::storage-*"]),
        *_keys_of_services(scope),
        *_roles(scope),
        *_refusals(scope),
        *_state_kept(scope),
    ]


def _keys_of_services(scope: Scope) -> list[Document]:
    keys = [scope.arn("kms", "key/*")]
    tagged = {"StringEquals": {"aws:ResourceTag/stack": scope.stack}}
    for_services = tagged | {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    # RDS has whoever makes the instance make the secret of its password.
    # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html
    through = {"StringEquals": tagged["StringEquals"] | {"kms:ViaService": f"secretsmanager.{scope.region}.amazonaws.com"}}
    secrets = ["secretsmanager:CreateSecret", "secretsmanager:RotateSecret", "secretsmanager:TagResource"]
    return [
        allow("LetServicesEncrypt", ["kms:CreateGrant"], keys, for_services),
        allow("EncryptPasswords", ["kms:Decrypt", "kms:GenerateDataKey"], keys, through),
        allow("MakePasswords", secrets, [scope.arn("secretsmanager", "secret:rds!*")]),
    ]


def _roles(scope: Scope) -> list[Document]:
    made = {"StringEquals": {"aws:RequestTag/project": "churn", "aws:RequestTag/stack": scope.stack}}
    own = {"StringEquals": {"aws:ResourceTag/project": "churn", "aws:ResourceTag/stack": scope.stack}}
    roles = [scope.role_arn(f"{component}-*") for component in ROLE_OWNERS]
    change = [f"iam:{each}" for each in ("DeleteRole*", "PutRolePolicy", "UntagRole", "UpdateAssumeRolePolicy", "UpdateRole*")]
    by_aws = {"ArnLike": {"iam:PolicyARN": EKS_POLICIES}} | own
    return [
        allow("MakeRoles", ["iam:CreateRole", "iam:TagRole"], roles, made),
        allow("ChangeOwnRoles", change, roles, own),
        allow("GiveRolesToEks", ["iam:AttachRolePolicy", "iam:DetachRolePolicy"], roles, by_aws),
        allow("PassOwnRoles", ["iam:PassRole"], roles, {"StringEquals": {"iam:PassedToService": list(ROLES_FOR)}}),
        allow(
            "MakeServiceRoles",
            ["iam:CreateServiceLinkedRole"],
            [scope.role_arn("aws-service-role/*")],
            {"StringEquals": {"iam:AWSServiceName": [f"{each}.amazonaws.com" for each in LINKED_FOR]}},
        ),
    ]


def _refusals(scope: Scope) -> list[Document]:
    """What stays refused whatever a bucket's, a secret's or a role's own policy says."""
    itself = [scope.role_arn(f"churn-{scope.stack}-*"), scope.provider_arn]
    refused: dict[str, tuple[Sequence[str], Sequence[str]]] = {
        "NeverItself": ([f"iam:{each}*" for each in CHANGES], itself),
        "NeverBecome": (["sts:AssumeRole"], ["*"]),
        "NeverData": (["s3:GetObject*", "s3:PutObject*"], ["arn:aws:s3:::storage-*/*"]),
        "NeverPasswords": (["secretsmanager:GetSecretValue", "secretsmanager:BatchGetSecretValue"], ["*"]),
    }
    # Stacks may share an account: what carries the tag of another one is none of this one's business.
    others = {"StringNotEquals": {"aws:ResourceTag/stack": scope.stack}, "Null": {"aws:ResourceTag/stack": "false"}}
    changes = [*MANAGED, *KEYS]
    return [
        *(allow(sid, actions, on) | {"Effect": "Deny"} for sid, (actions, on) in refused.items()),
        allow("NeverOthers", changes, ["*"], others) | {"Effect": "Deny"},
        allow("NeverStateKey", KEYS, [scope.arn("kms", "key/*")], STATE_KEY) | {"Effect": "Deny"},
    ]


def _state_kept(scope: Scope) -> list[Document]:
    return _state(scope, ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], ["kms:Decrypt", "kms:GenerateDataKey"])


def _state(scope: Scope, on_objects: Sequence[str], on_key: Sequence[str]) -> list[Document]:
    """The stack's part of the state, for which an operator made bucket and key before there was any stack."""
    bucket = f"arn:aws:s3:::churn-state-{scope.account_id}"
    objects = [f"{bucket}/.pulumi/{each}" for each in ("meta.yaml", f"*/churn/{scope.stack}.*", f"*/churn/{scope.stack}/*")]
    return [
        allow("ListState", ["s3:ListBucket"], [bucket]),
        allow("UseState", on_objects, objects),
        allow("DecryptState", on_key, [scope.arn("kms", "key/*")], STATE_KEY),
    ]
