"""Who may ask Kubernetes what, and secrets, which it should not be asked for."""

from collections.abc import Iterator

from policies.declared import Resource, shown
from policies.isolation import BINDINGS, ROLES, SECRET
from policies.rule import EachRule, Settings


def _rights(role: Resource, _: Settings) -> Iterator[str]:
    for rule in role["rules"]:
        for key in ("verbs", "resources", "apiGroups"):
            if "*" in rule[key].texts:
                yield f"{rule.place}.{key} has *; give what is used"
        if risky := sorted({"bind", "escalate", "impersonate"} & set(rule["verbs"].texts)):
            yield f"{rule.place}.verbs has {', '.join(risky)}, by which rights are made; leave it out"
        if secret := sorted({"secrets", "pods/exec", "pods/attach", "serviceaccounts/token"} & set(rule["resources"].texts)):
            yield f"{rule.place}.resources has {', '.join(secret)}; leave it out"


def _binding(binding: Resource, _: Settings) -> Iterator[str]:
    if (name := binding["roleRef"]["name"].text) in ("cluster-admin", "admin", "edit"):
        yield f"roleRef.name is {name}, which nobody here has read; give a role of the stack"
    for subject in binding["subjects"]:
        if subject["name"].text.startswith("system:"):
            yield f"{subject.place}.name is {subject['name'].text}; give a group of the stack"


def _secret(secret: Resource, _: Settings) -> Iterator[str]:
    for key in ("data", "stringData"):
        if secret[key].given:
            yield f"{key} is in the state of the stack; keep it in Secrets Manager and mount it"


def _account(account: Resource, _: Settings) -> Iterator[str]:
    if account["automountServiceAccountToken"].known is not False:
        yield f"automountServiceAccountToken is {shown(account['automountServiceAccountToken'].value)}; give false"


RULES = (
    EachRule(
        id="rbac-least-privilege",
        why="Who may do everything, read secrets or make rights may do anything.",
        severity="critical",
        frameworks=("CIS EKS 1.7.0 4.1.2", "CIS EKS 1.7.0 4.1.3", "CIS EKS 1.7.0 4.1.8"),
        example="rules[0].verbs has *; give what is used",
        types=ROLES,
        check=_rights,
    ),
    EachRule(
        id="rbac-bindings",
        why="Roles and groups of Kubernetes' own are wider than they sound.",
        severity="critical",
        frameworks=("CIS EKS 1.7.0 4.1.1",),
        example="roleRef.name is cluster-admin, which nobody here has read; give a role of the stack",
        types=BINDINGS,
        check=_binding,
    ),
    EachRule(
        id="account-no-token",
        why="A pod that does not say otherwise gets its account's token.",
        severity="medium",
        frameworks=("CIS EKS 1.7.0 4.1.6",),
        example="automountServiceAccountToken is true; give false",
        types=("kubernetes:core/v1:ServiceAccount",),
        check=_account,
    ),
    EachRule(
        id="secrets-not-in-state",
        why="The state of a stack is read by whoever previews it.",
        severity="critical",
        frameworks=("CIS EKS 1.7.0 4.4.2", "Well-Architected SEC02-BP03"),
        needs="presence",
        example="stringData is in the state of the stack; keep it in Secrets Manager and mount it",
        types=(SECRET,),
        check=_secret,
    ),
)
