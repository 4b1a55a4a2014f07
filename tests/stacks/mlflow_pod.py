"""MLflow's pod as it is declared, with processes for containers: its port, files and neighbours' addresses alone are moved."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stacks.names import TRACKING
from stacks.record import Plan
from stacks.tracking_pods import CREDENTIALS, SECRET, SECRET_FILE
from tests.app.support import wait_for
from tests.stacks.postgres import Server, free_port

Manifest = dict[str, Any]
# What MLflow's image begins with; the declaration adds arguments.
ENTRYPOINT = ["mlflow"]
BUCKET = "artifacts"
# A host or bucket, or what stands in a plan for one that AWS will name.
NAME = r"(?:\$\{[^}]+\}|[^@:/]+)"
# Pod Identity puts these into a pod on EKS; there, the address of S3 is Amazon's.
IDENTITY = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


def declared(plan: Plan) -> Manifest:
    """The pod of a plan's MLflow."""
    [found] = [each.inputs for each in plan.resources if each.type.endswith(":Deployment") and each.name == "tracking"]
    return found["spec"]["template"]["spec"]


@dataclass
class Pod:
    """The pod's processes, its port and where its secret is mounted."""

    spec: Manifest
    home: Path
    database: Server
    store: str
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def passfile(self) -> Path:
        return self.home / "credentials" / "passfile"

    @property
    def server(self) -> Manifest:
        [found] = self.spec["containers"]
        return found

    def give(self, password: str) -> None:
        """Put the secret where the driver mounts it, in place of what was there."""
        path = self.home / "secret" / SECRET_FILE
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"username": "mlflow", "password": password}))
        new.replace(path)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the containers in their order, and end them with the signal that Kubernetes sends."""
        follower, schema = self.spec["initContainers"]
        with self._process(follower, follower["command"]):
            first = [self._moved(each) for each in follower["startupProbe"]["exec"]["command"]]
            wait_for(lambda: subprocess.run(first, check=False).returncode == 0, "the password", 60)
            with self._process(schema, schema["command"]) as tables:
                assert tables.wait(300) == 0, self._log(schema).read_text()
            with self._process(self.server, [*ENTRYPOINT, *self.server["args"]]):
                probe = self.server["startupProbe"]
                # Twice the time that it has in the cluster: here it shares its processors with other tests.
                wait_for(
                    lambda: self.probe("startup") == 200, "the start", 2 * probe["periodSeconds"] * probe["failureThreshold"]
                )
                yield

    @contextmanager
    def _process(self, container: Manifest, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        told = {each["name"]: self._moved(each["value"]) for each in container.get("env", [])}
        # As in the image, whose programs are those of one environment; no variable of this process is passed on.
        image = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with (
            self._log(container).open("wb") as log,
            subprocess.Popen(
                list(map(self._moved, command)),
                env=image | IDENTITY | {"AWS_ENDPOINT_URL_S3": self.store} | told,
                cwd=self.home,
                stdout=log,
                stderr=log,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(60)
                finally:
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)

    def _log(self, container: Manifest) -> Path:
        return self.home / f"{container['name']}.log"

    def _moved(self, text: str) -> str:
        text = re.sub(rf"@{NAME}:5432/", f"@127.0.0.1:{self.database.port}/", text)
        text = re.sub(rf"^s3://{NAME}/", f"s3://{BUCKET}/", text)
        text = re.sub(rf"(?<=[:=]){TRACKING.port}\b", str(self.port), text)
        return text.replace(SECRET, str(self.home / "secret")).replace(CREDENTIALS, str(self.home / "credentials"))

    def probe(self, kind: str, **headers: str) -> int:
        """The status that a probe of the pod gets within its time; 0 if it gets none."""
        probe = self.server[f"{kind}Probe"]
        given = {each["name"]: self._moved(each["value"]) for each in probe["httpGet"].get("httpHeaders", [])}
        return ask(self.port, probe["httpGet"]["path"], given | headers, probe.get("timeoutSeconds", 1))


def ask(port: int, path: str, headers: Mapping[str, str], seconds: float) -> int:
    """The status of the answer to a request; 0 if none comes within that time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("GET", path, headers=dict(headers))
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def pod(spec: Manifest, home: Path, database: Server, store: str, password: str) -> Pod:
    """A pod whose secret says `password`, not yet started."""
    found = Pod(spec, home, database, store)
    for name in ("secret", "credentials"):
        (home / name).mkdir(parents=True)
    found.give(password)
    return found
