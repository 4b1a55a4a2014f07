"""A PostgreSQL server of the tests' own, where Debian's `postgresql` or another is installed."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# The server refuses to run as root.
NOBODY = "nobody" if os.geteuid() == 0 else None


@dataclass(frozen=True, kw_only=True)
class Server:
    """An empty database that asks its one user for a password over TLS, as RDS does."""

    port: int
    password: str
    home: Path

    def uri(self, driver: str = "", database: str = "postgres") -> str:
        return f"postgresql{driver}://mlflow@127.0.0.1:{self.port}/{database}?sslmode=require"

    def start(self) -> None:
        listen = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off -c ssl=on -k {self.home}"
        self._control("-w", "-l", str(self.home / "log"), "-o", listen, "start")

    def stop(self) -> None:
        self._control("-m", "immediate", "stop")

    def _control(self, *what: str) -> None:
        run(programs() / "pg_ctl", "-D", self.home / "data", *what)


def programs() -> Path:
    """The folder of `initdb` and `pg_ctl`; Debian keeps them out of PATH."""
    found = shutil.which("initdb") or next((str(each) for each in Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    return Path(found).parent if found else pytest.skip("no PostgreSQL server; Debian's package `postgresql` has one")


@contextmanager
def serving(password: str) -> Iterator[Server]:
    """The server while the block runs."""
    folder = programs()
    # Not pytest's own, into which nobody but the tests' user may look.
    with tempfile.TemporaryDirectory() as name:
        home, words = Path(name), Path(name, "words")
        words.write_text(password)
        if NOBODY:
            shutil.chown(home, NOBODY)
            shutil.chown(words, NOBODY)
        data = home / "data"
        run(folder / "initdb", "-D", data, "-U", "mlflow", "--pwfile", words, "--auth=scram-sha-256", "--no-sync")
        _encrypt(data)
        server = Server(port=free_port(), password=password, home=home)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _encrypt(data: Path) -> None:
    """Give the server a certificate of its own, and let nobody in without TLS."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    start = datetime.now(UTC) - timedelta(hours=1)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(start).not_valid_after(start + timedelta(days=1))
    pem, whole = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    texts = {
        "server.crt": made.sign(key, hashes.SHA256()).public_bytes(pem),
        "server.key": key.private_bytes(pem, whole, serialization.NoEncryption()),
        "pg_hba.conf": b"hostssl all all 127.0.0.1/32 scram-sha-256\n",
    }
    for file, content in texts.items():
        path = data / file
        path.touch(mode=0o600)
        path.write_bytes(content)
        if NOBODY:
            shutil.chown(path, NOBODY)


def run(*command: str | Path) -> None:
    subprocess.run(command, user=NOBODY, cwd="/", check=True, stdout=subprocess.DEVNULL)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
