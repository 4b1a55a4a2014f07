"""Serving a release on this machine: the pod's own command as a child process, and a first question to it."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import msgspec

from app.bundle import fetch_bundle
from app.release import ReleaseError, Stack
from app.settings import Settings
from training.history import current
from training.home import Home

POLL_SECONDS = 0.1
# No balancer has to learn that this process leaves.
GRACE_SECONDS = 2.0


def serve(home: Home, stack: Stack, port: int, metrics_port: int) -> int:
    """The exit code of `python -m app`, which runs until Ctrl-C or SIGTERM; its prediction log is in var/events."""
    live = current(home, stack)
    if live is None:
        raise ReleaseError(f"{home.release(stack)} is not there; run `churn promote --stack {stack}` first")
    settings = Settings(
        release=home.release(stack),
        bundles=home.bundles_url,
        events=(home.var / "events").as_uri(),
        port=port,
        metrics_port=metrics_port,
        grace_seconds=GRACE_SECONDS,
    )
    for named, wanted in (("port", port), ("metrics port", metrics_port)):
        _check_free(settings.host, wanted, named)
    golden = fetch_bundle(home.bundles_url, live.champion.bundle_digest).golden
    # Every other golden customer has its required fields only: a short line to paste.
    example = {key: value for key, value in msgspec.to_builtins(golden.customers[1]).items() if value is not None}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHURN_")}
    with subprocess.Popen([sys.executable, "-m", "app"], env={**inherited, **settings.environment()}) as child:  # ours
        signal.signal(signal.SIGTERM, lambda _signal, _frame: child.terminate())
        # Ctrl-C reaches the child as well, which ends in order; this process waits for it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if _ready(child, f"http://{settings.host}:{port}/readyz"):
            sys.stdout.write(_hello(port, msgspec.json.encode(example).decode()))
            sys.stdout.flush()
    return child.returncode


def _check_free(host: str, port: int, named: str) -> None:
    """Before anything is started: whoever has the port already may well answer that it is ready."""
    try:
        socket.create_server((host, port)).close()
    except OSError as exc:
        raise ReleaseError(f"the {named} is {port}: {exc.strerror}; give a free one") from exc


def _ready(child: subprocess.Popen[bytes], url: str) -> bool:
    while child.poll() is None:
        try:
            with urllib.request.urlopen(url):  # noqa: S310  # loopback, http
                return True
        except OSError:
            # Not listening yet, or loading, or not to be ready at all: then its log says why, and it stays, as a pod would.
            time.sleep(POLL_SECONDS)
    return False


def _hello(port: int, customer: str) -> str:
    url = f"http://localhost:{port}/v1/predict"
    request = urllib.request.Request(url, customer.encode(), {"content-type": "application/json"})  # loopback, http
    with urllib.request.urlopen(request) as response:  # noqa: S310  # likewise
        answer = response.read().decode()
    curl = f"curl -s {url} -H 'content-type: application/json' -d {shlex.quote(customer)}"
    return f"\nServing on http://localhost:{port} until Ctrl-C. Try it:\n\n{curl}\n\n{answer}\n"
