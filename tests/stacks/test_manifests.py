from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.manifests import file_name, manifests, write
from stacks.record import Plan, Resource
from stacks.values import PlanError


def of(kind: str, name: str, namespace: str | None = "churn") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name} | ({"namespace": namespace} if namespace else {})}


def plan(*declared: dict[str, Any], chart: bool = False) -> Plan:
    resources = [
        Resource(
            type=f"kubernetes:core/v1:{each['kind']}",
            name=f"{each['kind']}-{number}",
            parent="",
            provider="",
            protect=False,
            retain_on_delete=False,
            inputs=each,
        )
        for number, each in enumerate(declared)
    ]
    if chart:
        release = Resource(
            type="kubernetes:helm.sh/v3:Release",
            name="chart",
            parent="",
            provider="",
            protect=False,
            retain_on_delete=False,
            inputs={"chart": "x"},
        )
        resources.append(release)
    return Plan(stack="test", outputs={}, resources=tuple(resources))


@pytest.mark.parametrize(
    ("manifest", "name"),
    [
        (of("Deployment", "inference"), "deployment-inference.yaml"),
        (of("NetworkPolicy", "default-deny", "monitoring"), "networkpolicy-monitoring-default-deny.yaml"),
        (of("Namespace", "churn", None), "namespace-churn.yaml"),
    ],
    ids=["ours", "of another namespace", "of none"],
)
def test_a_file_is_called_after_kind_and_name(manifest: dict[str, Any], name: str):
    assert file_name(manifest) == name


def test_charts_are_left_to_helm():
    assert [name for name, _ in manifests(plan(of("Service", "a"), chart=True))] == ["service-a.yaml"]


def test_objects_are_written_whole_and_read_back(tmp_path: Path):
    service = of("Service", "a") | {"spec": {"ports": [{"port": 80}]}}
    assert write(plan(service, of("Secret", "b")), tmp_path / "new") == 2
    assert yaml.safe_load((tmp_path / "new" / "service-a.yaml").read_text()) == service
    assert sorted(each.name for each in (tmp_path / "new").iterdir()) == ["secret-b.yaml", "service-a.yaml"]


def test_two_objects_of_one_name_are_not_written_over_each_other(tmp_path: Path):
    with pytest.raises(PlanError, match=r"two objects of stack test would be service-a\.yaml"):
        write(plan(of("Service", "a"), of("Service", "a")), tmp_path)
