"""`python -m stacks.rollout prod`: wait until a canary is decided, and say in a line how and why; docs/canary.md says what next.

Exit codes: 0 promoted, 1 rolled back or insufficient evidence, 2 bad input, nothing to read or no decision in time.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import kr8s
import msgspec

from stacks.canary import INTERVAL_SECONDS, LOOKS_MAX, REQUESTS_MIN, REVISION, UNANSWERED_SECONDS
from stacks.config import LocalConfig, StackConfig, read, stacks
from stacks.inference import PROGRESS_DEADLINE_SECONDS, ROLLOUT
from stacks.live import live_on
from stacks.names import INFERENCE, NAMESPACE
from stacks.reading import ConfigError
from stacks.values import PlanError, values_of

POLL_SECONDS = 2
# What cannot be reached, and what is said there that cannot be read.
FAULTS = (httpx.HTTPError, kr8s.APITimeoutError, kr8s.ServerError, kr8s.ConnectionClosedError, OSError, ValueError)


class _Read(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What Kubernetes has, as far as it is read here."""


class Metadata(_Read, frozen=True, kw_only=True):
    generation: int = 0
    creation_timestamp: str = ""
    labels: dict[str, str] = {}


class Measurement(_Read, frozen=True, kw_only=True):
    phase: str = ""
    value: str = ""
    message: str = ""


class Metric(_Read, frozen=True, kw_only=True):
    name: str
    phase: str
    measurements: tuple[Measurement, ...] = ()

    @property
    def latest(self) -> Measurement:
        return self.measurements[-1] if self.measurements else Measurement()

    @property
    def last(self) -> str:
        """The answer that decided, as a number, or why there is none."""
        found = self.latest
        try:
            return f"{float(found.value.strip('[]')):.3g}"
        except ValueError:
            return found.message or "nothing"


class RunStatus(_Read, frozen=True, kw_only=True):
    metric_results: tuple[Metric, ...] = ()


class Run(_Read, frozen=True, kw_only=True):
    """An AnalysisRun: what was asked and answered at one share of the traffic."""

    metadata: Metadata
    status: RunStatus = RunStatus()

    def of(self, *phases: str) -> Iterator[Metric]:
        """The questions that ended so."""
        return (each for each in self.status.metric_results if each.phase in phases)

    @property
    def step(self) -> int:
        """Of the rollout, at which it is asked."""
        return int(self.metadata.labels.get("step-index", "0"))


class Runs(_Read, frozen=True, kw_only=True):
    items: tuple[Run, ...]


class Reason(_Read, frozen=True, kw_only=True):
    reason: str


class Status(_Read, frozen=True, kw_only=True):
    phase: str = ""
    message: str = ""
    observed_generation: str = ""
    pause_conditions: tuple[Reason, ...] = ()
    current_pod_hash: str = ""
    current_step_index: int = 0


class Step(_Read, frozen=True, kw_only=True):
    set_weight: int | None = None


class CanaryStrategy(_Read, frozen=True, kw_only=True):
    steps: tuple[Step, ...] = ()


class Strategy(_Read, frozen=True, kw_only=True):
    canary: CanaryStrategy


class Spec(_Read, frozen=True, kw_only=True):
    strategy: Strategy


class Rollout(_Read, frozen=True, kw_only=True):
    """A Rollout with the status that its controller wrote."""

    metadata: Metadata
    spec: Spec
    status: Status = Status()

    def share_percent(self, step: int) -> int:
        """The canary's share of the traffic at a step."""
        return next((each.set_weight for each in self.spec.strategy.canary.steps[step::-1] if each.set_weight is not None), 0)


class Decision(msgspec.Struct, frozen=True):
    """How a rollout ended, in one line, and the exit code."""

    text: str
    code: int


class UndecidedError(Exception):
    """Why nothing can be said."""


def decided(rollout: Rollout, run: Run | None) -> Decision | None:
    """The decision on what is declared now; None while it is not taken. `run` is what was asked last."""
    status, share = rollout.status, rollout.share_percent(run.step if run else 0)
    # A status of what was declared before says nothing.
    if status.observed_generation != str(rollout.metadata.generation):
        return None
    if status.phase == "Healthy":
        return Decision("promoted: all requests go to what is declared", 0)
    if status.phase == "Degraded":
        said = [f"{each.name} was {each.last}" for each in run.of("Failed")] if run else []
        said += [f"{each.name} could not be asked: {each.last}" for each in run.of("Error")] if run else []
        why = f"{' and '.join(said)} at {share} % of the requests" if said else status.message
        return Decision(f"rolled back: {why}; what served before serves all of them", 1)
    if run and any(each.reason == "InconclusiveAnalysisRun" for each in status.pause_conditions):
        predictions = next((each.last for each in run.status.metric_results if each.name == "requests"), "0")
        return Decision(
            f"insufficient evidence: {predictions} of {REQUESTS_MIN:,} predictions at {share} % of the requests; it stays there",
            1,
        )
    return None


def progress(rollout: Rollout, run: Run | None) -> str:
    """Where an undecided rollout is, and what it cannot learn at the moment."""
    share = rollout.share_percent(rollout.status.current_step_index)
    silent = [each for each in run.of("Running") if each.latest.phase == "Error"] if run else []
    unanswered = f"; {' and '.join(each.name for each in silent)} cannot be asked: {silent[0].last}" if silent else ""
    return f"{share} % of the requests: {rollout.status.message or 'begun'}{unanswered}"


async def wait(kubeconfig: str | None, context: str | None, give_up_after_seconds: float) -> Decision:
    """The decision, once it is taken. Raises UndecidedError."""
    give_up = time.monotonic() + give_up_after_seconds
    said = ""
    try:
        api = await kr8s.asyncio.api(kubeconfig=kubeconfig, context=context)

        async def get(path: str, **params: str) -> Any:
            server = api.call_api("GET", version=ROLLOUT.api_version, namespace=NAMESPACE, url=path, params=params)  # pyright: ignore[reportUnknownMemberType] - kr8s leaves what it passes on untyped
            async with server as answer:
                return answer.json()

        found = await _read(get)
    except FAULTS as exc:
        raise UndecidedError(f"the rollout of {INFERENCE.name} cannot be read: {exc}; give --kubeconfig of its cluster") from exc
    while (decision := decided(*found)) is None:
        now = progress(*found)
        if now != said:
            sys.stderr.write(f"{now}\n")
            said = now
        if time.monotonic() > give_up:
            raise UndecidedError(f"not decided within {give_up_after_seconds:.0f} s: {now}; look with kubectl")
        await asyncio.sleep(POLL_SECONDS)
        try:
            found = await _read(get)
        except FAULTS as exc:
            # The canary does not end because the API server is away for a moment.
            sys.stderr.write(f"{exc}\n")
    return decision


async def _read(get: Callable[..., Awaitable[Any]]) -> tuple[Rollout, Run | None]:
    """The rollout, and the latest that was asked about the revision that is declared."""
    rollout = msgspec.convert(await get(f"rollouts/{INFERENCE.name}"), Rollout)
    found = await get("analysisruns", labelSelector=f"{REVISION}={rollout.status.current_pod_hash}")
    runs = msgspec.convert(found, Runs).items
    return rollout, max(runs, key=lambda run: run.metadata.creation_timestamp, default=None)


def longest_seconds(config: StackConfig) -> int:
    """How long a rollout can take that is decided at all: pods that start and leave, and every look at every share."""
    shares = len(config.inference.canary_weights_percent)
    return shares * (LOOKS_MAX * INTERVAL_SECONDS + UNANSWERED_SECONDS + PROGRESS_DEADLINE_SECONDS)


@contextmanager
def _kubeconfig(config: StackConfig) -> Generator[Path]:
    """The cluster's own, as Pulumi knows it; it names who to ask for a token and holds none. Raises UndecidedError."""
    command = ["pulumi", "stack", "output", "kubeconfig", "--stack", config.stack]
    try:
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - a stack that has a file
    except OSError as exc:
        raise UndecidedError(f"{exc}; install the Pulumi CLI, or give --kubeconfig") from exc
    except subprocess.CalledProcessError as exc:
        raise UndecidedError(f"{exc.stderr.strip()}; give --kubeconfig of the cluster of {config.stack}") from exc
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kubeconfig")
        path.write_text(text)
        yield path


def _decide(asked: argparse.Namespace) -> Decision:
    config = read(asked.stack, values_of(asked.stack))
    if not config.inference.canary_weights_percent:
        return Decision(f"deployed: {config.stack} takes a change all at once", 0)
    if not asked.kubeconfig and live_on(config) is None:
        return Decision(f"deployed: nothing is live on {config.stack}", 0)
    give_up = asked.give_up_after or longest_seconds(config)
    if asked.kubeconfig:
        return asyncio.run(wait(asked.kubeconfig, None, give_up))
    if isinstance(config.base, LocalConfig):
        return asyncio.run(wait(None, config.base.context, give_up))
    with _kubeconfig(config) as path:
        return asyncio.run(wait(str(path), None, give_up))


def main(arguments: Sequence[str] | None = None) -> int:
    """Wait and print the decision; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stacks.rollout", description="Wait until a canary is decided.")
    parser.add_argument("stack", metavar="STACK", help=f"one of {', '.join(stacks())}")
    parser.add_argument("--kubeconfig", metavar="FILE", help="of the cluster; what Pulumi knows of the stack unless given")
    parser.add_argument("--give-up-after", type=float, metavar="SECONDS", help="as long as it can take, unless given")
    try:
        decision = _decide(parser.parse_args(arguments))
    except (ConfigError, PlanError, UndecidedError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    except Exception:  # noqa: BLE001 - Python would end with 1, which says "rolled back"
        traceback.print_exc()
        return 2
    sys.stdout.write(f"{decision.text}\n")
    return decision.code


if __name__ == "__main__":
    sys.exit(main())
