"""Commands that make bundles and judge them."""

# A command imports what it needs when it runs (see training/cli.py), and its arguments are its options.
# ruff: noqa: PLC0415, PLR0913, PLR0917

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.bundle import Bundle, BundleError, fetch_bundle
from app.release import BusinessCase, Release, Stack
from training.commands.options import CaseOption, HorizonOption, TableArgument, stated
from training.home import Home
from training.settings import Algorithm, Measure, Strategy

if TYPE_CHECKING:
    from training.evaluate import Evaluation

commands = typer.Typer()


@commands.command()
def train(
    context: typer.Context,
    table: TableArgument,
    search: Annotated[Strategy, typer.Option(help="How parameters are searched.")] = "optuna",
    trials: Annotated[int, typer.Option(min=1, help="Trials for each model.")] = 8,
    choose: Annotated[Measure, typer.Option(help="What the models are compared by.")] = "auc",
    only: Annotated[Algorithm | None, typer.Option(help="Ship this model, whatever the comparison says.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and table make the same bundle.")] = 0,
    stack: Annotated[Stack, typer.Option(help="Compare with the champion that is live there.")] = "local",
    offer_cost_usd: CaseOption = None,
    offer_acceptance: CaseOption = None,
    margin_usd_per_month: CaseOption = None,
    horizon_months: HorizonOption = None,
) -> None:
    """Search, compare, fit, export and evaluate models on a table; the simplest good one becomes a bundle with evidence."""
    from training.data import load_table
    from training.promote import business_case
    from training.settings import Settings
    from training.train import train as run

    live, champion = _live(context.obj, stack)
    case = business_case(live, stated(BusinessCase, offer_cost_usd, offer_acceptance, margin_usd_per_month, horizon_months))
    settings = Settings(seed=seed, strategy=search, trials=trials, measure=choose, case=case, only=only)
    done = run(load_table(table), context.obj, settings, champion)
    typer.echo(done.cleaning)
    for one in done.training.competitors:
        mark = "*" if one.name == done.training.chosen else " "
        figures = f"AUC {one.auc:.4f} ± {one.auc_error:.4f}, required fields {one.required_fields_auc:.4f}"
        cost = f"fit {one.fit_seconds:.2f} s, {one.microseconds_per_row:.1f} µs a row, {one.bundle_bytes / 1024:,.0f} KiB"
        typer.echo(f"{mark} {one.name:<28} {figures}; {cost}")
    _print_evaluation(done.evaluation, done.report)


@commands.command()
def evaluate(
    context: typer.Context,
    table: TableArgument,
    bundle: Annotated[str | None, typer.Option(help="Digest; the bundle trained last unless given.")] = None,
    stack: Annotated[Stack, typer.Option(help="Compare with the champion that is live there, in its business case.")] = "local",
    from_stack: Annotated[
        Stack | None, typer.Option("--from", help="All bundles of this stack's release instead, in its business case.")
    ] = None,
    offer_cost_usd: CaseOption = None,
    offer_acceptance: CaseOption = None,
    margin_usd_per_month: CaseOption = None,
    horizon_months: HorizonOption = None,
) -> None:
    """Judge a bundle on a table's test rows, by regression tests and against the champion; `promote` goes by what is found."""
    from training.data import load_table
    from training.evaluate import evaluate as judge
    from training.history import released
    from training.prepare import clean
    from training.promote import business_case
    from training.report import keep

    digests = _digests(context.obj, bundle, "--from", from_stack)
    kept, champion = _live(context.obj, stack)
    if from_stack:
        source = released(context.obj, from_stack)
        if _of_another_contract(from_stack, source):
            return
        kept = source.business_case
    case = business_case(kept, stated(BusinessCase, offer_cost_usd, offer_acceptance, margin_usd_per_month, horizon_months))
    wanted = [fetch_bundle(context.obj.bundles_url, digest) for digest in digests]
    cleaned, _ = clean(load_table(table))
    for each in wanted:
        evaluation = judge(cleaned, each, case, champion=champion)
        _print_evaluation(evaluation, keep(context.obj, evaluation, None))


@commands.command()
def report(
    context: typer.Context,
    bundle: Annotated[str | None, typer.Argument(help="Digest; the bundle trained last unless given.")] = None,
) -> None:
    """Write the page with a bundle's figures, plots and model card, from what `train` or `evaluate` found."""
    from training.report import write_report

    typer.echo(write_report(context.obj, bundle or _last_trained(context.obj)))


@commands.command("bundle")
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


@commands.command()
def publish(
    context: typer.Context,
    to: Annotated[str, typer.Option(help="URL of the store, such as s3://bucket/bundles or file:///srv/bundles.")],
    digest: Annotated[str | None, typer.Argument(help="Digest; the bundle trained last unless given.")] = None,
    stack: Annotated[Stack | None, typer.Option(help="All bundles of this stack's release instead.")] = None,
) -> None:
    """Put a bundle into a store under its digest, where pods fetch it: written once, never changed, verified on both sides."""
    from training.publish import publish as put

    for each in _digests(context.obj, digest, "--stack", stack):
        done = put(context.obj, each, to)
        typer.echo(f"{done.location}: {f'published, files: {done.written}' if done.written else 'was there already, the same'}")


def _digests(home: Home, digest: str | None, option: str, stack: Stack | None) -> list[str]:
    from training.history import released

    if digest and stack:
        raise BundleError(f"the bundle is {digest} and {option} is {stack}; give one of them")
    return [variant.bundle_digest for variant in released(home, stack).variants] if stack else [digest or _last_trained(home)]


def _live(home: Home, stack: Stack) -> tuple[BusinessCase, Bundle | None]:
    from training.history import base, current

    live = base(home, stack, current(home, stack))
    if live is None:
        return BusinessCase(), None
    if _of_another_contract(stack, live):
        return live.business_case, None
    try:
        return live.business_case, fetch_bundle(home.bundles_url, live.champion.bundle_digest)
    except BundleError as exc:
        remedy = f"bring the champion of {stack} back into {home.var / 'bundles'}"
        if stack == "local":
            remedy += f", or remove {home.release(stack)} to begin without one"
        raise BundleError(f"{exc}\n{remedy}") from exc


def _of_another_contract(stack: Stack, release: Release) -> bool:
    """Whether this code could make nothing of the stack's bundles; then it is said."""
    from app.contract import CONTRACT_DIGEST

    if (contract := release.champion.evidence.contract_digest) == CONTRACT_DIGEST:
        return False
    typer.echo(f"the champion of {stack} is of contract {contract[:12]}, this code of {CONTRACT_DIGEST[:12]}: not compared")
    return True


def _last_trained(home: Home) -> str:
    from training.promote import last_trained

    return last_trained(home)


def _print_evaluation(evaluation: "Evaluation", report: Path) -> None:
    from training.behaviour import judged

    evidence = evaluation.evidence
    auc, required = evidence.metrics["auc"], evidence.metrics["required_fields_auc"]
    typer.echo(f"on {evidence.rows:,} test rows: AUC {auc.value:.4f} ({auc.low:.4f} to {auc.high:.4f}),")
    typer.echo(f"  with the required fields only {required.value:.4f} ({required.low:.4f} to {required.high:.4f})")
    if (difference := evidence.auc_difference) is not None:
        typer.echo(f"  against the live champion {difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})")
    checks = judged(evidence)
    failed = [check for check in checks if not check.passed]
    typer.echo(f"{len(checks) - len(failed)} of {len(checks)} regression tests passed{', not:' if failed else ''}")
    for check in failed:
        typer.echo(f"  {check}")
    typer.echo(f"bundle {evaluation.bundle_digest}\nreport {report}")
