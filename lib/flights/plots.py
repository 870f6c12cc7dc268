"""Pictures of how candidates do: the same colour for the same model everywhere, told apart by the colour-blind too.

The palette is that of Okabe & Ito (Color Universal Design, 2008). Each function draws a new figure; the notebook shows
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from flights.evaluate import HIGHER_IS_BETTER, METRICS, Floats

COLORS = {"base_rate": "#7f7f7f", "logistic": "#e69f00", "forest": "#009e73", "boosting": "#0072b2"}
SPARE = ["#cc79a7", "#d55e00", "#56b4e9", "#f0e442"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
WIDTH = 9  # inches, of every figure


def color(candidate: str, candidates: Sequence[str]) -> str:
    """The candidate's colour; a spare one where it is none of those that the pipeline trains."""
    others = [name for name in candidates if name not in COLORS]
    return COLORS.get(candidate) or SPARE[others.index(candidate) % len(SPARE)]


def ranking(table: pd.DataFrame) -> Figure:
    """A panel a metric with each candidate's value and 95 % interval; `table` as `evaluate.compare` gives it."""
    names = list(table["candidate"].unique())
    fig, axes = _panels(1, len(METRICS), height=0.9 + 0.35 * len(names), sharey=True)
    for ax, (metric, title) in zip(axes, METRICS.items(), strict=True):
        rows = table[table["metric"] == metric].set_index("candidate").loc[names[::-1]]
        for place, (name, row) in enumerate(rows.iterrows()):
            _interval(ax, row, place, color(str(name), names))
        ax.set(title=title, xlabel="more is better" if HIGHER_IS_BETTER[metric] else "less is better")
        ax.set_yticks(range(len(names)), names[::-1])
        ax.set_ylim(-0.6, len(names) - 0.4)
        ax.locator_params(axis="x", nbins=4)
        ax.grid(axis="x", alpha=0.3)
    return fig


def curves(late: npt.ArrayLike, probabilities: Mapping[str, Floats]) -> Figure:
    """ROC curves and precision-recall curves."""
    fig, (left, right) = _panels(1, 2, height=4)
    names = list(probabilities)
    for name, probability in probabilities.items():
        style = {"color": color(name, names), "label": name, "linewidth": 1.5}
        false, true, _ = roc_curve(late, probability)
        precision, recall, _ = precision_recall_curve(late, probability)
        left.plot(100 * false, 100 * true, **style)
        seen = recall > 0.005  # further left a handful of flights makes it jump
        right.plot(100 * recall[seen], 100 * precision[seen], **style)
    share = 100 * float(np.mean(np.asarray(late, np.float64)))
    left.plot([0, 100], [0, 100], color="0.45", linestyle="--", linewidth=1)
    right.axhline(share, color="0.45", linestyle="--", linewidth=1)
    left.set(title="ROC", xlabel="alarms among punctual flights (%)", ylabel="late flights found (%)")
    right.set(title="Precision and recall", xlabel="late flights found (%)", ylabel="late among alarms (%)")
    right.set_ylim(0, 100)
    left.legend(frameon=False, loc="lower right")
    return fig


def calibration(found: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel a candidate: observed share against predicted probability; `found` as `calibration.curve` gives it."""
    names = list(found)
    fig, axes = _panels(1, len(names), height=2.9, sharex=True, sharey=True)
    top = max(100 * max(table["high"].max(), table["predicted"].max()) for table in found.values())
    for ax, (name, table) in zip(np.atleast_1d(axes), found.items(), strict=True):
        ax.plot([0, top], [0, top], color="0.45", linestyle="--", linewidth=1)
        predicted, observed, low, high = (100 * table[c] for c in ("predicted", "observed", "low", "high"))
        errors = [observed - low, high - observed]
        ax.errorbar(predicted, observed, yerr=errors, fmt="o-", color=color(name, names), markersize=3, linewidth=1)
        ax.set(title=name, xlabel="predicted (%)")
        ax.set_aspect("equal")
    axes[0].set_ylabel("late or cancelled (%)")
    return fig


def by_group(table: pd.DataFrame, title: str, label: str, names: Sequence[str]) -> Figure:
    """ROC AUC of the candidates `names` in each group, side by side; `table` as `evaluate.by_group` gives it."""
    group = str(table.columns[0])
    values = list(table[group].unique())
    fig, ax = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained", dpi=110)
    for i, name in enumerate(names):
        rows = table[table["candidate"] == name]
        places = np.arange(len(values)) + 0.14 * (i - (len(names) - 1) / 2)
        errors = np.clip([rows["value"] - rows["low"], rows["high"] - rows["value"]], 0, None)
        style: dict[str, Any] = {
            "fmt": MARKERS[i % len(MARKERS)],
            "color": color(name, names),
            "markersize": 4,
            "capsize": 2,
        }
        ax.errorbar(places, rows["value"], yerr=errors, label=name, linewidth=1, **style)
    ax.set_xticks(range(len(values)), [str(value) for value in values])
    ax.set(title=title, xlabel=label, ylabel="ROC AUC")
    ax.grid(axis="y", alpha=0.3)
    fig.legend(frameon=False, ncols=len(names), loc="outside lower right", fontsize="small")
    return fig


def days(table: pd.DataFrame, roc_auc: float, candidate: str) -> Figure:
    """Shares of late flights, predicted and happened, and ROC AUC by day; `table` as `monitor.by_day` gives it."""
    fig, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 5), sharex=True, layout="constrained", dpi=110)
    above.plot(table.index, 100 * table["happened"], "o-", color="0.35", markersize=4, linewidth=1, label="happened")
    above.plot(
        table.index,
        100 * table["predicted"],
        "s-",
        color=color(candidate, [candidate]),
        markersize=4,
        linewidth=1,
        label="predicted",
    )
    above.set(title="Late or cancelled flights by day", ylabel="flights of the day (%)")
    above.set_ylim(bottom=0)
    above.legend(frameon=False, ncols=2)
    below.axhline(0.5, color="0.45", linestyle="--", linewidth=1)
    below.axhline(roc_auc, color=color(candidate, [candidate]), linewidth=1, alpha=0.5)
    below.plot(table.index, table["roc_auc"], "o", color=color(candidate, [candidate]), markersize=4)
    below.set(title="ROC AUC by day", ylabel="ROC AUC")
    dates(below)
    for ax in (above, below):
        ax.grid(axis="y", alpha=0.3)
    return fig


def dates(ax: Axes) -> None:
    """Write days below, such as "5 Nov"; none twice, however few there are."""
    ax.xaxis.set_major_locator(AutoDateLocator(minticks=2, maxticks=10, interval_multiples=False))  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_formatter(DateFormatter("%-d %b"))  # type: ignore[no-untyped-call]


def hours(table: pd.DataFrame, title: str) -> Figure:
    """How many flights are scheduled in each hour, and how many of them are expected to leave late.

    `table` has a row an hour: `flights`, `expected`.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3), layout="constrained", dpi=110)
    ax.bar(table.index, table["flights"], color="0.85", label="scheduled")
    ax.bar(table.index, table["expected"], color=SPARE[1], label="expected to leave late")
    ax.set(title=title, xlabel="hour of the scheduled departure", ylabel="flights", xticks=table.index)
    ax.set_ylim(0, 1.2 * table["flights"].max())
    ax.legend(frameon=False, ncols=2, loc="upper left")
    return fig


def bars(values: pd.Series, title: str, label: str, shade: str = "#56b4e9") -> Figure:
    """Horizontal bars, one an entry, the first on top."""
    fig, ax = plt.subplots(figsize=(WIDTH, 0.9 + 0.28 * len(values)), layout="constrained", dpi=110)
    ax.barh(range(len(values)), values[::-1], color=shade)
    ax.set_yticks(range(len(values)), [str(name) for name in values.index[::-1]])
    ax.set(title=title, xlabel=label)
    ax.grid(axis="x", alpha=0.3)
    return fig


def _panels(rows: int, columns: int, height: float, **shared: Any) -> tuple[Figure, npt.NDArray[np.object_]]:
    fig = plt.figure(figsize=(WIDTH, height), layout="constrained", dpi=110)
    return fig, fig.subplots(rows, columns, squeeze=False, **shared).ravel()


def _interval(ax: Axes, row: pd.Series, place: float, shade: str) -> None:
    ax.plot([row["low"], row["high"]], [place, place], color=shade, linewidth=2)
    ax.plot(row["value"], place, "o", color=shade, markersize=5)
