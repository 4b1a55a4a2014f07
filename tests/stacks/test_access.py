"""Kubernetes rights by kind of person, evaluated on the roles and bindings as they are declared."""

import pulumi
import pytest

from stacks.access import Access
from stacks.entries import ADMIN_POLICY, Entries, EntriesArgs, Roles
from tests.stacks.conftest import Engine

READ, CHANGE = ("get", "list", "watch"), ("create", "update", "patch", "delete")


@pytest.fixture
def declared(engine: Engine) -> Engine:
    engine.run(lambda: Access("access"))
    return engine


def may(engine: Engine, kind: str, verb: str, resource: str, namespace: str = "") -> bool:
    """Whether the kind may do it, `resource` being `apps/deployments`, or `/pods` in the core group."""
    group, _, plural = resource.partition("/")
    bindings = engine.inputs("ClusterRoleBinding")
    bindings += [each for each in engine.inputs("RoleBinding") if each["metadata"]["namespace"] == namespace]
    bound = {each["roleRef"]["name"] for each in bindings if f"churn:{kind}" in {subject["name"] for subject in each["subjects"]}}
    rules = [rule for each in engine.inputs("ClusterRole") if each["metadata"]["name"] in bound for rule in each["rules"]]
    return any(group in rule["apiGroups"] and plural in rule["resources"] and verb in rule["verbs"] for rule in rules)


@pytest.mark.parametrize("kind", ["viewer", "deployer"])
@pytest.mark.parametrize("namespace", ["churn", "monitoring"])
def test_viewers_and_deployers_read_what_runs(declared: Engine, kind: str, namespace: str):
    read = ["/pods", "/pods/log", "/events", "apps/deployments", "argoproj.io/rollouts", "keda.sh/scaledobjects"]
    assert all(may(declared, kind, verb, each, namespace) for verb in READ for each in read)
    assert all(may(declared, kind, verb, each) for verb in READ for each in ("/nodes", "/namespaces"))
    assert not may(declared, kind, "get", "/pods", "kube-system")


@pytest.mark.parametrize("verb", [*READ, *CHANGE])
@pytest.mark.parametrize("kind", ["viewer", "deployer"])
def test_nobody_but_admins_comes_near_secrets_or_into_a_pod(declared: Engine, kind: str, verb: str):
    for resource in ("/secrets", "/pods/exec", "/pods/attach", "/pods/portforward", "/serviceaccounts/token"):
        assert not any(may(declared, kind, verb, resource, namespace) for namespace in ("", "churn", "monitoring"))


@pytest.mark.parametrize("verb", CHANGE)
def test_a_deployer_changes_workloads_of_our_namespace_only(declared: Engine, verb: str):
    changed = [
        "/services",
        "/configmaps",
        "apps/deployments",
        "argoproj.io/rollouts",
        "autoscaling/horizontalpodautoscalers",
        "batch/jobs",
        "keda.sh/scaledobjects",
        "networking.k8s.io/ingresses",
        "policy/poddisruptionbudgets",
    ]
    assert all(may(declared, "deployer", verb, each, "churn") for each in changed)
    assert not any(may(declared, "deployer", verb, each, "monitoring") for each in changed)
    assert not any(may(declared, "viewer", verb, each, "churn") for each in changed)


@pytest.mark.parametrize("verb", CHANGE)
def test_a_deployer_gives_nobody_rights_and_opens_no_way(declared: Engine, verb: str):
    kept = [
        "/namespaces",
        "/serviceaccounts",
        "networking.k8s.io/networkpolicies",
        "rbac.authorization.k8s.io/rolebindings",
        "rbac.authorization.k8s.io/roles",
        "secrets-store.csi.x-k8s.io/secretproviderclasses",
    ]
    assert not any(may(declared, "deployer", verb, each, "churn") for each in kept)


def test_no_rule_says_everything(declared: Engine):
    rules = [rule for each in declared.inputs("ClusterRole") for rule in each["rules"]]
    assert rules
    assert not [rule for rule in rules if "*" in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}]


def test_roles_of_the_account_become_groups_and_only_admins_get_all(engine: Engine):
    roles: Roles = {"admin": {"op": "arn:op"}, "deployer": {"ship": "arn:ship"}, "viewer": {"look": "arn:look"}}

    def program() -> None:
        made = Entries("entries", EntriesArgs(cluster_name="churn-test", roles=roles))
        pulumi.export("admin_arns", made.admin_arns)

    engine.run(program)
    groups = {each["principalArn"]: each["kubernetesGroups"] for each in engine.inputs("AccessEntry")}
    assert groups == {"arn:op": ["churn:admin"], "arn:ship": ["churn:deployer"], "arn:look": ["churn:viewer"]}
    [association] = engine.inputs("AccessPolicyAssociation")
    assert (association["principalArn"], association["policyArn"]) == ("arn:op", ADMIN_POLICY)
    assert engine.plan.outputs == {"admin_arns": ["arn:op"]}
