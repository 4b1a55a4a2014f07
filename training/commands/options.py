"""Arguments and options that several commands take."""

from typing import Annotated

import msgspec
import typer

from app.release import Stack

_CASE_HELP = "Of the business case; as it is live unless given."
TableArgument = Annotated[str, typer.Argument(help="CSV or Parquet, in contract names or the Telco file's own; a path or URL.")]
StackOption = Annotated[Stack, typer.Option(help="Whose release file.")]
CaseOption = Annotated[float | None, typer.Option(help=_CASE_HELP)]
HorizonOption = Annotated[int | None, typer.Option(help=_CASE_HELP)]
AuthorOption = Annotated[str | None, typer.Option(help="Who does this; git's user.email unless given.")]
ReasonOption = Annotated[str | None, typer.Option(help="Why, for those who read the history.")]


def stated(kind: type[msgspec.Struct], *values: float | None) -> dict[str, float]:
    """The values of such a struct that were given, in the order of its fields."""
    return {name: value for name, value in zip(kind.__struct_fields__, values, strict=True) if value is not None}
