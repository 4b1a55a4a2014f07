"""The release of this process: loaded and proven once, then asked until the process ends."""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple

from app.api import Accepted, Card, ModelInUse, Outcome, Prediction
from app.bundle import SCORE_BINS, Bundle, BundleError, Shares, kept_bundle
from app.contract import CONTRACT_DIGEST, FEATURES, Customer, matrix
from app.decide import decide, expected_value_usd
from app.events import EventLog, OutcomeEvent, PredictionEvent
from app.metrics import Live, Metrics
from app.model import Model, Scored, Together
from app.release import Release, ReleaseError, Variant, decode_release
from app.settings import Settings
from app.shadow import Answered, Shadow
from app.split import assign

# Rounded before anything is derived from it, so that a client can work out decision and money from the answer.
PROBABILITY_DIGITS = 6
MONEY_DIGITS = 6
# Of a batch, before those who ask for one customer have their turn.
ROWS_IN_A_TURN = 50

logger = logging.getLogger("churn")


class Loaded(NamedTuple):
    """A release whose bundles are whole and whose models give their golden predictions."""

    release: Release
    bundles: dict[str, Bundle]
    models: dict[str, Model]
    # Of a shadow whose bundle could not be loaded there is none.
    shadows: list[tuple[Variant, Model | None]]


def load(settings: Settings) -> Loaded:
    """What the settings name. Raises ReleaseError or BundleError saying which file is wrong and how."""
    try:
        content = settings.release.read_bytes()
    except OSError as exc:
        raise ReleaseError(f"{settings.release} cannot be read: {exc.strerror}; CHURN_RELEASE names the release file") from exc
    release = decode_release(content, str(settings.release))
    if not any(variant.weight_percent for variant in release.variants):
        raise ReleaseError(f"{settings.release} has no variant with weight; the weights of champion and challenger sum to 100")
    # The champion's reference measures drift, even while a challenger answers everybody.
    needed = [variant for variant in release.variants if variant.weight_percent or variant.role == "champion"]
    bundles = {variant.bundle_digest: kept_bundle(settings.bundles, variant.bundle_digest) for variant in needed}
    for bundle in bundles.values():
        _check_reference(bundle)
    models = {digest: Model(bundle) for digest, bundle in bundles.items()}
    shadows = [(variant, _shadow_model(settings, variant)) for variant in release.variants if variant.role == "shadow"]
    return Loaded(release, bundles, models, shadows)


def _shadow_model(settings: Settings, variant: Variant) -> Model | None:
    try:
        return Model(kept_bundle(settings.bundles, variant.bundle_digest))
    except BundleError as exc:
        logger.error("shadow_not_loaded", extra={"reason": str(exc)})
        return None


class Service:
    """Answers customers by the release. Used from one event loop; batches are scored in a thread beside it."""

    def __init__(self, loaded: Loaded, events: EventLog, metrics: Metrics) -> None:
        self.release = loaded.release
        self.model_in_use = _model_in_use(loaded)
        self._release_digest = str(loaded.release.digest)
        self._models = loaded.models
        self._together = {digest: Together(model.score, metrics.drift.see) for digest, model in loaded.models.items()}
        self._events = events
        self._metrics = metrics
        # One thread: a second batch waits for the first, single customers for neither.
        self._batches = ThreadPoolExecutor(1, thread_name_prefix="batch")
        # Nobody can guess another process's ids, and one process never repeats itself.
        # The event loop and the thread of batches both take from it, each time in one step of the interpreter.
        self._ids = map(f"{secrets.token_hex(8)}-{{:x}}".format, itertools.count())
        self._shadows = [Shadow(variant, model and model.score, events, metrics) for variant, model in loaded.shadows]
        metrics.live = Live(loaded.release, loaded.bundles[loaded.release.champion.bundle_digest].reference, events)

    async def predict(self, customer: Customer) -> Prediction:
        """The answer to one customer, scored with whoever asks at the same moment."""
        prediction_id, variant = self._assigned(customer)
        scored = await self._together[variant.bundle_digest].ask(customer)
        return self._answered(customer, prediction_id, variant, scored, datetime.now(UTC))

    async def predict_batch(self, customers: list[Customer]) -> list[Prediction]:
        """The answers to many, in their order."""
        scored = await asyncio.get_running_loop().run_in_executor(self._batches, self._scored, customers)
        at, predictions = datetime.now(UTC), list[Prediction]()
        for customer, (prediction_id, variant, row_scored) in zip(customers, scored, strict=True):
            predictions.append(self._answered(customer, prediction_id, variant, row_scored, at))
            if len(predictions) % ROWS_IN_A_TURN == 0:
                await asyncio.sleep(0)
        return predictions

    def record(self, outcomes: list[Outcome]) -> Accepted:
        """Put the outcomes into the log."""
        now = datetime.now(UTC)
        for outcome in outcomes:
            self._events.append(
                OutcomeEvent(
                    prediction_id=outcome.prediction_id,
                    at=now,
                    churned=outcome.churned,
                    offer_made=outcome.offer_made,
                    observed_at=outcome.observed_at,
                )
            )
        return Accepted(accepted=len(outcomes))

    async def close(self, timeout_seconds: float) -> None:
        """Finish what is worked on, then the log."""
        for shadow in self._shadows:
            await shadow.stop()
        await asyncio.to_thread(self._batches.shutdown)
        await asyncio.to_thread(self._events.close, timeout_seconds)

    def _assigned(self, customer: Customer) -> tuple[str, Variant]:
        prediction_id = next(self._ids)
        return prediction_id, assign(self.release.variants, customer.customer_id or prediction_id)

    def _scored(self, customers: list[Customer]) -> list[tuple[str, Variant, Scored]]:
        """Of each its id, who answers it, its row and its churn probability."""
        assigned = [self._assigned(customer) for customer in customers]
        digests = [variant.bundle_digest for _, variant in assigned]
        rows = matrix(customers)
        probabilities = [0.0] * len(customers)
        for digest in set(digests):
            mine = [index for index, each in enumerate(digests) if each == digest]
            found = self._models[digest].score(rows[mine])
            self._metrics.drift.see(rows[mine], found)
            for index, probability in zip(mine, found.tolist(), strict=True):
                probabilities[index] = probability
        return [(*each, scored) for each, scored in zip(assigned, zip(rows, probabilities, strict=True), strict=True)]

    def _answered(self, customer: Customer, prediction_id: str, variant: Variant, scored: Scored, at: datetime) -> Prediction:
        row, probability = scored[0], round(scored[1], PROBABILITY_DIGITS)
        decision = decide(variant.threshold, probability)
        self._metrics.predicted(variant, decision)
        for shadow in self._shadows:
            shadow.see(Answered(prediction_id, row, decision))
        self._events.append(
            PredictionEvent(
                prediction_id=prediction_id,
                at=at,
                release=self._release_digest,
                variant=variant.role,
                bundle_digest=variant.bundle_digest,
                version=variant.version,
                customer=customer,
                churn_probability=probability,
                decision=decision,
            )
        )
        return Prediction(
            prediction_id=prediction_id,
            churn_probability=probability,
            decision=decision,
            expected_value_usd=round(expected_value_usd(self.release.business_case, probability), MONEY_DIGITS),
            variant=variant.role,
            version=variant.version,
        )


def _check_reference(bundle: Bundle) -> None:
    """Raise BundleError unless the bundle counts its training rows in the bins of this code: a drift figure would be nonsense."""
    place = f"bundle {bundle.digest}: reference.json"
    expected = {field.name: list(field.bins) for field in FEATURES}
    if strangers := sorted({*bundle.reference.fields} ^ {*expected}):
        raise BundleError(f"{place} does not have the fields of the contract; they differ in {', '.join(strangers)}")
    for name, shares, bins in _references(bundle, expected):
        if shares.bins != bins or len(shares.shares) != len(bins):
            raise BundleError(
                f"{place}: {name} has bins {shares.bins} with {len(shares.shares)} shares, expected {bins}; train anew"
            )


def _references(bundle: Bundle, expected: dict[str, list[str]]) -> Iterator[tuple[str, Shares, list[str]]]:
    for name, bins in expected.items():
        yield name, bundle.reference.fields[name], bins
    yield "churn_probability", bundle.reference.churn_probability, list(SCORE_BINS)


def _model_in_use(loaded: Loaded) -> ModelInUse:
    cards = [
        Card(
            variant=variant.role,
            version=variant.version,
            bundle_digest=variant.bundle_digest,
            algorithm=loaded.bundles[variant.bundle_digest].manifest.algorithm,
            card=loaded.bundles[variant.bundle_digest].card,
        )
        for variant in loaded.release.variants
        if variant.bundle_digest in loaded.bundles
    ]
    return ModelInUse(contract_digest=CONTRACT_DIGEST, release=loaded.release, cards=cards)
