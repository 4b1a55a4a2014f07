"""Pods of ours: no right that they do not need, and enough of what they do."""

import re
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from policies.declared import Node, Resource, shown
from policies.rule import EachRule, Settings

ROLLOUT = "kubernetes:argoproj.io/v1alpha1:Rollout"
# What answers clients is called so, workload and container alike.
WORKLOAD = "inference"
# Where it reads whom it may answer.
TOKENS_VARIABLE, TOKENS_ANNOTATION = "CHURN_TOKENS", "churn/tokens"
# Where each kind of workload has its pod.
TEMPLATES = {
    "kubernetes:apps/v1:Deployment": ("spec", "template"),
    "kubernetes:apps/v1:StatefulSet": ("spec", "template"),
    "kubernetes:apps/v1:DaemonSet": ("spec", "template"),
    "kubernetes:batch/v1:Job": ("spec", "template"),
    "kubernetes:batch/v1:CronJob": ("spec", "jobTemplate", "spec", "template"),
    "kubernetes:core/v1:Pod": (),
    ROLLOUT: ("spec", "template"),
}
# Those that answer requests for as long as they live.
SERVING = ("kubernetes:apps/v1:Deployment", "kubernetes:apps/v1:StatefulSet", ROLLOUT)
SECRET_NAME = re.compile(r"PASSW|SECRET|TOKEN|CREDENTIAL|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY", re.IGNORECASE)
SECRET_VALUE = re.compile(r"AKIA[0-9A-Z]{16}|-----BEGIN|://[^/\s:@]+:[^/\s@]+@")


def template(resource: Resource) -> Node:
    """The pod template of a workload."""
    place = resource.inputs
    for key in TEMPLATES[resource.type]:
        place = place[key]
    return place


def containers(resource: Resource) -> Iterator[Node]:
    """Every container of a workload's pods, those before and beside the others included."""
    spec = template(resource)["spec"]
    if not spec["containers"].given:
        yield spec["containers"]
    for key in ("containers", "initContainers", "ephemeralContainers"):
        yield from spec[key]


def _user(workload: Resource, _: Settings) -> Iterator[str]:
    pod = template(workload)["spec"]["securityContext"]
    for container in containers(workload):
        own = container["securityContext"]
        if (found := own["runAsNonRoot"] if own["runAsNonRoot"].given else pod["runAsNonRoot"]).known is not True:
            yield f"{container.place} runs as root if its image says so (runAsNonRoot {shown(found.value)}); give true"
        user = own["runAsUser"] if own["runAsUser"].given else pod["runAsUser"]
        if user.known is not None and user.number < 1000:  # noqa: PLR2004 - below are the system's own
            yield f"{user.place} is {shown(user.value)}; give a user of its own, such as 10001"


def _filesystem(workload: Resource, _: Settings) -> Iterator[str]:
    for container in containers(workload):
        if (found := container["securityContext"]["readOnlyRootFilesystem"]).known is not True:
            yield f"{found.place} is {shown(found.value)}; give true, and a volume for what it writes"


def _privilege(workload: Resource, _: Settings) -> Iterator[str]:
    spec = template(workload)["spec"]
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec[key].known not in (None, False):
            yield f"{spec.place}.{key} is {shown(spec[key].value)}; leave it out"
    for volume in spec["volumes"]:
        if volume["hostPath"].given:
            yield f"{volume.place}.hostPath is the node's own disk; give another volume"
    for container in containers(workload):
        context = container["securityContext"]
        if context["privileged"].known not in (None, False):
            yield f"{context.place}.privileged is {shown(context['privileged'].value)}; give false"
        if (found := context["allowPrivilegeEscalation"]).known is not False:
            yield f"{found.place} is {shown(found.value)}; give false"
        for port in container["ports"]:
            if port["hostPort"].given:
                yield f"{port.place}.hostPort is a port of the node; leave it out"


def _capabilities(workload: Resource, _: Settings) -> Iterator[str]:
    for container in containers(workload):
        found = container["securityContext"]["capabilities"]
        if found["drop"].texts != ["ALL"] or found["add"].given:
            yield f"{found.place} is {shown(found.value)}; give drop ALL and no add"


def _seccomp(workload: Resource, _: Settings) -> Iterator[str]:
    pod = template(workload)["spec"]["securityContext"]["seccompProfile"]["type"]
    for container in containers(workload):
        own = container["securityContext"]["seccompProfile"]["type"]
        if (found := own if own.given else pod).known != "RuntimeDefault":
            yield f"{found.place} is {shown(found.value)}; give RuntimeDefault"


def _resources(workload: Resource, _: Settings) -> Iterator[str]:
    for container in containers(workload):
        asked = container["resources"]
        for kind, quantity in (("requests", "cpu"), ("requests", "memory"), ("limits", "cpu"), ("limits", "memory")):
            if not asked[kind][quantity].given:
                yield f"{asked.place}.{kind}.{quantity} is missing; give what it needs"


def _probes(workload: Resource, _: Settings) -> Iterator[str]:
    for container in template(workload)["spec"]["containers"]:
        for probe in ("livenessProbe", "readinessProbe"):
            if not any(container[probe][kind].given for kind in ("httpGet", "tcpSocket", "exec", "grpc")):
                yield f"{container.place}.{probe} is missing; give one"


class Images(Settings, frozen=True, kw_only=True):
    """Whether images are named by digest, and by name those that a cluster of one's own has by tag."""

    by_digest: Annotated[bool, Meta(examples=[True])] = True
    loaded: tuple[Annotated[str, Meta(examples=["localhost/churn-app:latest"])], ...] = ()


def _images(workload: Resource, settings: Images) -> Iterator[str]:
    for container in containers(workload):
        image = container["image"].text
        if re.search(r"@sha256:[0-9a-f]{64}$", image) or (not settings.by_digest and image in settings.loaded):
            continue
        yield f"{container.place}.image is {shown(image or None)}; give one by digest, repository@sha256:..."


def _environment(workload: Resource, _: Settings) -> Iterator[str]:
    for container in containers(workload):
        for variable in container["env"]:
            # Files and pods' own addresses are named in variables that sound like secrets, and hold none.
            value, name = variable["value"].value, variable["name"].text
            named = (
                SECRET_NAME.search(name)
                and isinstance(value, str)
                and not value.startswith("/")
                and value.lower() not in ("", "true", "false")
            )
            if named or (isinstance(value, str) and SECRET_VALUE.search(value)):
                yield f"{variable.place} {name} holds what looks like a secret; mount it as a file"
            if variable["valueFrom"]["secretKeyRef"].given:
                yield f"{variable.place} {name} shows a secret to every process and crash report; mount it as a file"
        for source in container["envFrom"]:
            if source["secretRef"].given:
                yield f"{source.place} shows a secret to every process and crash report; mount it as a file"


class Tokens(Settings, frozen=True, kw_only=True):
    """The service accounts whose pods ask Kubernetes something."""

    asking: tuple[Annotated[str, Meta(examples=["prometheus"])], ...] = ()


def _account(workload: Resource, settings: Tokens) -> Iterator[str]:
    spec = template(workload)["spec"]
    account = spec["serviceAccountName"]
    if not account.given or account.known == "default":
        yield f"{account.place} is {shown(account.value)}; give an account of its own"
    if spec["automountServiceAccountToken"].known is not False and account.known not in settings.asking:
        yield f"{spec.place}.automountServiceAccountToken is {shown(spec['automountServiceAccountToken'].value)}; give false"


class Clients(Settings, frozen=True, kw_only=True):
    """Whether whoever asks for a prediction has to show a token."""

    tokens: Annotated[bool, Meta(examples=[True])]


def _clients(workload: Resource, settings: Clients) -> Iterator[str]:
    if not settings.tokens or workload["metadata"]["name"].known != WORKLOAD:
        return
    pod = template(workload)
    own = [each for each in pod["spec"]["containers"] if each["name"].known == WORKLOAD]
    if not own or not all(_reads_tokens(each) for each in own):
        yield f"container {WORKLOAD} has no {TOKENS_VARIABLE}, so that it answers everybody; give inference:tokenHashes"
    hashes = pod["metadata"]["annotations"][TOKENS_ANNOTATION].document["predict"]
    if not any(re.fullmatch("[0-9a-f]{64}", each) for each in hashes.texts):
        yield (
            f"annotation {TOKENS_ANNOTATION} has no sha256 for predict, so that no client is answered; "
            "give inference:tokenHashes one that `python -m app.access` prints"
        )


def _reads_tokens(container: Node) -> bool:
    named = [each for each in container["env"] if each["name"].known == TOKENS_VARIABLE]
    return any(each["value"].text.startswith("/") for each in named)


POD_SECURITY = "NSA Kubernetes Hardening: Kubernetes Pod security"
_ALL = tuple(TEMPLATES)
RULES = (
    EachRule(
        id="pod-non-root",
        why="Who breaks out of a process of root's is root.",
        severity="high",
        frameworks=(POD_SECURITY, "CIS EKS 1.7.0 4.2"),
        example="spec.template.spec.containers[0] runs as root if its image says so (runAsNonRoot false); give true",
        types=_ALL,
        check=_user,
    ),
    EachRule(
        id="pod-read-only",
        why="Who gets in cannot leave anything behind.",
        severity="medium",
        frameworks=(POD_SECURITY,),
        example=(
            "spec.template.spec.containers[0].securityContext.readOnlyRootFilesystem is false; "
            "give true, and a volume for what it writes"
        ),
        types=_ALL,
        check=_filesystem,
    ),
    EachRule(
        id="pod-no-privilege",
        why="A privileged pod is the node, and with it every pod there.",
        severity="critical",
        frameworks=("CIS EKS 1.7.0 4.2.1 to 4.2.5", POD_SECURITY),
        example="spec.template.spec.containers[0].securityContext.privileged is true; give false",
        types=_ALL,
        check=_privilege,
    ),
    EachRule(
        id="pod-capabilities",
        why="No process here needs any of the kernel's privileges.",
        severity="high",
        frameworks=(POD_SECURITY,),
        example='spec.template.spec.containers[0].securityContext.capabilities is {"add": ["NET_RAW"]}; give drop ALL and no add',
        types=_ALL,
        check=_capabilities,
    ),
    EachRule(
        id="pod-seccomp",
        why="Most holes in the kernel are in calls that no service makes.",
        severity="medium",
        frameworks=(POD_SECURITY,),
        example='spec.template.spec.securityContext.seccompProfile.type is "Unconfined"; give RuntimeDefault',
        types=_ALL,
        check=_seccomp,
    ),
    EachRule(
        id="pod-resources",
        why="A pod without limits takes its neighbours down; one without requests is placed where there is no room.",
        severity="medium",
        frameworks=("NSA Kubernetes Hardening: network separation and hardening",),
        needs="presence",
        example="spec.template.spec.containers[0].resources.limits.memory is missing; give what it needs",
        types=_ALL,
        check=_resources,
    ),
    EachRule(
        id="pod-probes",
        why="Without probes a pod gets requests before it can answer them, and goes on getting them when it no longer can.",
        severity="medium",
        frameworks=("Well-Architected REL11-BP01",),
        needs="presence",
        example="spec.template.spec.containers[0].readinessProbe is missing; give one",
        types=SERVING,
        check=_probes,
    ),
    EachRule(
        id="pod-images",
        why="What a tag means can change after it was looked at; a digest cannot.",
        severity="high",
        frameworks=("NSA Kubernetes Hardening: upgrading and application security practices",),
        example='spec.template.spec.containers[0].image is "churn:latest"; give one by digest, repository@sha256:...',
        settings=Images,
        types=_ALL,
        check=_images,
    ),
    EachRule(
        id="pod-no-secret-in-env",
        why="Variables are shown by describe, inherited by every process and printed in crash reports.",
        severity="critical",
        frameworks=("CIS EKS 1.7.0 4.4.1",),
        example="spec.template.spec.containers[0].env[0] PGPASSWORD holds what looks like a secret; mount it as a file",
        needs="presence",
        types=_ALL,
        check=_environment,
    ),
    EachRule(
        id="pod-account",
        why="A token that nobody uses is there for whoever gets in.",
        severity="high",
        frameworks=("CIS EKS 1.7.0 4.1.5", "CIS EKS 1.7.0 4.1.6"),
        example="spec.template.spec.automountServiceAccountToken is missing; give false",
        settings=Tokens,
        types=_ALL,
        check=_account,
    ),
    EachRule(
        id="pod-clients",
        why="Whoever can reach the balancer could ask about customers, and log outcomes that models are judged by.",
        severity="critical",
        frameworks=("Well-Architected SEC03-BP01", "OWASP API2:2023"),
        example=f"container {WORKLOAD} has no {TOKENS_VARIABLE}, so that it answers everybody; give inference:tokenHashes",
        settings=Clients,
        types=SERVING,
        check=_clients,
    ),
)
