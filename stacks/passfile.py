"""Runs beside MLflow: `passfile.py SECRET PASSFILE` keeps libpq's password file as the mounted secret says.

Whoever rotates the password changes the secret; libpq reads the file anew for every connection, so nothing has to restart.
The standard library alone, as it runs in MLflow's image.
"""

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

EVERY_SECONDS = 1


def line(secret: str) -> str:
    """The password file for the secret's user on any server: `{"username", "password"}` as RDS writes it."""
    known: dict[str, Any] = json.loads(secret)
    # https://www.postgresql.org/docs/current/libpq-pgpass.html
    user, password = (known[key].replace("\\", "\\\\").replace(":", "\\:") for key in ("username", "password"))
    return f"*:*:*:{user}:{password}\n"


def write(path: Path, text: str) -> None:
    """Put `text` in place of what was there, at once; libpq ignores a file that others may read."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(path)


def follow(secret: Path, passfile: Path) -> None:
    """Write the file whenever the secret says something else; what cannot be read leaves it as it is."""
    written = complaint = ""
    while True:
        try:
            if (wanted := line(secret.read_text())) != written:
                write(passfile, wanted)
                written, complaint = wanted, ""
                sys.stderr.write(f"{passfile} is as {secret} says\n")
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as exc:
            # Its kind alone: a message could quote the secret.
            if complaint != (complaint := type(exc).__name__):
                sys.stderr.write(f'{secret} is no secret of RDS ({complaint}); give {{"username": ..., "password": ...}}\n')
        time.sleep(EVERY_SECONDS)


def end(_signal: int, _frame: object) -> None:
    sys.exit(0)


if __name__ == "__main__":
    # The first process of a container is not ended by a signal that it does not handle.
    signal.signal(signal.SIGTERM, end)
    follow(*map(Path, sys.argv[1:]))
