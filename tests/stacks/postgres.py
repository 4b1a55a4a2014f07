"""A PostgreSQL server of the tests' own, where Debian's `postgresql` or another is installed."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

# The server refuses to run as root.
NOBODY = "nobody" if os.geteuid() == 0 else None


@dataclass(frozen=True, kw_only=True)
class Server:
    """An empty database that asks its one user for a password; `sslmode` aside, as RDS is asked."""

    port: int
    password: str

    def uri(self, driver: str = "") -> str:
        return f"postgresql{driver}://mlflow@127.0.0.1:{self.port}/postgres"


def programs() -> Path:
    """The folder of `initdb` and `pg_ctl`; Debian keeps them out of PATH."""
    found = shutil.which("initdb") or next((str(each) for each in Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    return Path(found).parent if found else pytest.skip("no PostgreSQL server; Debian's package `postgresql` has one")


@contextmanager
def serving(password: str) -> Iterator[Server]:
    """The server while the block runs."""
    folder, port = programs(), free_port()
    # Not pytest's own, into which nobody but the tests' user may look.
    with tempfile.TemporaryDirectory() as home:
        data, words = Path(home, "data"), Path(home, "words")
        words.write_text(password)
        if NOBODY:
            shutil.chown(home, NOBODY)
            shutil.chown(words, NOBODY)
        run(folder / "initdb", "-D", data, "-U", "mlflow", "--pwfile", words, "--auth=scram-sha-256", "--no-sync")
        listen = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -k {home}"
        run(folder / "pg_ctl", "-D", data, "-w", "-l", data / "log", "-o", listen, "start")
        try:
            yield Server(port=port, password=password)
        finally:
            run(folder / "pg_ctl", "-D", data, "-m", "immediate", "stop")


def run(*command: str | Path) -> None:
    subprocess.run(command, user=NOBODY, cwd="/", check=True, stdout=subprocess.DEVNULL)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
