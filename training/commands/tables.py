"""Commands that get, make, check and keep customer tables."""

# A command imports what it needs when it runs (see training/cli.py).
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import TableArgument

commands = typer.Typer()


@commands.command()
def fetch(
    context: typer.Context,
    out: Annotated[Path | None, typer.Argument(help="Where to write it; var/telco.csv by default.")] = None,
    url: Annotated[str | None, typer.Option(help="A mirror of the file.")] = None,
) -> None:
    """Download the public Telco customer table (IBM, Apache-2.0) and check its digest."""
    from training.locations import TELCO_SHA256, TELCO_URL, download

    path = out or context.obj.var / "telco.csv"
    written = download(url or TELCO_URL, TELCO_SHA256, path)
    typer.echo(f"{path}: {written:,} bytes, sha256 {TELCO_SHA256} as expected")


@commands.command()
def sample(
    context: typer.Context,
    out: Annotated[Path | None, typer.Argument(help="A .csv or .parquet file; var/sample.csv by default.")] = None,
    rows: Annotated[int, typer.Option(min=10, help="Customers.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same file.")] = 0,
) -> None:
    """Make a realistic customer table whose true churn probability, and so the best reachable score, is known."""
    from training.sample import write_sample

    path = out or context.obj.var / "sample.csv"
    churn_share, best = write_sample(path, rows, seed)
    typer.echo(f"{path}: {rows:,} customers, {churn_share:.1%} churned")
    typer.echo(f"best reachable on it: AUC {best.auc:.4f}, Brier score {best.brier:.4f}")


@commands.command()
def validate(
    context: typer.Context,
    table: TableArgument,
    against: Annotated[str | None, typer.Option(help="A bundle: its digest, or a folder or URL that ends in it.")] = None,
    max_missing: Annotated[float, typer.Option(min=0, max=1, help="Share of an optional column that may be missing.")] = 0.5,
    max_duplicates: Annotated[float, typer.Option(min=0, max=1, help="Share of rows that may repeat another.")] = 0.1,
    min_class: Annotated[float, typer.Option(min=0, max=0.5, help="Share of rows that each class must have.")] = 0.01,
) -> None:
    """Check a table against the contract and the limits; every violation is in one report, and the exit code is 2.

    With --against, fields whose population stability index to the bundle's training data is above 0.2 have moved: exit code 1.
    An empty bin counts as half a row. The index of an unmoved field is about (bins - 1) / rows, so small tables look moved.
    """
    from training.data import load_table
    from training.prepare import clean
    from training.validate import Limits, drift, drift_report, moved, reference_of

    limits = Limits(missing_share=max_missing, duplicate_share=max_duplicates, class_share=min_class)
    loaded = load_table(table, limits)
    cleaned, cleaning = clean(loaded)
    typer.echo(f"{table} keeps the contract; {cleaned.churned.mean():.1%} churned, data digest {loaded.data_digest}\n{cleaning}")
    if against is not None:
        indices = drift(loaded.matrix, reference_of(against, context.obj))
        typer.echo(drift_report(indices))
        if moved(indices):
            raise typer.Exit(1)


@commands.command()
def ingest(
    table: TableArgument,
    store: Annotated[str, typer.Argument(help="Folder or object-store URL of the data lake.")],
) -> None:
    """Write a table that keeps the contract to the lake as Parquet, once, under the digest of its content."""
    from training.data import load_table
    from training.ingest import ingest as write

    done = write(load_table(table), store)
    what = "was there already, nothing written" if done.was_there else f"written, parts: {done.parts:,}"
    typer.echo(f"{done.location}: {done.rows:,} rows, {what}")
