"""The local stack on a real cluster, through the real Kubernetes provider."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import kr8s
import pytest
import yaml
from kr8s.objects import Namespace, PersistentVolume

from stacks.names import MONITORING_NAMESPACE, NAMESPACE
from tests.engine.conftest import Project, make

NAMESPACES = {NAMESPACE, MONITORING_NAMESPACE}
STORAGE_CLASS = "churn-tests"
# Charts come from the internet and bring hooks that have to run; what is made of kinds that they bring goes with them.
OWN = ("--exclude", "**kubernetes:helm.sh/v3:Release::**", "--exclude-dependents")
# Where nothing runs, every pod counts as ready; elsewhere images and a bundle would have to be there.
SIMULATED_NODE = "kwok.x-k8s.io/node"


@pytest.fixture
def local(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Project]:
    """The stack before its first `up`, on an empty cluster for one test at a time."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set: give a cluster without the namespaces churn and monitoring")
    if not shutil.which("pulumi-resource-kubernetes"):
        pytest.skip("`pulumi-resource-kubernetes` is not on PATH: add its folder below ~/.pulumi/plugins")
    with (tmp_path_factory.getbasetemp().parent / "cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        taken = NAMESPACES & objects("namespaces").keys()
        if taken:
            pytest.skip(f"the cluster has {' and '.join(sorted(taken))} already: give one without, as this test deletes them")
        simulated = all(SIMULATED_NODE in node["metadata"]["annotations"] for node in objects("nodes").values())
        if not simulated:
            pytest.skip("the cluster's nodes are real, where images and a bundle would have to be: give one with nodes of kwok")
        volume = PersistentVolume(disk())
        volume.create()
        project = make(tmp_path / "local", "local", real(environment))
        context = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())["current-context"]
        project.set({"local:context": context, "local:storageClass": STORAGE_CLASS})
        yield project
        project.pulumi("destroy", "--yes", "--skip-preview")
        for name in NAMESPACES:
            gone = Namespace(name)
            if gone.exists():
                gone.delete()
                gone.wait("delete", timeout=90)
        volume.delete()


def real(environment: dict[str, str]) -> dict[str, str]:
    """With the cluster's own provider instead of the simulated one."""
    simulated = [each for each in environment["PULUMI_DEBUG_PROVIDERS"].split(",") if not each.startswith("kubernetes:")]
    return environment | {"PULUMI_DEBUG_PROVIDERS": ",".join(simulated), "KUBECONFIG": os.environ["KUBECONFIG"]}


def objects(kind: str) -> dict[str, dict[str, Any]]:
    """All of a kind by name, of our namespace if they have one."""
    found = cast("Iterator[dict[str, Any]]", kr8s.get(kind, namespace=NAMESPACE, raw=True))
    return {each["metadata"]["name"]: each for each in found}


def disk() -> dict[str, object]:
    spec = {
        "capacity": {"storage": "5Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": STORAGE_CLASS,
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": "/tmp/churn-tests"},  # noqa: S108 - of a node that the tests have for themselves
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": STORAGE_CLASS}, "spec": spec}


def test_the_local_stack_comes_up_stays_as_it_is_and_leaves_its_data(local: Project):
    local.done("up", "--yes", "--skip-preview", *OWN)
    assert local.preview(*OWN) == set()
    ready = {name: each["status"].get("readyReplicas") for name, each in objects("deployments").items()}
    assert ready == {"inference": 1, "mlflow": 1}
    local.set({"tracking:memoryMib": 2048})
    assert local.preview(*OWN) == {"update kubernetes:apps/v1:Deployment tracking"}
    local.done("destroy", "--yes", "--skip-preview")
    assert objects("persistentvolumeclaims").keys() == {"churn"}
    assert objects("deployments") == {}
