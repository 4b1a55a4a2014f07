"""The `churn` command: each subcommand parses, calls one function and prints."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.bundle import BundleError
from app.release import ReleaseError
from training.home import REPOSITORY, Home

# A command imports what it needs when it runs: MLflow and scikit-learn take seconds that `churn releases` has no use for.
cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

BAD_INPUT = (BundleError, ReleaseError)


@cli.callback()
def churn(
    context: typer.Context,
    home: Annotated[Path, typer.Option(help="Folder that holds releases/ and var/.")] = REPOSITORY,
) -> None:
    """From a customer table to a live, signed-off churn endpoint. Exit codes: 0 done, 1 refused by a gate, 2 bad input."""
    context.obj = Home(home.resolve())


def main() -> None:
    """Run the command line; bad input is one message on stderr and exit code 2."""
    try:
        cli()
    except BAD_INPUT as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)
