from pulumi_kubernetes.core.v1 import ConfigMap
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from stacks.config import StackConfig
from stacks.flows import AROUND_LOCAL, Surroundings, around_aws
from stacks.names import NAMESPACE
from stacks.namespaces import Namespaces, NamespacesArgs
from tests.stacks.conftest import Engine


def build(engine: Engine, around: Surroundings = AROUND_LOCAL, *, retained: bool = False) -> None:
    engine.run(lambda: Namespaces("namespaces", NamespacesArgs(around=around, retained=retained)))


def test_both_namespaces_take_only_pods_that_can_do_no_harm(engine: Engine):
    build(engine)
    labels = {each["metadata"]["name"]: each["metadata"]["labels"] for each in engine.inputs("Namespace")}
    assert labels.keys() == {"churn", "monitoring"}
    assert all(each["pod-security.kubernetes.io/enforce"] == "restricted" for each in labels.values())


def test_monitoring_starts_without_the_balancers_controller(engine: Engine):
    build(engine)
    gate = "elbv2.k8s.aws/pod-readiness-gate-inject"
    assert [each["metadata"]["name"] for each in engine.inputs("Namespace") if gate in each["metadata"]["labels"]] == ["churn"]


def test_nothing_is_open_where_no_policy_says_so(engine: Engine, prod: StackConfig):
    assert prod.aws
    build(engine, around_aws(prod.aws.network))
    shut = [each for each in engine.inputs("NetworkPolicy") if each["metadata"]["name"] == "default-deny"]
    assert {each["metadata"]["namespace"] for each in shut} == {"churn", "monitoring"}
    assert all(each["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} for each in shut)


def test_each_workload_has_an_account_of_its_own_without_a_token(engine: Engine):
    build(engine)
    accounts = engine.inputs("ServiceAccount")
    assert {each["metadata"]["name"] for each in accounts} == {"inference", "mlflow", "training"}
    assert {each["metadata"]["namespace"] for each in accounts} == {NAMESPACE}
    assert not any(each["automountServiceAccountToken"] for each in accounts)


def test_a_job_that_says_nothing_about_itself_is_bounded(engine: Engine):
    build(engine)
    [limits] = engine.one("LimitRange", "namespaces-defaults")["spec"]["limits"]
    assert limits["default"] == limits["defaultRequest"] == {"cpu": "1", "memory": "2Gi"}


def test_only_the_namespace_with_data_in_it_outlives_the_stack(engine: Engine):
    build(engine, retained=True)
    assert [each.name for each in engine.plan.resources if each.retain_on_delete] == ["namespaces-churn"]


def test_who_is_given_the_namespace_waits_for_accounts_and_policies(engine: Engine):
    def program() -> None:
        made = Namespaces("namespaces", NamespacesArgs(around=AROUND_LOCAL))
        ConfigMap("later", metadata=ObjectMetaArgs(namespace=made.churn))

    engine.run(program)
    [later] = engine.resources("ConfigMap")
    waited = {each.split()[-1] for each in later.waits_for}
    assert later.inputs["metadata"]["namespace"] == NAMESPACE
    assert {"namespaces-churn", "namespaces-mlflow", "namespaces-churn-mlflow", "namespaces-churn-default-deny"} <= waited
