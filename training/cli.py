"""The `churn` command: each subcommand parses, calls one function and prints."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.bundle import BundleError
from app.release import ReleaseError
from training.commands import models, releases, serving, tables
from training.home import REPOSITORY, Home, ParityError, TrackingError
from training.locations import TableError
from training.replace import Refused

# A command imports what it needs when it runs: MLflow and scikit-learn take seconds that `churn releases` has no use for.
cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

BAD_INPUT = (BundleError, ReleaseError, TableError, TrackingError)


@cli.callback()
def churn(
    context: typer.Context,
    home: Annotated[Path, typer.Option(help="Folder that holds releases/ and var/.")] = REPOSITORY,
) -> None:
    """From a customer table to a live, signed-off churn endpoint. Exit codes: 0 done, 1 refused by a gate, 2 bad input."""
    context.obj = Home(home.resolve())


for group in (tables, models, serving, releases):
    cli.add_typer(group.commands)


def main() -> None:
    """Run the command line; what a gate refuses ends with 1, bad input with 2, each with its message on stderr."""
    try:
        cli()
    except (Refused, ParityError) as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(1)
    except BAD_INPUT as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)
    except OSError as exc:
        sys.stderr.write(f"{exc.filename or 'writing'}: {exc.strerror or exc}; make room or give access, then repeat\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
