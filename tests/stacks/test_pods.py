from typing import Any

import pulumi_kubernetes as k8s
import pytest

from stacks.names import INFERENCE
from stacks.pods import TMP, TMP_MOUNT, container, pod_spec, resources, spread
from tests.stacks.conftest import Engine


def pod(engine: Engine, *, across_zones: bool = True) -> dict[str, Any]:
    main = container(name="main", image="image", resources=resources(250, 512), volume_mounts=[TMP_MOUNT])
    spec = pod_spec(containers=[main], volumes=[TMP], topology_spread_constraints=spread(INFERENCE, across_zones=across_zones))
    engine.run(lambda: k8s.core.v1.Pod("pod", spec=spec))
    return engine.one("Pod", "pod")["spec"]


def test_a_pod_is_nobody_and_knows_nobody(engine: Engine):
    found = pod(engine)
    assert found["securityContext"]["runAsUser"] == found["securityContext"]["fsGroup"] == 10001
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert found["automountServiceAccountToken"] is found["enableServiceLinks"] is False


def test_a_container_has_no_rights_and_writes_to_tmp_alone(engine: Engine):
    found = pod(engine)
    [main] = found["containers"]
    held = main["securityContext"]
    assert held["capabilities"] == {"drop": ["ALL"]}
    assert held["readOnlyRootFilesystem"] is held["runAsNonRoot"] is True
    assert held["allowPrivilegeEscalation"] is held["privileged"] is False
    assert [each["name"] for each in main["volumeMounts"]] == ["tmp"]
    assert found["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]


def test_memory_is_promised_in_full(engine: Engine):
    [main] = pod(engine)["containers"]
    assert main["resources"]["requests"] == {"cpu": "250m", "memory": "512Mi"}
    assert main["resources"]["limits"] == {"cpu": "500m", "memory": "512Mi"}


HOSTS = {"kubernetes.io/hostname": "ScheduleAnyway"}
ZONES = {"topology.kubernetes.io/zone": "DoNotSchedule"}


@pytest.mark.parametrize(("across_zones", "strict"), [(True, ZONES | HOSTS), (False, HOSTS)], ids=["zones", "no zones"])
def test_the_pods_of_one_revision_keep_away_from_each_other(engine: Engine, strict: dict[str, str], *, across_zones: bool):
    found = pod(engine, across_zones=across_zones)["topologySpreadConstraints"]
    assert {each["topologyKey"]: each["whenUnsatisfiable"] for each in found} == strict
    assert all(each["labelSelector"] == {"matchLabels": INFERENCE.labels} and each["maxSkew"] == 1 for each in found)
    assert all(each["matchLabelKeys"] == ["pod-template-hash"] for each in found)
