"""What holds for a stack as a whole: whose it is, what it costs, what may not be deleted, which software of others it runs."""

from collections.abc import Iterator
from typing import Annotated, Any, cast

from msgspec import Meta, Struct

from policies.declared import Resource, Stack, shown
from policies.rule import EachRule, Facts, Settings, StackRule, Text, Whole

PROVIDER = "pulumi:providers:aws"
BUDGET = "aws:budgets/budget:Budget"
RELEASE = "kubernetes:helm.sh/v3:Release"
CHARTS = (RELEASE, "kubernetes:helm.sh/v4:Chart", "kubernetes:helm.sh/v3:Chart")
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
# What holds data, or without which data cannot be read; and the inputs by which a deletion takes the content along.
DATA = {
    "aws:s3/bucket:Bucket": "forceDestroy",
    "aws:ecr/repository:Repository": "forceDelete",
    "aws:kms/key:Key": None,
    "aws:rds/instance:Instance": None,
}


class Tags(Settings, frozen=True, kw_only=True):
    """The tags of everything, and their values; where a value is empty, any will do."""

    required: dict[Annotated[str, Meta(examples=["stack"])], str]
    # Beside those of the provider.
    own: tuple[Annotated[str, Meta(examples=["component"])], ...] = ("component", "Name")


def _tags(stack: Stack, settings: Tags) -> Whole:
    for provider in stack.of(PROVIDER):
        tags = provider["defaultTags"].document["tags"]
        yield from ((provider, message) for message in _missing(tags.value, settings, "defaultTags.tags"))
    for resource in stack.resources:
        # What a provider that nobody declared makes has no tags at all.
        if resource.type.startswith("aws:") and (resource.provider is None or resource.provider.name.startswith("default")):
            yield resource, "it is made by a provider that the stack does not declare; give it the stack's"
        if resource.type.startswith("aws:") and resource["tags"].given:
            for tag in (each for each in settings.own if not resource["tags"][each].given):
                yield resource, f"tags has no {tag}; give one"
    for template in stack.of(TEMPLATE):
        specified = {each["resourceType"].text: each["tags"].value for each in template["tagSpecifications"]}
        for kind in ("instance", "volume"):
            yield from (
                (template, message) for message in _missing(specified.get(kind), settings, f"tagSpecifications of {kind}")
            )


def _missing(tags: Any, settings: Tags, place: str) -> Iterator[str]:
    found = cast("dict[str, Any]", tags) if isinstance(tags, dict) else {}
    for tag, value in settings.required.items():
        if not found.get(tag) or (value and found[tag] != value):
            yield f"{place} has {tag} {shown(found.get(tag))}; give {value or 'a value'}"


class Budget(Settings, frozen=True, kw_only=True):
    """What the stack may cost in a month."""

    usd_per_month: Annotated[int, Meta(ge=1, examples=[2500])]


def _budget(stack: Stack, settings: Budget) -> Whole:
    if not stack.of(BUDGET):
        yield None, f"nobody is told what it costs; declare a Budget of {settings.usd_per_month} USD at most"
    for budget in stack.of(BUDGET):
        limit, unit, period = (budget[key] for key in ("limitAmount", "limitUnit", "timeUnit"))
        if not 0 < _amount(limit.known) <= settings.usd_per_month or unit.known != "USD" or period.known != "MONTHLY":
            found = " ".join(shown(each.value) for each in (limit, unit, period))
            yield budget, f"it is of {found}; give at most {settings.usd_per_month} USD MONTHLY"
        listens = [
            each
            for each in budget["notifications"]
            if each["subscriberEmailAddresses"].given or each["subscriberSnsTopicArns"].given
        ]
        if not any(0 < _amount(each["threshold"].known) <= 100 for each in listens):  # noqa: PLR2004 - percent
            yield budget, "it tells nobody before all of it is spent; give a notification with a threshold and an address"


def _amount(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0


class Protection(Settings, frozen=True, kw_only=True):
    """Whether what holds data may be deleted."""

    protected: Annotated[bool, Meta(examples=[True])]


def _protected(resource: Resource, settings: Protection) -> Iterator[str]:
    if not settings.protected:
        return
    if not resource.protect:
        yield "`destroy` would delete it; give protect=True"
    emptied = DATA[resource.type]
    if emptied and resource[emptied].known is not False:
        yield f"{emptied} is {shown(resource[emptied].value)}; give false"


class Chart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One chart of others."""

    repository: Text
    version: Text


class Charts(Settings, frozen=True, kw_only=True):
    """The charts that a stack may run."""

    pinned: dict[Annotated[str, Meta(examples=["keda"])], Chart]


def _charts(release: Resource, settings: Charts) -> Iterator[str]:
    if release.type != RELEASE:
        yield "it runs no hooks, which most charts need; declare a helm.v3.Release"
    name = release["chart"].text
    pinned = settings.pinned.get(name)
    if pinned is None:
        yield f"chart is {shown(name)}, which is none of {', '.join(sorted(settings.pinned))}; pin it first"
        return
    if release["version"].known != pinned.version:
        yield f"version is {shown(release['version'].value)}; give {pinned.version}"
    if (found := release["repositoryOpts"]["repo"]).known != pinned.repository:
        yield f"{found.place} is {shown(found.value)}; give {pinned.repository}"
    if release["devel"].known is True:
        yield "devel is true, which takes versions that are not released; leave it out"
    for place in (each for each in release["values"].leaves if each.place.endswith(".tag")):
        if place.known in ("latest", "main", "master", "edge"):
            yield f"{place.place} is {place.known}; leave it out, the chart's version says which image"


# What a chart's values may say of its pods' rights, if they say anything; the namespaces refuse pods that ask for more.
HARDENED = {
    "privileged": (False,),
    "allowPrivilegeEscalation": (False,),
    "readOnlyRootFilesystem": (True,),
    "runAsNonRoot": (True,),
    "hostNetwork": (False,),
    "hostPID": (False,),
    "hostIPC": (False,),
}


def _hardened(release: Resource, _: Settings) -> Iterator[str]:
    for leaf in release["values"].leaves:
        key = leaf.place.rpartition(".")[2]
        if key in HARDENED and leaf.known not in HARDENED[key]:
            yield f"{leaf.place} is {shown(leaf.value)}; give {shown(HARDENED[key][0])}"
        if leaf.place.endswith("seccompProfile.type") and leaf.known != "RuntimeDefault":
            yield f"{leaf.place} is {shown(leaf.value)}; give RuntimeDefault"


class Few(Settings, frozen=True, kw_only=True):
    """How many exemptions a stack may have."""

    most: Annotated[int, Meta(ge=0, examples=[3])] = 3


class FewExemptions(StackRule):
    """Counts them over all rules, which no single rule can."""

    def judge(self, stack: Stack, settings: Few, facts: Facts) -> Whole:  # noqa: ARG002 - the rule's signature
        """What is wrong with the stack."""
        if facts.exemptions > settings.most:
            yield None, f"it has {facts.exemptions} exemptions; {settings.most} are allowed: mend what is exempted"


RULES = (
    StackRule(
        id="tags",
        why="What has no owner is paid for and mended by nobody.",
        severity="medium",
        frameworks=("Well-Architected COST03-BP02",),
        example="defaultTags.tags has owner missing; give a value",
        settings=Tags,
        check=_tags,
    ),
    StackRule(
        id="budget",
        why="What costs more than it should is found out while it is little.",
        severity="medium",
        frameworks=("Well-Architected COST02-BP05",),
        example="nobody is told what it costs; declare a Budget of 2500 USD at most",
        settings=Budget,
        check=_budget,
    ),
    EachRule(
        id="data-protected",
        why="Customers' data, and the keys that it is read by, are not deleted by a slip.",
        severity="critical",
        frameworks=("Well-Architected REL09-BP01",),
        example="`destroy` would delete it; give protect=True",
        settings=Protection,
        types=tuple(DATA),
        check=_protected,
    ),
    EachRule(
        id="charts-pinned",
        why="A chart runs with its authors' rights: which one, and which version, is read before.",
        severity="high",
        frameworks=("NSA Kubernetes Hardening: upgrading and application security practices",),
        example='version is "9.0.0"; give 2.20.2',
        settings=Charts,
        types=CHARTS,
        check=_charts,
    ),
    EachRule(
        id="charts-hardened",
        why="A chart's pods run beside ours, with what its values give them.",
        severity="high",
        frameworks=("NSA Kubernetes Hardening: Kubernetes Pod security",),
        example="values.securityContext.runAsNonRoot is false; give true",
        types=(RELEASE,),
        check=_hardened,
    ),
    FewExemptions(
        id="exemptions",
        why="Exemptions that pile up are how a rule is given up without anybody saying so.",
        severity="medium",
        frameworks=("Well-Architected SEC01-BP03",),
        needs="presence",
        example="it has 4 exemptions; 3 are allowed: mend what is exempted",
        settings=Few,
        check=lambda _stack, _settings: iter(()),
    ),
)
