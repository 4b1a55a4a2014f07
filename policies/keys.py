"""Keys, images and logs: rotated, unchangeable, looked through, kept."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from policies.declared import Node, Resource, Stack, shown
from policies.rule import EachRule, Settings, StackRule, Whole

KEY, REPOSITORY = "aws:kms/key:Key", "aws:ecr/repository:Repository"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
TOPIC = "aws:sns/topic:Topic"
STORAGE_CLASS = "kubernetes:storage.k8s.io/v1:StorageClass"


class KeyLife(Settings, frozen=True, kw_only=True):
    """How long a key can be brought back after its deletion."""

    deletion_window_days: Annotated[int, Meta(ge=7, le=30, examples=[30])]


def _keys(key: Resource, settings: KeyLife) -> Iterator[str]:
    if key["enableKeyRotation"].known is not True:
        yield f"enableKeyRotation is {shown(key['enableKeyRotation'].value)}; give true"
    if (days := key["deletionWindowInDays"]).number < settings.deletion_window_days:
        yield f"deletionWindowInDays is {shown(days.value)}; give {settings.deletion_window_days} or more"
    if key["isEnabled"].known is False:
        yield "isEnabled is false, so that nothing can be decrypted; leave it out"
    if key["bypassPolicyLockoutSafetyCheck"].known is True:
        yield "bypassPolicyLockoutSafetyCheck is true, after which nobody may be able to change the key; leave it out"


def _images(repository: Resource, _: Settings) -> Iterator[str]:
    if repository["imageTagMutability"].known != "IMMUTABLE":
        yield f"imageTagMutability is {shown(repository['imageTagMutability'].value)}; give IMMUTABLE"
    if (found := repository["imageScanningConfiguration"]["scanOnPush"]).known is not True:
        yield f"{found.place} is {shown(found.value)}; give true"
    encryption = list(repository["encryptionConfigurations"])
    if not encryption or any(each["encryptionType"].known != "KMS" or not each["kmsKey"].given for each in encryption):
        yield f"encryptionConfigurations is {shown(repository['encryptionConfigurations'].value)}; give KMS with a kmsKey"


class LogLife(Settings, frozen=True, kw_only=True):
    """How long logs are kept."""

    retention_days: Annotated[int, Meta(ge=1, examples=[90])]


def _logs(group: Resource, settings: LogLife) -> Iterator[str]:
    if (days := group["retentionInDays"]).number < settings.retention_days:
        yield f"retentionInDays is {shown(days.value)}; give {settings.retention_days} or more"
    if not group["kmsKeyId"].given:
        yield "kmsKeyId is missing; give a key of the stack"


def _topics(topic: Resource, _: Settings) -> Iterator[str]:
    if not topic["kmsMasterKeyId"].given:
        yield "kmsMasterKeyId is missing; give a key of the stack"


def _volumes(storage: Resource, _: Settings) -> Iterator[str]:
    parameters = storage["parameters"]
    if parameters["encrypted"].known != "true" or not parameters["kmsKeyId"].given:
        yield f'parameters has encrypted {shown(parameters["encrypted"].value)}; give "true" and the kmsKeyId of the stack'


# Where keys are named, by what they are for: whoever may use a key for one of these can read none of the others with it.
PURPOSES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("database", "aws:rds/instance:Instance", ("kmsKeyId",)),
    ("database", "aws:rds/instance:Instance", ("masterUserSecretKmsKeyId",)),
    ("logs", LOG_GROUP, ("kmsKeyId",)),
    ("alarms", TOPIC, ("kmsMasterKeyId",)),
    ("images", REPOSITORY, ("encryptionConfigurations", "kmsKey")),
    ("cluster", "aws:eks/cluster:Cluster", ("encryptionConfig", "provider", "keyArn")),
    ("cluster", "aws:ec2/launchTemplate:LaunchTemplate", ("blockDeviceMappings", "ebs", "kmsKeyId")),
    ("cluster", STORAGE_CLASS, ("parameters", "kmsKeyId")),
    (
        "",
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        ("rules", "applyServerSideEncryptionByDefault", "kmsMasterKeyId"),
    ),
)


def _named(place: Node, path: tuple[str, ...]) -> Iterator[Node]:
    """What is named at a path, in each element of the lists on the way."""
    if not path:
        yield place
        return
    following = place[path[0]]
    for each in following if isinstance(following.value, list) else (following,):
        yield from _named(each, path[1:])


def _own(stack: Stack, _: Settings) -> Whole:
    used: dict[str, str] = {}
    for purpose, kind, path in PURPOSES:
        for resource in stack.of(kind):
            for name in (each for each in _named(resource.inputs, path) if each.given):
                key = next((each for each in stack.of(KEY) if each.is_meant_by(name)), None)
                if key is None:
                    yield resource, f"{name.place} is {shown(name.value)}, no key of this stack; give one"
                elif used.setdefault(key.name, purpose or resource.name) != (purpose or resource.name):
                    yield resource, f"{name.place} is the key {key.name}, which is for {used[key.name]}; give its own"


RULES = (
    EachRule(
        id="kms-keys",
        why="A key that is rotated limits what one leak opens; one that is deleted by mistake takes all data along.",
        severity="high",
        frameworks=("CIS AWS 5.0.0 3.6", "Well-Architected SEC08-BP01"),
        example="enableKeyRotation is false; give true",
        settings=KeyLife,
        types=(KEY,),
        check=_keys,
    ),
    StackRule(
        id="kms-own-key",
        why="A key of somebody else's is theirs to take away; one for everything opens everything.",
        severity="medium",
        frameworks=("Well-Architected SEC08-BP01",),
        needs="presence",
        example='kmsKeyId is "arn:aws:kms:eu-west-1:999999999999:key/1", no key of this stack; give one',
        check=_own,
    ),
    EachRule(
        id="ecr-images",
        why="A tag that moves makes another image of the one that was looked through; one that was not is of nobody knows what.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 5.1.1", "Well-Architected SEC06-BP01"),
        example='imageTagMutability is "MUTABLE"; give IMMUTABLE',
        types=(REPOSITORY,),
        check=_images,
    ),
    EachRule(
        id="log-groups",
        why="Logs are wanted when something has gone wrong, and that is found out late.",
        severity="medium",
        frameworks=("CIS EKS 1.7.0 2.1.2", "Well-Architected SEC04-BP01"),
        example="retentionInDays is 1; give 90 or more",
        settings=LogLife,
        types=(LOG_GROUP,),
        check=_logs,
    ),
    EachRule(
        id="topics-encrypted",
        why="An alert tells what is wrong and where.",
        severity="low",
        frameworks=("Well-Architected SEC08-BP02",),
        needs="presence",
        example="kmsMasterKeyId is missing; give a key of the stack",
        types=(TOPIC,),
        check=_topics,
    ),
    EachRule(
        id="volumes-encrypted",
        why="The provider's settings do not reach the disks that the cluster makes for itself.",
        severity="high",
        frameworks=("CIS AWS 5.0.0 5.1.1",),
        example='parameters has encrypted "false"; give "true" and the kmsKeyId of the stack',
        types=(STORAGE_CLASS,),
        check=_volumes,
    ),
)
