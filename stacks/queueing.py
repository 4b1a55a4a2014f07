"""How long requests wait: replicas that take from one queue, M/M/c, whose waiting is Erlang C.

https://en.wikipedia.org/wiki/M/M/c_queue: requests come at random (Poisson), take exponentially distributed time, and whoever is
free takes the next. Kept connections and a balancer that picks the target with the fewest outstanding requests come near to it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# One request in a hundred may be slower.
SLOW_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Servers that each do `rate` requests per second, of which 99 in 100 are to be answered within `limit_seconds`."""

    rate: float
    limit_seconds: float

    @property
    def quickest_p99_seconds(self) -> float:
        """What one request in a hundred takes at least, as nothing waits: the service time's own 99th percentile."""
        return -math.log(SLOW_SHARE) / self.rate

    def needed(self, load: float) -> int:
        """The fewest servers that keep the limit at `load` requests per second; `limit_seconds` is above the quickest p99."""
        return next(
            servers
            for servers, waiting in _waiting_shares(load / self.rate)
            if self._slower_share(servers, load, waiting, self.limit_seconds) <= SLOW_SHARE
        )

    def served(self, servers: int) -> float:
        """The most requests per second of which `servers` keep the limit."""
        return _largest(lambda load: self.slower_share(servers, load, self.limit_seconds) <= SLOW_SHARE, servers * self.rate)

    def p99_seconds(self, servers: int, load: float) -> float:
        """What one request in a hundred takes at least, with a load that the servers keep up with."""
        # Twice what service and waiting take when both are at their 99th percentile, as if everybody had to wait.
        most = 2 * (self.quickest_p99_seconds - math.log(SLOW_SHARE) / (servers * self.rate - load))
        return _largest(lambda seconds: self.slower_share(servers, load, seconds) > SLOW_SHARE, most)

    def slower_share(self, servers: int, load: float, seconds: float) -> float:
        """The share of requests whose answer takes longer than `seconds`; 1 for servers that do not keep up."""
        waiting = next((share for count, share in _waiting_shares(load / self.rate) if count >= servers), 1.0)
        return self._slower_share(servers, load, waiting, seconds)

    def _slower_share(self, servers: int, load: float, waiting: float, seconds: float) -> float:
        spare = servers - load / self.rate
        if spare <= 0:
            return 1.0
        quick = math.exp(-self.rate * seconds)
        # Waiting and service are both exponential; where their rates are the same, the sum's formula is another one.
        if math.isclose(spare, 1, abs_tol=1e-9):
            return quick + waiting * self.rate * seconds * quick
        return quick + waiting * (quick - math.exp(-self.rate * seconds * spare)) / (spare - 1)


def _waiting_shares(work: float) -> Iterator[tuple[int, float]]:
    """By number of servers that keep up with `work` (busy servers on average): the share of requests that wait, Erlang's C."""
    blocked, servers = 1.0, 0  # Erlang's B, which C follows from, by its recursion: no factorial overflows
    while True:
        servers += 1
        blocked = work * blocked / (servers + work * blocked)
        if servers > work:
            yield servers, blocked / (1 - work / servers * (1 - blocked))


def _largest(holds: Callable[[float], bool], most: float) -> float:
    """Where a property that holds from 0 on ends, below `most`."""
    least = 0.0
    for _ in range(60):
        middle = (least + most) / 2
        least, most = (middle, most) if holds(middle) else (least, middle)
    return least
