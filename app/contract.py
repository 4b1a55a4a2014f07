"""The customer record, declared once.

Everything that depends on the record is derived from `Customer`: request validation, JSON Schema, the table schema, the order
of the model's input, the drift bins, the form on the page and the field table in the docs. A new attribute is one line here.
"""

import hashlib
import json
import math
import sys
from collections.abc import Sequence
from itertools import pairwise
from types import NoneType
from typing import Annotated, Literal, cast, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from numpy.typing import NDArray

Kind = Literal["identifier", "integer", "number", "boolean", "category"]
MISSING = "missing"


class _About(msgspec.Struct, frozen=True):
    """What a type cannot say of a field: its name in the public Telco table, its unit, where its drift bins are cut."""

    telco: str
    unit: str | None = None
    bin_edges: tuple[float, ...] = ()


def _about(
    title: str,
    telco: str,
    unit: str | None = None,
    span: tuple[float, float] | tuple[None, None] = (None, None),
    bin_edges: tuple[float, ...] = (),
) -> msgspec.Meta:
    return msgspec.Meta(title=title, ge=span[0], le=span[1], extra={"about": _About(telco, unit, bin_edges)})


_Id = Annotated[str, msgspec.Meta(title="Customer id", min_length=1, max_length=64, extra={"about": _About("customerID")})]
_Contract = Literal["month-to-month", "one-year", "two-year"]
_Payment = Literal["electronic-check", "mailed-check", "bank-transfer", "credit-card"]
_Lines = Literal["no", "yes", "no-phone-service"]
_Internet = Literal["no", "dsl", "fiber-optic"]
_AddOn = Literal["no", "yes", "no-internet-service"]
_TENURE_CUTS = (3, 6, 12, 24, 36, 48, 60)
_MONTHLY_CUTS = (25, 45, 60, 75, 85, 95, 105)
_TOTAL_CUTS = (100, 300, 700, 1400, 2500, 4000, 6000)


class Customer(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, kw_only=True):
    """A customer as services send it and tables hold it. An optional attribute that is absent or null is unknown."""

    tenure_months: Annotated[int, _about("Tenure", "tenure", "months", (0, 600), _TENURE_CUTS)]
    monthly_charges_usd: Annotated[float, _about("Monthly charges", "MonthlyCharges", "USD", (0, 10_000), _MONTHLY_CUTS)]
    contract: Annotated[_Contract, _about("Contract", "Contract")]
    payment_method: Annotated[_Payment, _about("Payment method", "PaymentMethod")]
    total_charges_usd: Annotated[float, _about("Total charges", "TotalCharges", "USD", (0, 1_000_000), _TOTAL_CUTS)] | None = None
    gender: Annotated[Literal["female", "male"], _about("Gender", "gender")] | None = None
    senior_citizen: Annotated[bool, _about("Senior citizen", "SeniorCitizen")] | None = None
    partner: Annotated[bool, _about("Partner", "Partner")] | None = None
    dependents: Annotated[bool, _about("Dependents", "Dependents")] | None = None
    phone_service: Annotated[bool, _about("Phone service", "PhoneService")] | None = None
    multiple_lines: Annotated[_Lines, _about("Multiple lines", "MultipleLines")] | None = None
    internet_service: Annotated[_Internet, _about("Internet service", "InternetService")] | None = None
    online_security: Annotated[_AddOn, _about("Online security", "OnlineSecurity")] | None = None
    online_backup: Annotated[_AddOn, _about("Online backup", "OnlineBackup")] | None = None
    device_protection: Annotated[_AddOn, _about("Device protection", "DeviceProtection")] | None = None
    tech_support: Annotated[_AddOn, _about("Tech support", "TechSupport")] | None = None
    streaming_tv: Annotated[_AddOn, _about("Streaming TV", "StreamingTV")] | None = None
    streaming_movies: Annotated[_AddOn, _about("Streaming movies", "StreamingMovies")] | None = None
    paperless_billing: Annotated[bool, _about("Paperless billing", "PaperlessBilling")] | None = None
    # Last: `matrix` pairs the attributes before it with their encoders and stops there.
    customer_id: _Id | None = None


class Field(msgspec.Struct, frozen=True):
    """One attribute as declared. `low` and `high` are inclusive and in `unit`; for an identifier they bound its length."""

    name: str
    title: str
    kind: Kind
    required: bool
    unit: str | None
    low: float | None
    high: float | None
    categories: tuple[str, ...]
    telco: str
    bin_edges: tuple[float, ...]

    @property
    def values(self) -> tuple[str | bool, ...]:
        """Allowed values in the order of their index in the matrix; empty for numbers."""
        return (False, True) if self.kind == "boolean" else self.categories

    @property
    def bins(self) -> tuple[str, ...]:
        """Labels of the drift bins, the last of them for missing values."""
        if self.values:
            return (*(str(value).lower() for value in self.values), MISSING)
        cuts = [f"{edge:g}" for edge in self.bin_edges]
        between = (f"{low} to {high}" for low, high in pairwise(cuts))
        return (f"below {cuts[0]}", *between, f"{cuts[-1]} and above", MISSING)


_KINDS: dict[object, Kind] = {int: "integer", float: "number", bool: "boolean", str: "identifier"}


def _read(declared: msgspec.structs.FieldInfo, hint: object) -> Field:
    if get_origin(hint) is not Annotated:  # Annotated[...] | None
        hint = next(arm for arm in get_args(hint) if arm is not NoneType)
    base, meta = cast(tuple[object, msgspec.Meta], get_args(hint))
    about = cast(dict[str, _About], meta.extra)["about"]
    low, high = (meta.min_length, meta.max_length) if base is str else (meta.ge, meta.le)
    return Field(
        name=declared.name,
        title=meta.title or declared.name,
        kind=_KINDS.get(base, "category"),
        required=declared.required,
        unit=about.unit,
        low=low,
        high=high,
        categories=get_args(base) if get_origin(base) is Literal else (),
        telco=about.telco,
        bin_edges=about.bin_edges,
    )


_HINTS = get_type_hints(Customer, include_extras=True)
FIELDS = tuple(_read(declared, _HINTS[declared.name]) for declared in msgspec.structs.fields(Customer))
FEATURES = tuple(field for field in FIELDS if field.kind != "identifier")
REQUIRED = tuple(field.name for field in FIELDS if field.required)


def contract_digest() -> str:
    """sha256 of names, types, ranges, units, allowed values and which are required; titles, prose and bins left out."""
    promised = [[f.name, f.kind, f.required, f.unit, f.low, f.high, f.categories] for f in FIELDS]
    return hashlib.sha256(json.dumps(promised, separators=(",", ":")).encode()).hexdigest()


CONTRACT_DIGEST = contract_digest()

# Numbers pass through; an allowed value becomes its index and an unknown one NaN.
_ENCODE = [{None: math.nan, **{value: float(i) for i, value in enumerate(field.values)}}.get for field in FEATURES]


def matrix(customers: Sequence[Customer]) -> NDArray[np.float32]:
    """The model's input (n, features): contract order, categories as their index, NaN for what is unknown."""
    rows = [[encode(value, value) for encode, value in zip(_ENCODE, msgspec.structs.astuple(c), strict=False)] for c in customers]
    return np.array(rows, dtype=np.float32).reshape(len(rows), len(FEATURES))


def binned(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """Index (n, features) of each value's drift bin in its field's `bins`."""
    columns = [
        np.where(np.isnan(column), len(field.bins) - 1, _bin(field, column))
        for field, column in zip(FEATURES, values.T, strict=True)
    ]
    return np.column_stack(columns).astype(np.intp)


def _bin(field: Field, column: NDArray[np.float32]) -> NDArray[np.intp]:
    if field.values:
        return np.nan_to_num(column).astype(np.intp)
    return np.searchsorted(np.asarray(field.bin_edges, dtype=np.float32), column, side="right")


def field_table() -> str:
    """The Markdown table of the fields that the docs show."""
    head = "| field | type | required | unit | allowed | in the Telco table |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(_row(field) for field in FIELDS)])


def _row(field: Field) -> str:
    span = f"{field.low:,.10g} to {field.high:,.10g}" if field.low is not None and field.high is not None else ""
    allowed = {"category": ", ".join(field.categories), "identifier": f"{span} characters", "boolean": "true, false"}
    cells = (f"`{field.name}`", field.kind, "yes" if field.required else "", field.unit or "", allowed.get(field.kind, span))
    return f"| {' | '.join(cells)} | {field.telco} |"


if __name__ == "__main__":
    sys.stdout.write(f"# Fields of a customer\n\nGenerated from `app/contract.py` by `make docs`.\n\n{field_table()}\n")
