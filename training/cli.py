"""The `churn` command: each subcommand parses, calls one function and prints."""

# A command imports what it needs when it runs (see below), and its arguments are its options.
# ruff: noqa: PLC0415, PLR0913, PLR0917

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.bundle import Bundle, BundleError, fetch_bundle
from app.release import BusinessCase, Release, ReleaseError, Role, Stack, encode_release
from training.home import REPOSITORY, Home, ParityError, TrackingError
from training.locations import TableError
from training.replace import Refused
from training.settings import Algorithm, Measure, Strategy

if TYPE_CHECKING:
    from training.evaluate import Evaluation

# A command imports what it needs when it runs: MLflow and scikit-learn take seconds that `churn releases` has no use for.
cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

BAD_INPUT = (BundleError, ReleaseError, TableError, TrackingError)

_CASE_HELP = "Of the business case; as it is live unless given."
_StackOption = Annotated[Stack, typer.Option(help="Whose release file.")]
_CaseOption = Annotated[float | None, typer.Option(help=_CASE_HELP)]
_HorizonOption = Annotated[int | None, typer.Option(help=_CASE_HELP)]
_AuthorOption = Annotated[str | None, typer.Option(help="Who does this; git's user.email unless given.")]
_ReasonOption = Annotated[str | None, typer.Option(help="Why, for those who read the history.")]


@cli.callback()
def churn(
    context: typer.Context,
    home: Annotated[Path, typer.Option(help="Folder that holds releases/ and var/.")] = REPOSITORY,
) -> None:
    """From a customer table to a live, signed-off churn endpoint. Exit codes: 0 done, 1 refused by a gate, 2 bad input."""
    context.obj = Home(home.resolve())


_TABLE = typer.Argument(help="CSV or Parquet, in contract names or the Telco file's own; a path or URL.")


@cli.command()
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


@cli.command()
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


@cli.command()
def validate(
    context: typer.Context,
    table: Annotated[str, _TABLE],
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


@cli.command()
def ingest(
    table: Annotated[str, _TABLE],
    store: Annotated[str, typer.Argument(help="Folder or object-store URL of the data lake.")],
) -> None:
    """Write a table that keeps the contract to the lake as Parquet, once, under the digest of its content."""
    from training.data import load_table
    from training.ingest import ingest as write

    done = write(load_table(table), store)
    what = "was there already, nothing written" if done.was_there else f"written, parts: {done.parts:,}"
    typer.echo(f"{done.location}: {done.rows:,} rows, {what}")


@cli.command()
def train(
    context: typer.Context,
    table: Annotated[str, _TABLE],
    search: Annotated[Strategy, typer.Option(help="How parameters are searched.")] = "optuna",
    trials: Annotated[int, typer.Option(min=1, help="Trials for each model.")] = 8,
    choose: Annotated[Measure, typer.Option(help="What the models are compared by.")] = "auc",
    only: Annotated[Algorithm | None, typer.Option(help="Ship this model, whatever the comparison says.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and table make the same bundle.")] = 0,
    stack: Annotated[Stack, typer.Option(help="Compare with the champion that is live there.")] = "local",
    offer_cost_usd: _CaseOption = None,
    offer_acceptance: _CaseOption = None,
    margin_usd_per_month: _CaseOption = None,
    horizon_months: _HorizonOption = None,
) -> None:
    """Search, compare, fit, export and evaluate models on a table; the simplest good one becomes a bundle with evidence."""
    from training.data import load_table
    from training.promote import business_case
    from training.settings import Settings
    from training.train import train as run

    live, champion = _live(context.obj, stack)
    case = business_case(live, _stated(offer_cost_usd, offer_acceptance, margin_usd_per_month, horizon_months))
    settings = Settings(seed=seed, strategy=search, trials=trials, measure=choose, case=case, only=only)
    done = run(load_table(table), context.obj, settings, champion)
    typer.echo(done.cleaning)
    for one in done.training.competitors:
        mark = "*" if one.name == done.training.chosen else " "
        figures = f"AUC {one.auc:.4f} ± {one.auc_error:.4f}, required fields {one.required_fields_auc:.4f}"
        cost = f"fit {one.fit_seconds:.2f} s, {one.microseconds_per_row:.1f} µs a row, {one.bundle_bytes / 1024:,.0f} KiB"
        typer.echo(f"{mark} {one.name:<28} {figures}; {cost}")
    _print_evaluation(done.evaluation, done.report)


@cli.command()
def evaluate(
    context: typer.Context,
    table: Annotated[str, _TABLE],
    bundle: Annotated[str | None, typer.Option(help="Digest; the bundle trained last unless given.")] = None,
    stack: Annotated[Stack, typer.Option(help="Compare with the champion that is live there, in its business case.")] = "local",
    offer_cost_usd: _CaseOption = None,
    offer_acceptance: _CaseOption = None,
    margin_usd_per_month: _CaseOption = None,
    horizon_months: _HorizonOption = None,
) -> None:
    """Judge a bundle on the test rows of a table, and against the live champion; what is found is what `promote` goes by."""
    from training.data import load_table
    from training.evaluate import evaluate as judge
    from training.prepare import clean
    from training.promote import business_case
    from training.report import keep

    live, champion = _live(context.obj, stack)
    case = business_case(live, _stated(offer_cost_usd, offer_acceptance, margin_usd_per_month, horizon_months))
    wanted = fetch_bundle(context.obj.bundles_url, bundle or _last_trained(context.obj))
    cleaned, _ = clean(load_table(table))
    evaluation = judge(cleaned, wanted, case, champion=champion)
    _print_evaluation(evaluation, keep(context.obj, evaluation, None))


@cli.command()
def report(
    context: typer.Context,
    bundle: Annotated[str | None, typer.Argument(help="Digest; the bundle trained last unless given.")] = None,
) -> None:
    """Write the page with a bundle's figures, plots and model card, from what `train` or `evaluate` found."""
    from training.report import write_report

    typer.echo(write_report(context.obj, bundle or _last_trained(context.obj)))


@cli.command("bundle")
def show_bundle(
    context: typer.Context,
    digest: Annotated[str | None, typer.Argument(help="Digest; the bundle trained last unless given.")] = None,
    store: Annotated[str | None, typer.Option(help="URL of the store; var/bundles unless given.")] = None,
) -> None:
    """Verify a bundle as the service does, every byte and every golden row, and say what it holds."""
    from app.model import Model

    found = fetch_bundle(store or context.obj.bundles_url, digest or _last_trained(context.obj))
    Model(found)
    typer.echo(f"{found.digest}: every file and {len(found.golden.customers)} golden rows are as they should be\n\n{found.card}")


@cli.command()
def serve(
    context: typer.Context,
    stack: _StackOption = "local",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
    metrics_port: Annotated[int, typer.Option(min=1, max=65535)] = 9090,
) -> None:
    """Serve a stack's release on this machine, as the pod would; prediction log in var/events."""
    from training.serve import serve as run

    raise typer.Exit(run(context.obj, stack, port, metrics_port))


@cli.command()
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


def _live(home: Home, stack: Stack) -> tuple[BusinessCase, Bundle | None]:
    from training.history import base, current

    live = base(home, stack, current(home, stack))
    if live is None:
        return BusinessCase(), None
    try:
        return live.business_case, fetch_bundle(home.bundles_url, live.champion.bundle_digest)
    except BundleError as exc:
        remedy = f"bring the champion of {stack} back into {home.var / 'bundles'}"
        if stack == "local":
            remedy += f", or remove {home.release(stack)} to begin without one"
        raise BundleError(f"{exc}\n{remedy}") from exc


def _stated(*values: float | None) -> dict[str, float]:
    """The values of a business case that were given, in the order of its fields."""
    return {name: value for name, value in zip(BusinessCase.__struct_fields__, values, strict=True) if value is not None}


def _last_trained(home: Home) -> str:
    from training.promote import last_trained

    return last_trained(home)


def _print_evaluation(evaluation: "Evaluation", report: Path) -> None:
    evidence = evaluation.evidence
    auc, required = evidence.metrics["auc"], evidence.metrics["required_fields_auc"]
    typer.echo(f"on {evidence.rows:,} test rows: AUC {auc.value:.4f} ({auc.low:.4f} to {auc.high:.4f}),")
    typer.echo(f"  with the required fields only {required.value:.4f} ({required.low:.4f} to {required.high:.4f})")
    if (difference := evidence.auc_difference) is not None:
        typer.echo(f"  against the live champion {difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})")
    typer.echo(f"bundle {evaluation.bundle_digest}\nreport {report}")


@cli.command()
def promote(
    context: typer.Context,
    stack: _StackOption = "local",
    bundle: Annotated[str | None, typer.Option(help="Digest of the bundle; the one trained last unless given.")] = None,
    from_stack: Annotated[Stack | None, typer.Option("--from", help="Take variants, image and case from this stack.")] = None,
    image: Annotated[str | None, typer.Option(help="repository@sha256:...; the live one unless given.")] = None,
    commit: Annotated[str | None, typer.Option(help="What the image was built from; HEAD unless given.")] = None,
    role: Annotated[Role, typer.Option(help="A champion replaces all; others run beside it.")] = "champion",
    weight: Annotated[int | None, typer.Option(min=1, max=99, help="Percent that a challenger answers; 10 unless given.")] = None,
    offer_cost_usd: _CaseOption = None,
    offer_acceptance: _CaseOption = None,
    margin_usd_per_month: _CaseOption = None,
    horizon_months: _HorizonOption = None,
    created_by: _AuthorOption = None,
    reason: _ReasonOption = None,
) -> None:
    """Write releases/<stack>.json for a bundle that passes the gates; exit 1 if it does not."""
    from training.promote import Request
    from training.promote import promote as write

    request = Request(
        stack=stack,
        bundle=bundle,
        from_stack=from_stack,
        role=role,
        weight_percent=weight,
        image=image,
        commit=commit,
        business_case=_stated(offer_cost_usd, offer_acceptance, margin_usd_per_month, horizon_months),
        created_by=created_by,
        reason=reason,
    )
    _change(context.obj, stack, lambda: write(context.obj, request))


@cli.command()
def rollback(
    context: typer.Context,
    stack: _StackOption = "local",
    to: Annotated[str | None, typer.Option(help="Version, or beginning of a digest; the release before unless given.")] = None,
    created_by: _AuthorOption = None,
    reason: _ReasonOption = None,
) -> None:
    """Write a release that restores an earlier one; evidence may be old, everything else is checked."""
    from training.promote import rollback as write

    _change(context.obj, stack, lambda: write(context.obj, stack, to, created_by, reason))


@cli.command()
def approve(
    context: typer.Context,
    stack: _StackOption,
    key: Annotated[Path, typer.Option(help="Your Ed25519 key, listed in releases/allowed_signers.")],
) -> None:
    """Sign the release in releases/<stack>.json with your OpenSSH key."""
    from training.approve import approve as sign

    release = sign(context.obj, stack, key)
    approver = release.approval.approver if release.approval else ""
    typer.echo(f"{context.obj.release(stack)}: {release.champion.version} ({release.digest}) approved by {approver}")


@cli.command()
def releases(
    context: typer.Context,
    stack: _StackOption = "local",
    as_json: Annotated[bool, typer.Option("--json", help="The releases themselves, as a JSON list.")] = False,
) -> None:
    """What was live on a stack, newest first: who, when, why, with which evidence, in place of what."""
    from training.history import releases as read
    from training.history import table

    chain = read(context.obj, stack)
    typer.echo(f"[{','.join(encode_release(release).decode() for release in chain)}]" if as_json else table(chain))


def _change(home: Home, stack: Stack, write: Callable[[], Release]) -> None:
    from policies.release import NEEDS_APPROVAL
    from training.history import current

    before, release = current(home, stack), write()
    done = "already says so, nothing was written" if before and before.digest == release.digest else "written"
    typer.echo(f"{home.release(stack)}: {done}")
    for variant in release.variants:
        part = f"{variant.role} {variant.version}, {variant.weight_percent} % of the customers"
        typer.echo(f"  {part}, offer from probability {variant.threshold:.3f}, bundle {variant.bundle_digest}")
    if stack in NEEDS_APPROVAL and release.approval is None:
        typer.echo(f"  not approved yet: churn approve --stack {stack} --key ~/.ssh/id_ed25519")
    if home.is_tracked(stack):
        # Last, and only now imported: what is refused is refused at once, and what was written stays written without MLflow.
        from training.tracking import mark_release

        mark_release(home, release)


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
