"""The report's plots, each as an SVG element."""
# Matplotlib leaves the keyword arguments of its drawing methods untyped.
# pyright: reportUnknownMemberType=false

import io
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.decide import break_even
from training.evaluate import Evaluation, View
from training.search import Competitor

_BLUE, _ORANGE, _GREY = "#2457a6", "#c8601f", "#8a8f98"


def plots(evaluation: Evaluation, competitors: Sequence[Competitor]) -> dict[str, str]:
    """SVG by name; `complexity` only where there are competitors to compare."""
    drawn = {
        "roc": _plot(lambda axes: _roc(axes, evaluation)),
        "calibration": _plot(lambda axes: _calibration(axes, evaluation)),
        "gain": _plot(lambda axes: _gain(axes, evaluation)),
        "profit": _plot(lambda axes: _profit(axes, evaluation)),
    }
    if competitors:
        drawn["complexity"] = _plot(lambda axes: _complexity(axes, competitors), wide=True)
    return drawn


def _plot(draw: Callable[[Axes], None], *, wide: bool = False) -> str:
    figure = Figure(figsize=(9, 3.6) if wide else (4.5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    svg = io.StringIO()
    # No metadata: a date makes the same figures another page, and addresses of vocabularies look like something to fetch.
    figure.savefig(svg, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return svg.getvalue()[svg.getvalue().index("<svg") :]


def _both(evaluation: Evaluation) -> tuple[tuple[str, str, View], tuple[str, str, View]]:
    return (
        ("all fields", _BLUE, evaluation.all_fields),
        ("required fields only", _ORANGE, evaluation.required_fields),
    )


def _roc(axes: Axes, evaluation: Evaluation) -> None:
    for label, color, view in _both(evaluation):
        auc = view.metrics["auc"].value
        axes.plot(view.false_positive_rates, view.true_positive_rates, color=color, label=f"{label}: AUC {auc:.3f}")
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="chance")
    axes.set(title="ROC", xlabel="share of stayers named", ylabel="share of churners named")
    axes.legend(loc="lower right", fontsize="small")


def _calibration(axes: Axes, evaluation: Evaluation) -> None:
    for label, color, view in _both(evaluation):
        observed = [one.churned / one.rows for one in view.deciles]
        axes.plot([one.mean_probability for one in view.deciles], observed, "o-", color=color, label=label)
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="perfect")
    axes.set(title="Calibration by decile", xlabel="mean predicted probability", ylabel="observed churn")
    axes.legend(loc="upper left", fontsize="small")


def _gain(axes: Axes, evaluation: Evaluation) -> None:
    for label, color, view in _both(evaluation):
        axes.plot(np.linspace(0, 1, 11), [0.0, *(one.gain for one in view.deciles)], "o-", color=color, label=label)
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="chance")
    axes.set(title="Gain", xlabel="share of customers, likeliest first", ylabel="share of churn found")
    axes.legend(loc="lower right", fontsize="small")


def _profit(axes: Axes, evaluation: Evaluation) -> None:
    for label, color, view in _both(evaluation):
        axes.plot(view.profit_thresholds, view.profit_usd_per_customer, color=color, label=label)
    axes.axvline(break_even(evaluation.business_case), color=_GREY, linestyle="--", label="break-even")
    axes.set(title="Profit by threshold", xlabel="offer from probability", ylabel="USD per customer")
    axes.legend(loc="lower right", fontsize="small")


def _complexity(axes: Axes, competitors: Sequence[Competitor]) -> None:
    for number, one in enumerate(sorted(competitors, key=lambda one: one.microseconds_per_row)):
        axes.errorbar(one.microseconds_per_row, one.auc, yerr=one.auc_error, fmt="o", color=_BLUE, capsize=3)
        label = f"{one.name}\n{one.bundle_bytes / 1024:,.0f} KiB, fits in {one.fit_seconds:.2f} s"
        axes.annotate(
            label,
            (one.microseconds_per_row, one.auc),
            xytext=(7, (-30, 12)[number % 2]),
            textcoords="offset points",
            fontsize="small",
        )
    axes.set(xscale="log", title="Performance against complexity", xlabel="microseconds per row", ylabel="cross-validated AUC")
    axes.margins(x=0.25, y=0.2)
