"""The bodies that the service reads and writes."""

from datetime import datetime
from typing import Annotated

import msgspec

from app.contract import FIELDS, Customer
from app.contract import Field as ContractField
from app.decide import Decision
from app.release import Digest, Release, Role, SemVer

MAX_ROWS = 1000

_PredictionId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, description="As the prediction answered it.")]
_ObservedAt = Annotated[datetime, msgspec.Meta(tz=True, description="When it was seen; RFC 3339 with an offset.")]


class Prediction(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the service answers of one customer. The money is what making the offer is worth."""

    prediction_id: _PredictionId
    churn_probability: Annotated[float, msgspec.Meta(ge=0, le=1)]
    decision: Decision
    expected_value_usd: float
    variant: Role
    version: SemVer


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Customers to score together."""

    customers: Annotated[list[Customer], msgspec.Meta(min_length=1, max_length=MAX_ROWS)]


class Predictions(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction for each customer, in their order."""

    predictions: list[Prediction]


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What became of a customer after a prediction."""

    prediction_id: _PredictionId
    churned: bool
    offer_made: bool
    observed_at: _ObservedAt


class Outcomes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Outcomes to record."""

    outcomes: Annotated[list[Outcome], msgspec.Meta(min_length=1, max_length=MAX_ROWS)]


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were taken."""

    accepted: int


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A model that answers here, in its own words (Markdown)."""

    variant: Role
    version: SemVer
    bundle_digest: Digest
    algorithm: str
    card: str


class ModelInUse(msgspec.Struct, frozen=True, kw_only=True):
    """The release in use with its evidence, and the card of each model that answers."""

    contract_digest: Digest
    release: Release
    cards: list[Card]


class State(msgspec.Struct, frozen=True, kw_only=True):
    """That the process lives, or is ready."""

    status: str


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the request's body as a JSON pointer, and what is expected there."""

    pointer: str
    detail: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error as RFC 9457 has it; `errors` names each bad place of a body."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[Fault] = []


def _wanted(field: ContractField) -> str:
    span = f"from {field.low:,.10g} to {field.high:,.10g}" if field.low is not None and field.high is not None else ""
    unit = f" ({field.unit})" if field.unit else ""
    return {
        "identifier": f"a string of {span.removeprefix('from ')} characters",
        "integer": f"a whole number {span}{unit}",
        "number": f"a number {span}{unit}",
        "boolean": "true or false",
        "category": f"one of {', '.join(field.categories)}",
    }[field.kind]


# What an error says of a field instead of the value that was found, which may be a customer's.
WANTED = {
    **{field.name: _wanted(field) for field in FIELDS},
    "prediction_id": "a string of 1 to 64 characters",
    "churned": "true or false",
    "offer_made": "true or false",
    "observed_at": "a moment with an offset, such as 2026-01-31T12:00:00Z",
}
