"""Commands that change what is live on a stack, and tell it."""

# A command imports what it needs when it runs (see training/cli.py), and its arguments are its options.
# ruff: noqa: PLC0415, PLR0913, PLR0917

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from app.release import AlertLimits, BusinessCase, Release, Role, Stack, encode_release
from training.commands.options import AuthorOption, CaseOption, HorizonOption, ReasonOption, StackOption, stated
from training.home import Home, TrackingError

commands = typer.Typer()


@commands.command()
def promote(
    context: typer.Context,
    stack: StackOption = "local",
    bundle: Annotated[str | None, typer.Option(help="Digest of the bundle; the one trained last unless given.")] = None,
    from_stack: Annotated[Stack | None, typer.Option("--from", help="Take variants, image and case from this stack.")] = None,
    image: Annotated[str | None, typer.Option(help="repository@sha256:...; the live one unless given.")] = None,
    commit: Annotated[str | None, typer.Option(help="What the image was built from; HEAD unless given.")] = None,
    role: Annotated[Role, typer.Option(help="A champion replaces all; others run beside it.")] = "champion",
    weight: Annotated[int | None, typer.Option(min=1, max=99, help="Percent that a challenger answers; 10 unless given.")] = None,
    offer_cost_usd: CaseOption = None,
    offer_acceptance: CaseOption = None,
    margin_usd_per_month: CaseOption = None,
    horizon_months: HorizonOption = None,
    drift_index_max: Annotated[float | None, typer.Option(help="Population stability index that is told; as it is live.")] = None,
    model_age_max_days: Annotated[int | None, typer.Option(help="Age of the evidence that is told; as it is live.")] = None,
    created_by: AuthorOption = None,
    reason: ReasonOption = None,
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
        business_case=stated(BusinessCase, offer_cost_usd, offer_acceptance, margin_usd_per_month, horizon_months),
        alert_limits=stated(AlertLimits, drift_index_max, model_age_max_days),
        created_by=created_by,
        reason=reason,
    )
    _change(context.obj, stack, lambda: write(context.obj, request))


@commands.command()
def rollback(
    context: typer.Context,
    stack: StackOption = "local",
    to: Annotated[str | None, typer.Option(help="Version, or beginning of a digest; the release before unless given.")] = None,
    created_by: AuthorOption = None,
    reason: ReasonOption = None,
) -> None:
    """Write a release that restores an earlier one; evidence may be old, everything else is checked."""
    from training.promote import rollback as write

    _change(context.obj, stack, lambda: write(context.obj, stack, to, created_by, reason))


@commands.command()
def approve(
    context: typer.Context,
    stack: StackOption,
    key: Annotated[Path, typer.Option(help="Your Ed25519 key, listed in releases/allowed_signers.")],
) -> None:
    """Sign the release in releases/<stack>.json with your OpenSSH key."""
    from training.approve import approve as sign

    release = sign(context.obj, stack, key)
    approver = release.approval.approver if release.approval else ""
    typer.echo(f"{context.obj.release(stack)}: {release.champion.version} ({release.digest}) approved by {approver}")


@commands.command()
def releases(
    context: typer.Context,
    stack: StackOption = "local",
    as_json: Annotated[bool, typer.Option("--json", help="The releases themselves, as a JSON list.")] = False,
) -> None:
    """What was live on a stack, newest first: who, when, why, with which evidence, in place of what."""
    from training.history import releases as read
    from training.history import table

    chain = read(context.obj, stack)
    typer.echo(f"[{','.join(encode_release(release).decode() for release in chain)}]" if as_json else table(chain))


@commands.command()
def experiment(
    context: typer.Context,
    stack: StackOption = "local",
    events: Annotated[str | None, typer.Option(help="Store of the prediction log; var/events unless given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False,
) -> None:
    """Champion against challenger by their customers' outcomes, with an interval that holds however often it is looked at."""
    import msgspec

    from training.experiment import experiment as find
    from training.experiment import text

    found = find(context.obj, stack, events)
    typer.echo(msgspec.json.encode(found).decode() if as_json else text(found))


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

        # A rollback without --to would go one release further back.
        again = f"`churn rollback --stack {stack} --to {release.champion.version}`" if release.rollback_of else "the same command"
        try:
            mark_release(home, release)
        except TrackingError as exc:
            raise TrackingError(f"{exc}\nthe release stands without it; {again} marks it there later") from exc
