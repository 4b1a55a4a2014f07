"""Made-up customers for an endpoint without clients: `python -m pipelines.traffic URL -- COMMAND` asks while COMMAND runs.

Where there are no clients no canary gets the requests that it is judged by (stacks/canary.py). None has a customer_id, so that no
experiment counts it. A token in SMOKE_TOKEN where one is needed.

The exit code is the command's. Without one, after `--seconds`: 0 if predictions were answered, 1 if they were all refused, 2 if
nobody answers there.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import cycle

import httpx

from training.sample import sample
from training.validate import LABEL

# At a tenth of them a canary has its thousand predictions within half of the time that it is looked at.
RATE_PER_SECOND = 40.0
# As long as a job may take (.github/workflows/cd.yml).
SECONDS_MAX = 9000.0
_CUSTOMERS = 2000
# An endpoint that is slow gets fewer requests, not ever more at once.
_AT_ONCE_MAX = 50
_TIMEOUT_SECONDS = 10
_OK = "200"


def customers(rows: int = _CUSTOMERS, seed: int = 0) -> list[Mapping[str, object]]:
    """Bodies that `/v1/predict` takes, as varied as a customer table."""
    frame, _ = sample(rows, seed)
    records = json.loads(str(frame.drop(columns=[LABEL, "customer_id"]).to_json(orient="records")))
    return [{name: value for name, value in record.items() if value is not None} for record in records]


class Traffic:
    """Requests at an even rate, and how each ended: the status, or what kept it from one."""

    def __init__(self, client: httpx.AsyncClient, rate_per_second: float) -> None:
        self._client, self._rate_per_second = client, rate_per_second
        self._bodies: Iterator[Mapping[str, object]] = cycle(customers())
        self._room = asyncio.Semaphore(_AT_ONCE_MAX)
        self.ended: Counter[str] = Counter()

    async def send(self, seconds: float) -> None:
        """Ask for so long, or until it is cancelled; what is under way then is not waited for."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as under_way:
            while (now := time.monotonic() - began) < seconds:
                await self._room.acquire()
                under_way.create_task(self._ask(next(self._bodies)))
                await asyncio.sleep(1 / self._rate_per_second - (time.monotonic() - began - now))

    async def _ask(self, customer: Mapping[str, object]) -> None:
        try:
            answer = await self._client.post("/v1/predict", json=customer)
            self.ended[str(answer.status_code)] += 1
        except httpx.TransportError as exc:
            # Before the first deployment there is nobody, and that is for the command to judge.
            self.ended[type(exc).__name__] += 1
        finally:
            self._room.release()


async def _run(url: str, rate_per_second: float, seconds: float, command: Sequence[str]) -> tuple[Counter[str], int | None]:
    """How the requests ended, and the command. Raises OSError for one that cannot be started, httpx.InvalidURL."""
    token = os.environ.get("SMOKE_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS) as client:
        traffic = Traffic(client, rate_per_second)
        if not command:
            await traffic.send(seconds)
            return traffic.ended, None
        process = await asyncio.create_subprocess_exec(*command)
        sending = asyncio.create_task(traffic.send(seconds))
        code = await process.wait()
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
        return traffic.ended, code


def main() -> None:
    """Send, print how the requests ended, exit."""
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description="Ask an endpoint about made-up customers, while a command runs.")
    parser.add_argument("url", help="such as http://localhost:8080; after -- the command")
    parser.add_argument("--rate", type=float, default=RATE_PER_SECOND, help="requests a second")
    parser.add_argument("--seconds", type=float, default=SECONDS_MAX, help="how long at most")
    given = parser.parse_args(arguments[:cut])
    for name, value in (("rate", given.rate), ("seconds", given.seconds)):
        if not 0 < value <= SECONDS_MAX:
            parser.error(f"--{name} is {value:g}; give a number above 0 and up to {SECONDS_MAX:g}")
    began = time.monotonic()
    try:
        ended, code = asyncio.run(_run(given.url, given.rate, given.seconds, arguments[cut + 1 :]))
    except (OSError, httpx.InvalidURL) as exc:
        sys.stderr.write(f"{exc}; give the address of an endpoint, and a command that can be started\n")
        sys.exit(2)
    how = ", ".join(f"{count:,} {name}" for name, count in ended.most_common()) or "none"
    sys.stderr.write(f"requests to {given.url} in {time.monotonic() - began:.0f} s: {how}\n")
    if code is not None:
        sys.exit(code)
    sys.exit(0 if ended[_OK] else 1 if any(name.isdigit() for name in ended) else 2)


if __name__ == "__main__":
    main()
