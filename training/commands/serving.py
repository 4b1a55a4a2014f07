"""Commands that answer for customers: one by one as the endpoint, or whole files."""

# A command imports what it needs when it runs (see training/cli.py).
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import StackOption

commands = typer.Typer()


@commands.command()
def serve(
    context: typer.Context,
    stack: StackOption = "local",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
    metrics_port: Annotated[int, typer.Option(min=1, max=65535)] = 9090,
) -> None:
    """Serve a stack's release on this machine, as the pod would; prediction log in var/events."""
    from training.serve import serve as run

    raise typer.Exit(run(context.obj, stack, port, metrics_port))


@commands.command()
def score(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="IN", help="CSV or Parquet of customers; a path or URL.")],
    out: Annotated[str, typer.Argument(help="Where the result goes: a path or URL that ends in .csv or .parquet.")],
    bundle: Annotated[str | None, typer.Option(help="Digest; the live champion of local unless given.")] = None,
    release: Annotated[Path | None, typer.Option(help="A release file, whose champion and business case to take.")] = None,
    store: Annotated[str | None, typer.Option(help="URL of the bundles' store; var/bundles unless given.")] = None,
) -> None:
    """Score a file of customers as the endpoint would; a run that was ended is continued by giving the same command again.

    Rows that break the contract are named, none is scored then, and the exit code is 2.
    """
    from training.score import score as run
    from training.score import terms

    by = terms(context.obj, bundle=bundle, release=release, store=store)
    done = run(context.obj, source, out, by)
    before = f" ({done.rows_before:,} of them by an earlier run)" if done.rows_before else ""
    typer.echo(f"{out}: {done.rows:,} customers scored{before}, {done.offers:,} to get the offer; bundle {by.bundle.digest}")
