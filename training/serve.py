"""Serving a release on this machine: the pod's own command, in this process, and a first question to it."""

import os
import shlex
import socket
import sys
import threading
import urllib.request

import msgspec

from app.__main__ import main
from app.bundle import fetch_bundle
from app.release import ReleaseError, Stack
from app.settings import PREFIX, Settings
from training.history import current
from training.home import Home

POLL_SECONDS = 0.1
TIMEOUT_SECONDS = 5.0
# No balancer has to learn that this process leaves.
GRACE_SECONDS = 2.0


def serve(home: Home, stack: Stack, port: int, metrics_port: int) -> int:
    """The exit code of what `python -m app` does, which it does until Ctrl-C or SIGTERM; its prediction log is in var/events."""
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
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ.update(settings.environment())
    over = threading.Event()
    greeting = threading.Thread(target=_greet, args=(settings, msgspec.json.encode(example).decode(), over))
    greeting.start()
    try:
        # Not as a child, which would stay on its ports if this process were killed.
        return main()
    finally:
        over.set()
        greeting.join()


def _check_free(host: str, port: int, named: str) -> None:
    """Before anything is started: whoever has the port already may well answer that it is ready."""
    try:
        socket.create_server((host, port)).close()
    except OSError as exc:
        raise ReleaseError(f"the {named} is {port}: {exc.strerror}; give a free one") from exc


def _greet(settings: Settings, customer: str, over: threading.Event) -> None:
    """Say how to ask it, once it is ready."""
    ready = f"http://{settings.host}:{settings.port}/readyz"
    while not over.wait(POLL_SECONDS):
        try:
            urllib.request.urlopen(ready, timeout=TIMEOUT_SECONDS).close()  # loopback, http
            hello = _hello(settings.port, customer)
        except OSError:
            # Not listening yet, or loading, or not to be ready at all: then its log says why, and it stays, as a pod would.
            continue
        sys.stdout.write(hello)
        sys.stdout.flush()
        return


def _hello(port: int, customer: str) -> str:
    url = f"http://localhost:{port}/v1/predict"
    request = urllib.request.Request(url, customer.encode(), {"content-type": "application/json"})  # loopback, http
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310  # likewise
        answer = response.read().decode()
    curl = f"curl -s {url} -H 'content-type: application/json' -d {shlex.quote(customer)}"
    return f"\nServing on http://localhost:{port} until Ctrl-C. Try it:\n\n{curl}\n\n{answer}\n"
