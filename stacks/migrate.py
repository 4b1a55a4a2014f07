"""Runs before MLflow: `migrate.py URI` brings its tables to the version of the image, on an empty database as well."""

import subprocess
import sys
from pathlib import Path

import psycopg

# Any number, the same for all.
LOCK = 5000


def main(uri: str) -> None:
    """Upgrade what `uri` names; on PostgreSQL one at a time, as two at once break an empty database."""
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        upgrade(uri)
        return
    # The lock lasts as long as the connection, so that nobody waits for one who is gone.
    with psycopg.connect(uri.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        upgrade(uri)


def upgrade(uri: str) -> None:
    subprocess.run(["mlflow", "db", "upgrade", uri], check=True)  # noqa: S603, S607 - the image's own, with the program's own URI


if __name__ == "__main__":
    main(sys.argv[1])
