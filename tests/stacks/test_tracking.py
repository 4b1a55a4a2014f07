import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacks.config import StackConfig
from stacks.names import TRACKING
from stacks.pods import UID
from stacks.record import record
from stacks.tracking import Tracking, TrackingArgs
from stacks.tracking_pods import File, Postgres
from stacks.volume import ARTIFACTS, MOUNT
from tests.stacks.conftest import Engine
from tests.stacks.mlflow_pod import Manifest, ask
from tests.stacks.postgres import free_port

STORED = "arn:aws:secretsmanager:eu-west-1:1:secret:x"
DATABASE = Postgres(address="db.internal", secret_arn=STORED, region="eu-west-1")
FILE = File(claim_name="churn")


def build(config: StackConfig, backend: Postgres | File = DATABASE) -> Tracking:
    artifacts = "s3://artifacts/mlflow" if isinstance(backend, Postgres) else ARTIFACTS
    args = TrackingArgs(
        config=config.tracking, namespace="churn", image="image@sha256:0", backend=backend, artifacts=artifacts, across_zones=True
    )
    return Tracking("tracking", args)


def pod(engine: Engine) -> Manifest:
    return engine.one("Deployment", "tracking")["spec"]["template"]["spec"]


def by_name(containers: list[Manifest]) -> dict[str, Manifest]:
    return {each["name"]: each for each in containers}


def test_no_password_is_declared_anywhere(engine: Engine, prod: StackConfig):
    engine.run(lambda: build(prod))
    assert not engine.resources("Secret")
    [mounted] = engine.inputs("SecretProviderClass")
    assert mounted["spec"]["parameters"]["usePodIdentity"] == "true"
    assert STORED in mounted["spec"]["parameters"]["objects"]
    uri = next(each for each in pod(engine)["containers"][0]["args"] if each.startswith("postgresql"))
    assert uri == "postgresql+psycopg://mlflow@db.internal:5432/mlflow?sslmode=require"


def test_the_password_is_followed_in_memory_from_before_the_first_connection_on(engine: Engine, prod: StackConfig):
    engine.run(lambda: build(prod))
    found = pod(engine)
    follower, schema = found["initContainers"]
    assert (follower["restartPolicy"], schema.get("restartPolicy")) == ("Always", None)
    volumes = by_name(found["volumes"])
    assert volumes["credentials"]["emptyDir"]["medium"] == "Memory"
    assert volumes["secret"]["csi"]["volumeAttributes"] == {"secretProviderClass": "mlflow-database"}
    [secret] = [each for each in follower["volumeMounts"] if each["name"] == "secret"]
    assert follower["command"][-2] == f"{secret['mountPath']}/database.json"


def test_who_connects_is_told_where_the_password_is(engine: Engine, prod: StackConfig):
    engine.run(lambda: build(prod))
    found = pod(engine)
    follower, schema = found["initContainers"]
    for each in (schema, *found["containers"]):
        told = {variable["name"]: variable["value"] for variable in each["env"]}
        assert told["PGPASSFILE"] == follower["command"][-1] == follower["startupProbe"]["exec"]["command"][-1]
        assert "credentials" in by_name(each["volumeMounts"])
        assert "secret" not in by_name(each["volumeMounts"])


def test_the_pods_wait_for_the_secret_to_be_known(engine: Engine, prod: StackConfig):
    engine.run(lambda: build(prod))
    [deployment], [secret] = engine.resources("Deployment"), engine.resources("SecretProviderClass")
    assert secret.key in deployment.waits_for


def test_every_container_is_hardened_and_bounded(engine: Engine, prod: StackConfig):
    engine.run(lambda: build(prod))
    found = pod(engine)
    assert found["securityContext"]["runAsUser"] == UID
    for each in (*found["initContainers"], *found["containers"]):
        assert each["securityContext"]["readOnlyRootFilesystem"] is True
        assert each["resources"]["requests"].keys() == each["resources"]["limits"].keys() == {"cpu", "memory"}
        assert "$(" not in "".join(each.get("command", [])), "Kubernetes would put a variable's value there"


def test_prod_loses_no_request_to_an_update_or_to_the_emptying_of_a_node(engine: Engine, prod: StackConfig):
    engine.run(lambda: build(prod))
    spec = engine.one("Deployment", "tracking")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert engine.one("PodDisruptionBudget", "tracking")["spec"]["maxUnavailable"] == 1


def test_a_single_server_does_not_hold_up_the_emptying_of_its_node(engine: Engine, dev: StackConfig):
    engine.run(lambda: build(dev))
    assert not engine.resources("PodDisruptionBudget")


def test_a_file_has_one_writer_and_no_secret(engine: Engine, dev: StackConfig):
    engine.run(lambda: build(dev, FILE))
    assert engine.one("Deployment", "tracking")["spec"]["strategy"] == {"type": "Recreate"}
    assert not engine.resources("SecretProviderClass")
    assert by_name(pod(engine)["volumes"])["data"]["persistentVolumeClaim"] == {"claimName": "churn"}


def test_the_file_cannot_be_fetched_as_an_artifact(engine: Engine, dev: StackConfig):
    engine.run(lambda: build(dev, FILE))
    [uri] = [each for each in pod(engine)["containers"][0]["args"] if each.startswith("sqlite:")]
    assert not Path(uri.removeprefix("sqlite:///")).is_relative_to(ARTIFACTS)


def test_the_service_leads_to_the_pods_and_has_their_port(engine: Engine, prod: StackConfig):
    engine.run(lambda: build(prod))
    service, template = engine.one("Service", "tracking"), engine.one("Deployment", "tracking")["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert [(each["port"], each["targetPort"]) for each in service["spec"]["ports"]] == [(TRACKING.port, TRACKING.port)]
    assert f"{service['metadata']['name']}.{service['metadata']['namespace']}:{TRACKING.port}" == TRACKING.address


@pytest.fixture(scope="module")
def declared(dev: StackConfig) -> Manifest:
    """The server's container on a stack with a file."""
    plan = record(lambda: build(dev, FILE), "test", {})
    [deployment] = [each.inputs for each in plan.resources if each.type.endswith(":Deployment")]
    return deployment["spec"]["template"]["spec"]["containers"][0]


@pytest.fixture(scope="module")
def port(declared: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """MLflow itself, started as declared but for the port and the volume's place."""
    home, port = tmp_path_factory.mktemp("mlflow"), free_port()
    (home / "mlflow").mkdir()
    arguments = [each.replace(MOUNT, str(home)).replace(f"--port={TRACKING.port}", f"--port={port}") for each in declared["args"]]
    told = {each["name"]: each["value"] for each in declared["env"]}
    command = [str(Path(sys.executable).parent / "mlflow"), *arguments]
    with subprocess.Popen(
        command, env=os.environ | told, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        probe = declared["startupProbe"]
        until = time.monotonic() + probe["periodSeconds"] * probe["failureThreshold"]
        while probed(port, probe["httpGet"]) != 200 and time.monotonic() < until:
            time.sleep(0.5)
        yield port
        process.terminate()
        process.wait(30)


def probed(port: int, request: Manifest, **headers: str) -> int:
    """The answer's status to what a probe asks."""
    given = {each["name"]: each["value"] for each in request.get("httpHeaders", [])}
    return ask(port, request["path"], given | headers, 20)


def test_the_server_answers_its_probes_and_who_calls_it_by_name_only(port: int, declared: Manifest):
    alive, search = (declared[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness"))
    assert probed(port, alive) == probed(port, search) == 200
    assert probed(port, search, Host="localhost:5000") == 200
    assert probed(port, search, Host="mlflow.churn.svc.cluster.local:5000") == 200
    assert probed(port, search, Host="10.30.0.1:5000") == 403
    assert probed(port, search, Host="evil.example") == 403
