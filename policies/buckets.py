"""Buckets: private, encrypted, versioned, spoken to by TLS only, and never emptied by a lifecycle."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from policies.declared import Node, Resource, Stack, shown
from policies.rule import EachRule, Settings, StackRule, Whole
from policies.statements import statements

BUCKET = "aws:s3/bucket:Bucket"
POLICY = "aws:s3/bucketPolicy:BucketPolicy"
GUARDS = {
    "access block": "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    "encryption": "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "versioning": "aws:s3/bucketVersioning:BucketVersioning",
    "ownership": "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
    "policy": POLICY,
    "lifecycle": "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
}
LOGGING = "aws:s3/bucketLogging:BucketLogging"
BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


def _guards(stack: Stack, _: Settings) -> Whole:
    for bucket in stack.of(BUCKET):
        for guard, kind in GUARDS.items():
            if stack.one_for(bucket, kind, "bucket") is None:
                yield bucket, f"it has no {guard}; declare a {kind.rpartition(':')[2]} for it"


def _logged(stack: Stack, _: Settings) -> Whole:
    targets = [each["targetBucket"] for each in stack.of(LOGGING)]
    for bucket in stack.of(BUCKET):
        takes_logs = any(bucket.is_meant_by(target) for target in targets)
        if not takes_logs and stack.one_for(bucket, LOGGING, "bucket") is None:
            yield bucket, "nothing records who reads it; declare a BucketLogging for it"
    for logging in stack.of(LOGGING):
        if any(logging["targetBucket"].value == other["bucket"].value for other in stack.of(LOGGING)):
            yield logging, "targetBucket is one that is logged itself; give the one that takes the logs of all"
        if not logging["targetPrefix"].given:
            yield logging, "targetPrefix is missing; give one, so that logs of two buckets stay apart"


def _public(resource: Resource, _: Settings) -> Iterator[str]:
    for name in BLOCKS:
        if resource[name].known is not True:
            yield f"{name} is {shown(resource[name].value)}; give true"


def _encryption(resource: Resource, _: Settings) -> Iterator[str]:
    defaults = [each["applyServerSideEncryptionByDefault"] for each in resource["rules"]]
    if not defaults:
        yield "rules is empty; give one with aws:kms, or AES256 for a bucket that takes access logs"
    for default in defaults:
        algorithm = default["sseAlgorithm"]
        if algorithm.known not in ("aws:kms", "AES256"):
            yield f"{algorithm.place} is {shown(algorithm.value)}; give aws:kms, or AES256 for a bucket that takes access logs"
        if algorithm.known == "aws:kms" and not default["kmsMasterKeyId"].given:
            yield f"{default.place}.kmsMasterKeyId is missing; give the stack's own key"


def _key(stack: Stack, _: Settings) -> Whole:
    """Access logs are written to no bucket that a key of one's own encrypts."""
    targets = [each["targetBucket"] for each in stack.of(LOGGING)]
    for bucket in stack.of(BUCKET):
        encryption = stack.one_for(bucket, GUARDS["encryption"], "bucket")
        if encryption is None or any(bucket.is_meant_by(target) for target in targets):
            continue
        for rule in encryption["rules"]:
            if (found := rule["applyServerSideEncryptionByDefault"]["sseAlgorithm"]).known != "aws:kms":
                yield bucket, f"it holds data and is encrypted with {shown(found.value)}; give aws:kms with a key of the stack"


def _tls(resource: Resource, _: Settings) -> Iterator[str]:
    bucket = resource["bucket"]
    for condition, value in (("Bool aws:SecureTransport", "false"), ("NumericLessThan s3:TlsVersion", "1.2")):
        if not any(_refuses(each, condition, value) for each in statements(resource["policy"])):
            yield (
                f"policy does not refuse everybody where {condition} {value}; give such a Deny of s3:* to * "
                f"on {shown(bucket.value) if isinstance(bucket.value, str) else 'the bucket'} and all in it"
            )


def _refuses(statement: Node, condition: str, value: str) -> bool:
    operator, key = condition.split()
    # One that names further conditions refuses less.
    whole = statement["Condition"].value == {operator: {key: value}}
    resources = [each.value for each in statement["Resource"]] if isinstance(statement["Resource"].value, list) else []
    covers = len(resources) > 1 and any(isinstance(each, str) and each.endswith("/*") for each in resources)
    everybody = statement["Principal"].value in ("*", {"AWS": "*"})
    return statement["Effect"].known == "Deny" and everybody and statement["Action"].texts == ["s3:*"] and covers and whole


def _versioning(resource: Resource, _: Settings) -> Iterator[str]:
    if (found := resource["versioningConfiguration"]["status"]).known != "Enabled":
        yield f"versioningConfiguration.status is {shown(found.value)}; give Enabled"


def _ownership(resource: Resource, _: Settings) -> Iterator[str]:
    if (found := resource["rule"]["objectOwnership"]).known != "BucketOwnerEnforced":
        yield f"rule.objectOwnership is {shown(found.value)}; give BucketOwnerEnforced, so that no access list opens the bucket"


class KeptData(Settings, frozen=True, kw_only=True):
    """How long what was overwritten or deleted stays, and the lifecycles that may delete what is current."""

    old_versions_days: Annotated[int, Meta(ge=1, examples=[30])]
    logs_days: Annotated[int, Meta(ge=1, examples=[90])]
    expiring: tuple[Annotated[str, Meta(examples=["storage-logs-lifecycle"])], ...] = ()


def _kept(resource: Resource, settings: KeptData) -> Iterator[str]:
    rules = list(resource["rules"])
    if not any(rule["abortIncompleteMultipartUpload"]["daysAfterInitiation"].given for rule in rules):
        yield "no rule ends unfinished uploads, which are paid for unseen; give abortIncompleteMultipartUpload"
    for rule in rules:
        if rule["status"].known != "Enabled":
            yield f"{rule.place}.status is {shown(rule['status'].value)}; give Enabled"
        if rule["expiration"].given and resource.name not in settings.expiring:
            yield f"{rule.place}.expiration deletes what is current; leave it out, or name {resource.name} in `expiring`"
        least = {
            "expiration": ("days", settings.logs_days),
            "noncurrentVersionExpiration": ("noncurrentDays", settings.old_versions_days),
        }
        for action, (unit, days) in least.items():
            if rule[action].given and rule[action][unit].number < days:
                yield f"{rule.place}.{action}.{unit} is {shown(rule[action][unit].value)}; give {days} or more"


RULES = (
    StackRule(
        id="bucket-guards",
        why="A bucket's settings are resources of their own: one that is left out is not seen in the bucket.",
        severity="critical",
        frameworks=("CIS AWS 5.0.0 2.1.4", "Well-Architected SEC08-BP02"),
        needs="presence",
        example="it has no encryption; declare a BucketServerSideEncryptionConfiguration for it",
        check=_guards,
    ),
    StackRule(
        id="bucket-access-logs",
        why="Without access logs nobody can tell afterwards who read customers' data.",
        severity="medium",
        frameworks=("Well-Architected SEC04-BP01",),
        needs="presence",
        example="nothing records who reads it; declare a BucketLogging for it",
        check=_logged,
    ),
    EachRule(
        id="bucket-public-access",
        why="One careless policy or access list would otherwise publish the bucket.",
        severity="critical",
        frameworks=("CIS AWS 5.0.0 2.1.4", "Well-Architected SEC03-BP07"),
        example="blockPublicPolicy is false; give true",
        types=(GUARDS["access block"],),
        check=_public,
    ),
    EachRule(
        id="bucket-encryption",
        why="Data at rest is readable only to those who may also use the key.",
        severity="high",
        frameworks=("Well-Architected SEC08-BP02",),
        example="rules[0].applyServerSideEncryptionByDefault.kmsMasterKeyId is missing; give the stack's own key",
        types=(GUARDS["encryption"],),
        check=_encryption,
    ),
    StackRule(
        id="bucket-own-key",
        why="With S3's own key whoever may read the bucket may decrypt it; only a key of the stack separates the two.",
        severity="high",
        frameworks=("Well-Architected SEC08-BP01",),
        example='it holds data and is encrypted with "AES256"; give aws:kms with a key of the stack',
        check=_key,
    ),
    EachRule(
        id="bucket-tls-only",
        why="Plain HTTP shows customers' data to whoever is on the way.",
        severity="high",
        frameworks=("CIS AWS 5.0.0 2.1.1", "Well-Architected SEC09-BP02"),
        example=(
            "policy does not refuse everybody where Bool aws:SecureTransport false; "
            "give such a Deny of s3:* to * on the bucket and all in it"
        ),
        types=(POLICY,),
        check=_tls,
    ),
    EachRule(
        id="bucket-versioning",
        why="What is overwritten or deleted by mistake can be brought back.",
        severity="high",
        frameworks=("Well-Architected REL09-BP01",),
        example='versioningConfiguration.status is "Suspended"; give Enabled',
        types=(GUARDS["versioning"],),
        check=_versioning,
    ),
    EachRule(
        id="bucket-ownership",
        why="Access lists are a second way in that no policy shows.",
        severity="medium",
        frameworks=("Well-Architected SEC03-BP07",),
        example='rule.objectOwnership is "ObjectWriter"; give BucketOwnerEnforced, so that no access list opens the bucket',
        types=(GUARDS["ownership"],),
        check=_ownership,
    ),
    EachRule(
        id="bucket-data-kept",
        why="A lifecycle deletes without asking: too short a time, or a rule on the wrong bucket, is a loss of data.",
        severity="high",
        frameworks=("Well-Architected REL09-BP01",),
        example="rules[0].expiration deletes what is current; leave it out, or name lake-lifecycle in `expiring`",
        settings=KeptData,
        types=(GUARDS["lifecycle"],),
        check=_kept,
    ),
)
