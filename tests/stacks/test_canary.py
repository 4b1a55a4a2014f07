from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from app.bundle import SCORE_BINS
from app.metrics import LATENCY_BOUNDS_SECONDS
from app.release import AlertLimits
from bench import canary as simulated
from bench.canary import FAULTS, GOOD, excess, shift, simulate
from stacks.canary import DEVIATIONS_MAX, INTERVAL_SECONDS, LOOKS_MAX, REQUESTS_MIN, analysis, questions, steps
from stacks.config import InferenceConfig, StackConfig
from tests.stacks import promtool

# Scrapes in the window; what is counted, is counted between two of them.
EVERY, SCRAPES, AT = "15s", 40, "10m"
LIMITS = AlertLimits(drift_index_max=0.3)
SCORES = (30, 15, 10, 10, 10, 5, 5, 5, 5, 5)
FEW = REQUESTS_MIN / SCRAPES / 10


@dataclass(frozen=True, kw_only=True)
class Pods:
    """What the pods of one revision count from scrape to scrape."""

    requests: float = 100
    failed: float = 0
    turned_away: float = 0
    slow: float = 0
    dropped: float = 0
    scores: tuple[float, ...] = SCORES

    def series(self, revision: str) -> dict[str, str]:
        fast = self.requests - self.slow
        counted = {
            'churn_request_seconds_count{route="/v1/predict",': self.requests,
            'churn_request_seconds_bucket{route="/v1/predict",le="0.05",': fast,
            'churn_requests_total{route="/v1/predict",status="200",': self.requests - self.failed,
            'churn_requests_total{route="/v1/predict",status="503",': self.failed,
            'churn_refused_total{reason="busy",': self.turned_away,
            # Their own doing.
            'churn_refused_total{reason="slow",': 50,
            "churn_events_dropped_total{": self.dropped,
        }
        counted |= {f'churn_score_bin_total{{bin="{bin_}",': count for bin_, count in zip(SCORE_BINS, self.scores, strict=True)}
        pod = f'namespace="churn",pod="{revision}-1",rollouts_pod_template_hash="{revision}"}}'
        return {f"{name}{pod}": f"0+{each}x{SCRAPES}" for name, each in counted.items()}


@pytest.fixture
def objective(prod: StackConfig) -> InferenceConfig:
    return msgspec.structs.replace(prod.inference, availability_percent=99.95, p99_milliseconds=50)


def query(objective: InferenceConfig, name: str) -> str:
    [found] = [each for each in questions(objective, LIMITS) if each.name == name]
    return found.query.replace("{{args.canary}}", "new").replace("{{args.stable}}", "old")


def verdicts(objective: InferenceConfig, folder: Path, canary: Pods | None, stable: Pods) -> dict[str, str]:
    """What each question is answered, as the conditions of the template have it."""
    series = stable.series("old") | (canary.series("new") if canary else {})
    found: dict[str, str] = {}
    for each in analysis_metrics(objective):
        asked = query(objective, each["name"])
        good, bad = (each[key].removeprefix("len(result) > 0 && ") for key in ("successCondition", "failureCondition"))
        said = {"nothing": f"absent({asked})"}
        said |= {
            word: f"count({rule.replace('result[0]', f'({asked})')})"
            for word, rule in (("good", good), ("bad", bad))
            if rule != "false"
        }
        [found[each["name"]]] = [
            word for word, expr in said.items() if not promtool.evaluate(folder, [], series, [expr], at=AT, every=EVERY)
        ] or ["nothing"]
    return found


def analysis_metrics(objective: InferenceConfig) -> list[dict[str, Any]]:
    declared: Any = analysis(objective, LIMITS)
    return declared["metrics"]


ALL_GOOD = dict.fromkeys(("requests", "errors", "dropped-events", "slow-answers", "score-shift"), "good")
TURNED = tuple(reversed(SCORES))


@promtool.needed
@pytest.mark.parametrize(
    ("canary", "stable", "unlike_good"),
    [
        (Pods(), Pods(requests=900), {}),
        # A share of the promise is not worth a roll back, nor is what stable pods do as well.
        (Pods(failed=0.04, slow=0.9), Pods(), {}),
        (Pods(failed=3, slow=10, dropped=2), Pods(failed=3, slow=10, dropped=2), {}),
        (Pods(failed=1, turned_away=1), Pods(failed=1, turned_away=1), {}),
        (Pods(failed=3), Pods(failed=0.04), {"errors": "bad"}),
        (Pods(turned_away=200), Pods(), {"errors": "bad"}),
        (Pods(slow=5), Pods(slow=0.5), {"slow-answers": "bad"}),
        (Pods(dropped=2), Pods(), {"dropped-events": "bad"}),
        (Pods(scores=TURNED), Pods(), {"score-shift": "bad"}),
        (Pods(requests=FEW), Pods(), dict.fromkeys(ALL_GOOD, "nothing")),
        (None, Pods(), dict.fromkeys(ALL_GOOD, "nothing")),
        # A failure is one however early, a slow answer is not.
        (Pods(requests=FEW, failed=FEW, slow=FEW), Pods(), {**dict.fromkeys(ALL_GOOD, "nothing"), "errors": "bad"}),
        (Pods(requests=0, turned_away=100), Pods(), {**dict.fromkeys(ALL_GOOD, "nothing"), "errors": "bad"}),
    ],
    ids=[
        *("good", "within", "both", "both busy", "errors", "turns two in three away", "slow", "dropped", "shift"),
        *("idle", "not there", "fails at once", "turns all away"),
    ],
)
def test_a_canary_is_judged_against_its_stable_pods(
    tmp_path: Path, objective: InferenceConfig, canary: Pods | None, stable: Pods, unlike_good: dict[str, str]
):
    assert verdicts(objective, tmp_path, canary, stable) == ALL_GOOD | unlike_good


@promtool.needed
def test_prometheus_computes_what_the_simulation_does(tmp_path: Path, objective: InferenceConfig):
    canary = Pods(failed=2, turned_away=5, slow=4, dropped=1, scores=TURNED)
    stable = Pods(requests=300, failed=1, turned_away=2, slow=2, dropped=1, scores=tuple(3.0 * each for each in SCORES))
    rows, budget = sum(SCORES), 0.0005
    n = SCRAPES
    expected = {
        "errors": excess((2 + 5) * n, (100 + 5) * n, (1 + 2) * n, (300 + 2) * n, budget),
        "dropped-events": excess(1 * n, rows * n, 1 * n, 3 * rows * n, budget),
        "slow-answers": excess(4 * n, 100 * n, 2 * n, 300 * n, 0.01),
        "score-shift": shift(n * np.array(canary.scores), n * np.array(stable.scores)),
    }
    series = canary.series("new") | stable.series("old")
    for name, value in expected.items():
        same = f"count(abs(({query(objective, name)}) - {value}) < {abs(value) / 1000})"
        assert not promtool.evaluate(tmp_path, [], series, [same], at=AT, every=EVERY)


def test_a_good_canary_is_rolled_back_once_in_twenty_times_at_most():
    endings = Counter(each.ending for each in simulate(GOOD, 1000, seed=1))
    assert endings["rolled back"] <= 1000 / 20
    assert endings["promoted"] > 500


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_canary_is_hardly_ever_promoted(fault: str):
    endings = Counter(each.ending for each in simulate(FAULTS[fault], 300, seed=2))
    assert endings["promoted"] <= 300 / 20
    assert endings["rolled back"] > 150


def test_a_canary_that_nobody_asks_is_neither_promoted_nor_rolled_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(simulated, "REQUESTS_MIN", 10**9)
    assert {each.ending for each in simulate(GOOD, 20, seed=3)} == {"insufficient evidence"}


def test_a_bad_answer_ends_the_analysis_and_is_looked_for_twice_a_minute(objective: InferenceConfig):
    for each in analysis_metrics(objective):
        assert (each["failureLimit"], each["interval"]) == (0, f"{INTERVAL_SECONDS}s")
        # Looks without an answer end it when there are no more, and not before.
        assert each["inconclusiveLimit"] >= each["count"] == LOOKS_MAX
        # Prometheus may be away for minutes; Argo Rollouts asks again after ten seconds.
        assert 300 <= each["consecutiveErrorLimit"] * 10 <= LOOKS_MAX * INTERVAL_SECONDS
    assert INTERVAL_SECONDS <= 30


def test_the_limits_are_those_of_the_objective_and_of_the_release(objective: InferenceConfig):
    lax = msgspec.structs.replace(objective, availability_percent=95, p99_milliseconds=1700)
    assert "vector(0.05)" in query(lax, "errors")
    assert f'le="{LATENCY_BOUNDS_SECONDS[-1]}"' in query(lax, "slow-answers")
    assert analysis_metrics(objective)[-1]["failureCondition"].endswith("> 0.3")
    assert analysis_metrics(objective)[1]["failureCondition"].endswith(f"> {DEVIATIONS_MAX}")


def test_every_share_but_the_last_is_judged():
    declared = steps((10, 25, 50, 100))
    assert [each.get("setWeight") for each in declared] == [10, None, 25, None, 50, None]
    revisions = {"canary": "Latest", "stable": "Stable"}
    for each in declared[1::2]:
        judged: Any = each["analysis"]
        assert {arg["name"]: arg["valueFrom"]["podTemplateHashValue"] for arg in judged["args"]} == revisions
