"""How a new revision takes over: its shares of the traffic, and what its pods' metrics must say beside those of the stable ones.

At each share the same questions are asked again and again. An answer is good or bad, or there are too few requests for either:
then the rollout waits, and stops where it is if that does not change. What the rule does to good and to bad canaries is simulated
in bench/canary.py. https://argo-rollouts.readthedocs.io/en/stable/features/analysis/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.bundle import SCORE_BINS
from app.metrics import LATENCY_BOUNDS_SECONDS
from app.release import AlertLimits
from stacks.alerts import BUSY, CLIENTS, REFUSED
from stacks.config import InferenceConfig
from stacks.names import INFERENCE, NAMESPACE, PROMETHEUS_URL

# What Argo Rollouts calls the revision of a pod, and what becomes of it as a label of Prometheus.
REVISION = "rollouts-pod-template-hash"
REVISION_LABEL = REVISION.replace("-", "_")
# The template's arguments, which the Rollout fills in: the two revisions.
CANARY, STABLE = "canary", "stable"
# Longer than all looks at one share take: what was seen at the shares before counts as well.
WINDOW = "10m"
# Two scrapes.
INTERVAL_SECONDS = 30
# So many good answers in a row and the share is passed; not reached within so many looks, there was too little to see.
GOOD_IN_A_ROW, LOOKS_MAX = 4, 20
# For so long Prometheus may be away, as while its own node is replaced; a canary that nobody can see for longer is taken back.
# Argo Rollouts asks again after ten seconds: https://argo-rollouts.readthedocs.io/en/stable/features/analysis/#consecutiveerrors
UNANSWERED_SECONDS, RETRY_SECONDS = 600, 10
# Of the canary's, in the window. With fewer, one slow answer more or less is the difference between a p99 that is kept and not.
REQUESTS_MIN = 1000
# Standard deviations by which a count must be above what is tolerated, at any of some twenty looks.
DEVIATIONS_MAX = 5
# Pods differ by the nodes that they are on and by what happens to them.
TIMES_STABLE = 2
# The objective is about 99 in 100.
SLOW_SHARE = 0.01


@dataclass(frozen=True)
class Question:
    """One thing that is asked of Prometheus at each look, and when a number in answer is good or bad; no number is neither."""

    name: str
    query: str
    good: str
    bad: str


@dataclass(frozen=True)
class Counter:
    """A counter of the service's pods, as PromQL reads it."""

    metric: str
    matchers: str = ""

    def rise(self, pods: str) -> str:
        """How far it has gone up in the window, by pod of the revision."""
        labels = (f'namespace="{NAMESPACE}"', f'{REVISION_LABEL}="{{{{args.{pods}}}}}"', self.matchers)
        return f"increase({self.metric}{{{','.join(filter(None, labels))}}}[{WINDOW}])"

    def of(self, pods: str) -> str:
        """The same over all of them; 0 where there is none."""
        return f"(sum({self.rise(pods)}) or vector(0))"


def both(*counters: Counter) -> dict[str, str]:
    """The counters together, of the canary's pods and of the stable ones."""
    return {pods: f"({' + '.join(each.of(pods) for each in counters)})" for pods in (CANARY, STABLE)}


ANSWERED = Counter("churn_request_seconds_count", CLIENTS)
FAILED = Counter("churn_requests_total", f'{CLIENTS},status=~"5.."')
# Answered 503 before the request is made anything of, and in no other figure.
TURNED_AWAY = Counter(REFUSED, BUSY)
PREDICTING = Counter("churn_request_seconds_count", 'route=~"/v1/predict.*"')
SCORES = Counter("churn_score_bin_total")
DROPPED = Counter("churn_events_dropped_total")
ENOUGH = f"and on () {PREDICTING.of(CANARY)} >= {REQUESTS_MIN}"


def questions(objective: InferenceConfig, limits: AlertLimits) -> list[Question]:
    """What decides about a canary, all of it from the service objective and from how far its release lets scores move."""
    budget, most = 1 - objective.availability_percent / 100, f"{limits.drift_index_max:g}"
    deviates = f"result[0] <= {DEVIATIONS_MAX}", f"result[0] > {DEVIATIONS_MAX}"
    failed = excess(both(FAILED, TURNED_AWAY), both(ANSWERED, TURNED_AWAY), budget)
    dropped = excess(both(DROPPED), both(SCORES), budget)
    return [
        Question("requests", PREDICTING.of(CANARY), f"result[0] >= {REQUESTS_MIN}", "false"),
        # A failure is one however early; a first slow answer or a first odd customer is not.
        Question("errors", f"{failed} > {DEVIATIONS_MAX} or {failed} {ENOUGH}", *deviates),
        Question("dropped-events", f"{dropped} > {DEVIATIONS_MAX} or {dropped} {ENOUGH}", *deviates),
        Question("slow-answers", f"{slowness(objective)} {ENOUGH}", *deviates),
        Question("score-shift", f"{shift()} {ENOUGH}", f"result[0] <= {most}", f"result[0] > {most}"),
    ]


def excess(bad: dict[str, str], of: dict[str, str], tolerated: float) -> str:
    """By how many standard deviations the canary has more bad ones than twice the stable share, or the tolerated one, makes.

    The square root of a count deviates by a half, whatever the count: https://en.wikipedia.org/wiki/Anscombe_transform
    """
    share = f"({TIMES_STABLE} * {bad[STABLE]} / {of[STABLE]} > {tolerated:.6g} or vector({tolerated:.6g}))"
    return f"(2 * (sqrt({bad[CANARY]}) - sqrt({of[CANARY]} * {share})))"


def slowness(objective: InferenceConfig) -> str:
    """The excess of predictions slower than the objective's p99, or than the histogram's next bound."""
    single = 'route="/v1/predict"'
    bound = next(each for each in LATENCY_BOUNDS_SECONDS if each >= objective.p99_milliseconds / 1000)
    all_of = both(Counter("churn_request_seconds_count", single))
    fast = both(Counter("churn_request_seconds_bucket", f'{single},le="{bound}"'))
    return excess({pods: f"clamp_min({all_of[pods]} - {fast[pods]}, 0)" for pods in all_of}, all_of, SLOW_SHARE)


def shift() -> str:
    """The population stability index of the scores; half a row more in every bin, as an empty one has no logarithm."""
    share = {
        pods: f"((sum by (bin) ({SCORES.rise(pods)}) + 0.5) / scalar({SCORES.of(pods)} + {len(SCORE_BINS) / 2}))"
        for pods in (CANARY, STABLE)
    }
    return f"sum(({share[CANARY]} - {share[STABLE]}) * ln({share[CANARY]} / {share[STABLE]}))"


def analysis(objective: InferenceConfig, limits: AlertLimits) -> dict[str, object]:
    """The AnalysisTemplate: a bad answer ends it at once, too few requests leave it without an answer."""
    return {
        "args": [{"name": pods} for pods in (CANARY, STABLE)],
        "metrics": [
            {
                "name": each.name,
                "provider": {"prometheus": {"address": PROMETHEUS_URL, "query": each.query}},
                "consecutiveErrorLimit": UNANSWERED_SECONDS // RETRY_SECONDS,
                "interval": f"{INTERVAL_SECONDS}s",
                "successCondition": f"len(result) > 0 && {each.good}",
                "failureCondition": f"len(result) > 0 && {each.bad}",
                "failureLimit": 0,
                "consecutiveSuccessLimit": GOOD_IN_A_ROW,
                "count": LOOKS_MAX,
                "inconclusiveLimit": LOOKS_MAX,
            }
            for each in questions(objective, limits)
        ],
    }


def steps(weights_percent: tuple[int, ...]) -> Sequence[Mapping[str, object]]:
    """The shares of the traffic one after another, each held until it is judged; the last, all of it, is the update's end."""
    judged = {
        "templates": [{"templateName": INFERENCE.name}],
        "args": [
            {"name": CANARY, "valueFrom": {"podTemplateHashValue": "Latest"}},
            {"name": STABLE, "valueFrom": {"podTemplateHashValue": "Stable"}},
        ],
    }
    return [step for weight in weights_percent[:-1] for step in ({"setWeight": weight}, {"analysis": judged})]
