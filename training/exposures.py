"""An experiment in the prediction log: each customer once, by the variant that answered first, and what became of it."""

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from hashlib import blake2b

import msgspec

from training.locations import TableError, read_all

ANSWERING = ("champion", "challenger")


class _Who(msgspec.Struct):
    customer_id: str | None = None


class _Prediction(msgspec.Struct, tag_field="kind", tag="prediction"):
    """Of `app.events.PredictionEvent` what is needed here."""

    prediction_id: str
    at: datetime
    release: str
    variant: str
    customer: _Who


class Outcome(msgspec.Struct, tag_field="kind", tag="outcome"):
    """Of `app.events.OutcomeEvent` the same."""

    prediction_id: str
    at: datetime
    churned: bool
    offer_made: bool
    observed_at: datetime


class Exposed(msgspec.Struct):
    """A customer: when and by which variant it was answered first, and the outcome seen last, if any."""

    at: datetime
    variant: str
    outcome: Outcome | None = None


class Exposures(msgspec.Struct):
    """The customers of an experiment, and what the log has besides them, counted."""

    customers: list[Exposed]
    left_out: dict[str, int]


_decode = msgspec.json.Decoder(_Prediction | Outcome).decode


def exposures(log: str, releases: Collection[str]) -> Exposures:
    """Those whom the releases of these digests answered, from all segments at the folder or URL, in whatever order they are.

    Raises TableError where there is no log, or its store does not do its part.
    """
    reading = _Reading(releases)
    for segment in read_all(log, ".jsonl"):
        reading.segments += 1
        for line in segment.splitlines():
            reading.read(line)
    if not reading.segments:
        raise TableError(f"{log} holds no segment *.jsonl of a prediction log; give the store that CHURN_EVENTS names")
    return reading.joined()


class _Reading:
    """Ids are kept as hashes: of customers no more than that they are the same is needed."""

    def __init__(self, releases: Collection[str]) -> None:
        self.segments = 0
        self._releases = releases
        self._customers: dict[bytes, Exposed] = {}
        self._moved: set[bytes] = set()
        self._asked_by: dict[bytes, bytes] = {}
        self._outcomes: dict[bytes, Outcome] = {}
        self._left_out = Counter[str]()

    def read(self, line: bytes) -> None:
        try:
            event = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # What a killed process was writing, or an event of another kind.
            self._left_out["lines that are no prediction and no outcome"] += 1
            return
        if isinstance(event, _Prediction):
            self._expose(event)
        else:
            self._keep(event)

    def _expose(self, event: _Prediction) -> None:
        if event.release not in self._releases or event.variant not in ANSWERING:
            self._left_out["predictions of other releases"] += 1
        elif event.customer.customer_id is None:
            self._left_out["predictions without a customer_id"] += 1
        elif _hash(event.prediction_id) in self._asked_by:
            self._left_out["predictions that are in the log already"] += 1
        else:
            self._count(event, _hash(event.customer.customer_id))

    def _count(self, event: _Prediction, customer: bytes) -> None:
        self._asked_by[_hash(event.prediction_id)] = customer
        known = self._customers.setdefault(customer, Exposed(event.at, event.variant))
        if known.variant != event.variant:
            self._moved.add(customer)
        known.at, known.variant = min((known.at, known.variant), (event.at, event.variant))

    def _keep(self, event: Outcome) -> None:
        key = _hash(event.prediction_id)
        before = self._outcomes.setdefault(key, event)
        if before is not event:
            self._left_out["outcomes that another one of the same prediction replaced"] += 1
            self._outcomes[key] = max(before, event, key=_order)

    def joined(self) -> Exposures:
        """Each customer with the last outcome of all its predictions: clients tell that of the latest, not of the first."""
        left_out = self._left_out.copy()
        for prediction, outcome in self._outcomes.items():
            if (customer := self._asked_by.get(prediction)) is None:
                left_out["outcomes of predictions that do not count"] += 1
                continue
            exposed = self._customers[customer]
            if exposed.outcome is not None:
                left_out["outcomes that a later one of the same customer replaced"] += 1
            exposed.outcome = max(exposed.outcome or outcome, outcome, key=_order)
        left_out["further predictions for the same customers"] = len(self._asked_by) - len(self._customers)
        left_out["customers whom both variants answered, counted with the first"] = len(self._moved)
        return Exposures([*self._customers.values()], {what: count for what, count in sorted(left_out.items()) if count})


def _order(outcome: Outcome) -> tuple[object, ...]:
    # The fields after the times settle it between two that say different things of the same moment, in whatever order they come.
    return outcome.observed_at, outcome.at, outcome.churned, outcome.offer_made


def _hash(identifier: str) -> bytes:
    return blake2b(identifier.encode(), digest_size=12).digest()
