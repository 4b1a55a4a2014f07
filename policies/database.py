"""The database: encrypted, private, backed up, and its password known to nobody."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from policies.declared import Resource, Stack, shown
from policies.rule import EachRule, Settings, StackRule, Whole

INSTANCE, PARAMETERS = "aws:rds/instance:Instance", "aws:rds/parameterGroup:ParameterGroup"


def _encrypted(database: Resource, _: Settings) -> Iterator[str]:
    if database["storageEncrypted"].known is not True:
        yield f"storageEncrypted is {shown(database['storageEncrypted'].value)}; give true"
    if not database["kmsKeyId"].given:
        yield "kmsKeyId is missing; give a key of the stack"


def _private(database: Resource, _: Settings) -> Iterator[str]:
    if database["publiclyAccessible"].known is not False:
        yield f"publiclyAccessible is {shown(database['publiclyAccessible'].value)}; give false"
    for key in ("dbSubnetGroupName", "vpcSecurityGroupIds"):
        if not database[key].given:
            yield f"{key} is missing, for which AWS takes its default; give the stack's"


def _password(database: Resource, _: Settings) -> Iterator[str]:
    if database["manageMasterUserPassword"].known is not True:
        yield f"manageMasterUserPassword is {shown(database['manageMasterUserPassword'].value)}; give true"
    # An output that RDS leaves empty is no password.
    for key in ("password", "passwordWo"):
        if database[key].given:
            yield f"{key} is given, and kept in the state; leave it to RDS by manageMasterUserPassword"
    if not database["masterUserSecretKmsKeyId"].given:
        yield "masterUserSecretKmsKeyId is missing; give a key of the stack, so that its policy says who reads the password"


class Redundancy(Settings, frozen=True, kw_only=True):
    """Whether a standby in another zone is wanted."""

    multi_zone: Annotated[bool, Meta(examples=[True])]


def _standby(database: Resource, settings: Redundancy) -> Iterator[str]:
    if settings.multi_zone and database["multiAz"].known is not True:
        yield f"multiAz is {shown(database['multiAz'].value)}; give true"


class Safety(Settings, frozen=True, kw_only=True):
    """How long backups are kept, and whether the database may be deleted."""

    backup_days: Annotated[int, Meta(ge=1, le=35, examples=[7])]
    deletion_protection: Annotated[bool, Meta(examples=[True])]


def _kept(database: Resource, settings: Safety) -> Iterator[str]:
    if (days := database["backupRetentionPeriod"]).number < settings.backup_days:
        yield f"backupRetentionPeriod is {shown(days.value)}; give {settings.backup_days} or more"
    if not settings.deletion_protection:
        return
    if database["deletionProtection"].known is not True:
        yield f"deletionProtection is {shown(database['deletionProtection'].value)}; give true"
    if database["skipFinalSnapshot"].known is not False or not database["finalSnapshotIdentifier"].given:
        yield "a deletion leaves no snapshot; give skipFinalSnapshot false and a finalSnapshotIdentifier"


def _current(database: Resource, _: Settings) -> Iterator[str]:
    if database["autoMinorVersionUpgrade"].known is not True:
        yield f"autoMinorVersionUpgrade is {shown(database['autoMinorVersionUpgrade'].value)}; give true"
    if "." in database["engineVersion"].text:
        yield f"engineVersion is {shown(database['engineVersion'].value)}; give the major version alone, RDS takes the fixes"


def _tls(stack: Stack, _: Settings) -> Whole:
    for database in stack.of(INSTANCE):
        groups = [each for each in stack.of(PARAMETERS) if each.is_meant_by(database["parameterGroupName"])]
        forced = [
            each["value"].known for group in groups for each in group["parameters"] if each["name"].known == "rds.force_ssl"
        ]
        if forced != ["1"]:
            yield database, "it takes connections without TLS; give a parameterGroupName whose parameters have rds.force_ssl 1"


RULES = (
    EachRule(
        id="database-encrypted",
        why="Disks, snapshots and backups are readable only to those who may use the key.",
        severity="high",
        frameworks=("CIS AWS 5.0.0 2.2.1", "Well-Architected SEC08-BP02"),
        example="storageEncrypted is false; give true",
        types=(INSTANCE,),
        check=_encrypted,
    ),
    EachRule(
        id="database-private",
        why="A database is spoken to from inside the VPC alone.",
        severity="critical",
        frameworks=("CIS AWS 5.0.0 2.2.3",),
        example="publiclyAccessible is true; give false",
        types=(INSTANCE,),
        check=_private,
    ),
    EachRule(
        id="database-password",
        why="A password that RDS makes, keeps and rotates is in no file, state or log.",
        severity="critical",
        frameworks=("Well-Architected SEC02-BP03",),
        example="password is given, and kept in the state; leave it to RDS by manageMasterUserPassword",
        types=(INSTANCE,),
        check=_password,
    ),
    EachRule(
        id="database-multi-zone",
        why="The loss of a zone is the loss of a minute.",
        severity="high",
        frameworks=("Well-Architected REL10-BP01",),
        example="multiAz is false; give true",
        settings=Redundancy,
        types=(INSTANCE,),
        check=_standby,
    ),
    EachRule(
        id="database-kept",
        why="What is deleted by mistake, or written wrongly, can be brought back.",
        severity="high",
        frameworks=("Well-Architected REL09-BP03",),
        example="backupRetentionPeriod is 1; give 30 or more",
        settings=Safety,
        types=(INSTANCE,),
        check=_kept,
    ),
    EachRule(
        id="database-current",
        why="Minor versions carry the security fixes.",
        severity="medium",
        frameworks=("CIS AWS 5.0.0 2.2.2",),
        example="autoMinorVersionUpgrade is false; give true",
        types=(INSTANCE,),
        check=_current,
    ),
    StackRule(
        id="database-tls",
        why="Without TLS the password and the data are read by whoever is on the way.",
        severity="high",
        frameworks=("Well-Architected SEC09-BP02",),
        example="it takes connections without TLS; give a parameterGroupName whose parameters have rds.force_ssl 1",
        check=_tls,
    ),
)
