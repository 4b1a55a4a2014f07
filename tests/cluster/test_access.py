"""What each kind of people may do, as Kubernetes itself decides."""

from collections.abc import Iterator

import pytest

from stacks.access import Kind, group
from stacks.flows import OURS
from stacks.manifests import manifests
from stacks.record import Plan
from tests.cluster.conftest import Cluster, poll
from tests.stacks.wholes import complete

RBAC = ("Namespace", "ClusterRole", "ClusterRoleBinding", "RoleBinding")
# Verb, API group, resource, namespace.
Question = tuple[str, str, str, str]
READS: list[Question] = [
    ("list", "", "pods", "churn"),
    ("get", "", "pods/log", "monitoring"),
    ("get", "argoproj.io", "rollouts", "churn"),
    ("list", "", "nodes", ""),
]
CHANGES: list[Question] = [
    ("patch", "apps", "deployments", "churn"),
    ("update", "argoproj.io", "rollouts", "churn"),
    ("create", "networking.k8s.io", "ingresses", "churn"),
    ("delete", "", "pods", "churn"),
]
# Secrets, a shell in a pod, and whatever would give more rights or take a guard away.
NEVER: list[Question] = [
    ("get", "", "secrets", "churn"),
    ("list", "", "secrets", "monitoring"),
    ("create", "", "pods/exec", "churn"),
    ("create", "rbac.authorization.k8s.io", "rolebindings", "churn"),
    ("delete", "networking.k8s.io", "networkpolicies", "churn"),
    ("create", "", "serviceaccounts/token", "churn"),
    ("patch", "apps", "deployments", "kube-system"),
    ("patch", "apps", "deployments", "monitoring"),
    ("delete", "", "nodes", ""),
    ("impersonate", "", "groups", ""),
]


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return complete("prod", tmp_path_factory.mktemp("releases"))


@pytest.fixture
def ruled(cluster: Cluster, plan: Plan) -> Iterator[Cluster]:
    """The server with the rights that prod declares."""
    found = [manifest for _, manifest in manifests(plan) if manifest["kind"] in RBAC]
    found.sort(key=lambda each: RBAC.index(each["kind"]))
    for each in found:
        cluster.apply(each)
    yield cluster
    # What charts live in is left alone.
    cluster.clear([each for each in found if each["kind"] != "Namespace" or each["metadata"]["name"] in OURS])


def may(cluster: Cluster, kind: Kind, question: Question) -> bool:
    verb, api_group, resource, namespace = question
    resource, _, subresource = resource.partition("/")
    asked = {"verb": verb, "group": api_group, "resource": resource, "subresource": subresource, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": "ada", "groups": [group(kind), "system:authenticated"], "resourceAttributes": asked},
    }
    return cluster.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"]


def all_allowed(cluster: Cluster, kind: Kind, questions: list[Question]) -> None:
    """Sooner or later: the server learns of a binding after it has taken it."""
    for question in questions:
        poll(lambda question=question: may(cluster, kind, question), lambda question=question: f"{kind} may not {question}")


def test_a_viewer_reads_and_changes_nothing(ruled: Cluster):
    all_allowed(ruled, "viewer", READS)
    assert [each for each in CHANGES + NEVER if may(ruled, "viewer", each)] == []


def test_a_deployer_changes_the_service_and_nothing_that_guards_it(ruled: Cluster):
    all_allowed(ruled, "deployer", READS + CHANGES)
    assert [each for each in NEVER if may(ruled, "deployer", each)] == []
