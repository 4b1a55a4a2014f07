"""What the rule of stacks/canary.py does to good and to bad canaries, in simulated traffic.

    python -m bench.canary [--runs 4000] [--seed 0]

A run is a canary at 10, 25 and 50 % of the traffic, looked at as Argo Rollouts does. A good one is as its stable pods are; a bad
one differs in one thing. The noise: 5 to 500 requests/s that swing by a third; a hundredth of them batches of up to a thousand
similar customers; pods that differ in speed by a third; a share of failures from none to four times the error budget; bursts of
failures, of the whole service once an hour, of one pod once a day; a store that loses events in one run in a hundred. Writes
bench/results/canary.md.
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stacks.canary import DEVIATIONS_MAX, GOOD_IN_A_ROW, INTERVAL_SECONDS, LOOKS_MAX, REQUESTS_MIN, SLOW_SHARE, TIMES_STABLE

RESULTS = Path(__file__).with_name("results")
SHARES = (0.10, 0.25, 0.50)
PODS = 6
WINDOW_LOOKS = 20
# As prod has them.
ERROR_BUDGET, DRIFT_INDEX_MAX = 0.0005, 0.2
# Of what a model of the Telco table predicts.
SCORES = np.array([0.31, 0.13, 0.10, 0.08, 0.08, 0.07, 0.07, 0.06, 0.06, 0.04])

Ending = Literal["promoted", "rolled back", "insufficient evidence"]
Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Fault:
    """What a canary does that its stable pods do not: shares of requests, and how many of the scores are turned round."""

    failing: float = 0.0
    turning_away: float = 0.0
    slow: float = 0.0
    dropping: float = 0.0
    turned: float = 0.0


GOOD = Fault()
FAULTS = {
    "one request in fifty fails": Fault(failing=0.02),
    "every request fails": Fault(failing=1.0),
    "two requests in three are turned away": Fault(turning_away=2 / 3),
    "one answer in twenty is slow": Fault(slow=0.05),
    "one event in a hundred is dropped": Fault(dropping=0.01),
    "half of the scores are turned round": Fault(turned=0.5),
}


@dataclass
class Seen:
    """What the pods of one revision have counted within a look, or within the window; `requests` are answered ones."""

    requests: float = 0
    turned_away: float = 0
    failed: float = 0
    slow: float = 0
    dropped: float = 0
    scores: Counts = field(default_factory=lambda: np.zeros(len(SCORES)))

    def plus(self, other: "Seen") -> "Seen":
        return Seen(
            self.requests + other.requests,
            self.turned_away + other.turned_away,
            self.failed + other.failed,
            self.slow + other.slow,
            self.dropped + other.dropped,
            self.scores + other.scores,
        )


@dataclass(frozen=True)
class Run:
    """How a canary ended, after how many looks, and by which question."""

    ending: Ending
    looks: int
    why: str = ""


def excess(bad: float, of: float, stable_bad: float, stable_of: float, tolerated: float) -> float:
    """As stacks/canary.py asks Prometheus for it."""
    share = max(TIMES_STABLE * stable_bad / stable_of, tolerated) if stable_of else tolerated
    return 2 * (math.sqrt(bad) - math.sqrt(of * share))


def shift(canary: Counts, stable: Counts) -> float:
    """The same, of the population stability index."""
    shares = [(each + 0.5) / (each.sum() + len(each) / 2) for each in (canary, stable)]
    return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())


def answers(canary: Seen, stable: Seen) -> Mapping[str, bool | None]:
    """What each question is answered at one look: good, bad, or nothing."""
    enough = canary.requests >= REQUESTS_MIN
    failing = excess(
        canary.failed + canary.turned_away,
        canary.requests + canary.turned_away,
        stable.failed + stable.turned_away,
        stable.requests + stable.turned_away,
        ERROR_BUDGET,
    )
    dropping = excess(canary.dropped, canary.scores.sum(), stable.dropped, stable.scores.sum(), ERROR_BUDGET)
    slow = excess(canary.slow, canary.requests, stable.slow, stable.requests, SLOW_SHARE)
    return {
        "requests": enough or None,
        "errors": failing <= DEVIATIONS_MAX if enough or failing > DEVIATIONS_MAX else None,
        "dropped-events": dropping <= DEVIATIONS_MAX if enough or dropping > DEVIATIONS_MAX else None,
        "slow-answers": slow <= DEVIATIONS_MAX if enough else None,
        "score-shift": shift(canary.scores, stable.scores) <= DRIFT_INDEX_MAX if enough else None,
    }


class Service:
    """A service in one hour of its life."""

    def __init__(self, fault: Fault, rng: np.random.Generator) -> None:
        self._fault, self._rng = fault, rng
        self.requests_per_second = float(np.exp(rng.uniform(np.log(5), np.log(500))))
        self._failing = float(np.exp(rng.uniform(np.log(1e-6), np.log(4 * ERROR_BUDGET))))
        self._slow = float(np.exp(rng.uniform(np.log(0.0005), np.log(SLOW_SHARE))))
        self._dropping = 0.01 * float(rng.binomial(1, 0.01))
        self._paces = np.exp(rng.normal(0, 1 / 3, 2 * PODS))
        self._swing = 0.0

    def looks(self, share: float) -> Iterator[tuple[Seen, Seen]]:
        """What canary and stable pods count from one look to the next while the canary has `share` of the traffic."""
        pods = max(1, math.ceil(share * PODS))
        while True:
            self._swing = 0.8 * self._swing + self._rng.normal(0, 0.2)
            asked = self._rng.poisson(self.requests_per_second * INTERVAL_SECONDS * math.exp(self._swing))
            canary = int(self._rng.binomial(asked, share))
            burst = 0.1 if self._rng.random() < INTERVAL_SECONDS / 3600 else 0.0
            yield (
                self._seen(canary, self._paces[:pods], burst, self._fault),
                self._seen(asked - canary, self._paces[PODS:], burst, GOOD),
            )

    def _seen(self, asked: int, paces: Counts, burst: float, fault: Fault) -> Seen:
        rng = self._rng
        # Drawn only where there are some, so that the other runs stay what they are.
        turned_away = rng.binomial(asked, fault.turning_away) if fault.turning_away else 0
        requests = asked - turned_away
        struck = rng.binomial(len(paces), INTERVAL_SECONDS / 86_400) / len(paces)
        failing = min(1.0, self._failing + fault.failing + burst + 0.1 * struck)
        slow = min(1.0, self._slow * float(paces.mean()) + fault.slow)
        scores = self._scores(requests, fault.turned)
        dropping = min(1.0, self._dropping * float(paces.mean()) + fault.dropping)
        return Seen(
            requests,
            turned_away,
            rng.binomial(requests, failing),
            rng.binomial(requests, slow),
            rng.binomial(scores.sum(), dropping),
            scores,
        )

    def _scores(self, requests: int, turned: float) -> Counts:
        """Counts (bins) of single customers, and of batches of customers who are alike."""
        rng, batches = self._rng, int(self._rng.binomial(requests, 0.01))
        counts = rng.multinomial(requests - batches, SCORES).astype(np.float64)
        if batches:
            sizes = np.minimum(1000, 1 + rng.exponential(100, batches)).astype(np.int64)
            counts += rng.multinomial(sizes, rng.dirichlet(20 * SCORES, batches)).sum(axis=0)
        moved = rng.binomial(counts.astype(np.int64), turned)
        return counts - moved + moved[::-1]


def run(fault: Fault, rng: np.random.Generator) -> Run:
    """One canary, from its first share to its end."""
    service, looks = Service(fault, rng), 0
    history: list[tuple[Seen, Seen]] = []
    for share in SHARES:
        in_a_row: Counter[str] = Counter()
        open_questions = {"requests", "errors", "dropped-events", "slow-answers", "score-shift"}
        traffic = service.looks(share)
        for _ in range(LOOKS_MAX):
            looks += 1
            history = [*history, next(traffic)][-WINDOW_LOOKS:]
            canary, stable = Seen(), Seen()
            for new, old in history:
                canary, stable = canary.plus(new), stable.plus(old)
            for name, good in answers(canary, stable).items():
                if name in open_questions and good is False:
                    return Run("rolled back", looks, name)
                in_a_row[name] = in_a_row[name] + 1 if good else 0
                if in_a_row[name] >= GOOD_IN_A_ROW:
                    open_questions.discard(name)
            if not open_questions:
                break
        else:
            return Run("insufficient evidence", looks)
    return Run("promoted", looks)


def simulate(fault: Fault, runs: int, seed: int) -> list[Run]:
    """So many canaries with a fault; the same ones for the same seed."""
    return [run(fault, rng) for rng in np.random.default_rng(seed).spawn(runs)]


def table(runs: int, seed: int) -> str:
    """Each kind of canary, how it ended, and when."""
    lines = [
        "Written by `python -m bench.canary`.",
        f"{runs:,} canaries of each kind, simulated with seed {seed}; a look every {INTERVAL_SECONDS} s.",
        "",
        "| canary | promoted, % | rolled back, % | insufficient evidence, % | half of them decided after looks | by |",
        "|---|---|---|---|---|---|",
    ]
    for name, fault in {"as good as its stable pods": GOOD, **FAULTS}.items():
        ended = simulate(fault, runs, seed)
        endings = Counter(each.ending for each in ended)
        shares = [f"{100 * endings[each] / runs:.2f}" for each in ("promoted", "rolled back", "insufficient evidence")]
        whys = ", ".join(f"{why} {count}" for why, count in Counter(each.why for each in ended if each.why).most_common())
        lines.append(f"| {name} | {' | '.join(shares)} | {np.median([each.looks for each in ended]):.0f} | {whys} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.canary")
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    text = table(told.runs, told.seed)
    (RESULTS / "canary.md").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
