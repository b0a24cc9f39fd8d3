"""Curves of trainings, searches and learning over data sizes; calibration and histograms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emovox.errors import ConfigError
from emovox.reports.figures.canvas import (
    BLUE,
    INK,
    RED,
    SOFT,
    escape_text,
    label_axes,
    make_axes,
    make_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "LearningPoint",
    "draw_calibration",
    "draw_histogram",
    "draw_learning_curve",
    "draw_search",
    "draw_training",
]

_STYLES = ((RED, "-"), (BLUE, "--"), ("#1A7F4B", "-."), ("#9A6200", ":"))
"""Colour and line of training speakers, of validation speakers, and of others."""


@dataclass(frozen=True, slots=True)
class LearningPoint:
    """The test UAR of a model that was trained on ``n_train`` clips, as a fraction."""

    n_train: int
    uar: float
    low: float | None = None
    high: float | None = None


def draw_learning_curve(points: Sequence[LearningPoint], *, title: str, caption: str = "") -> Figure:
    """Draw UAR over the number of training clips, with intervals where there are any.

    Raises:
        ConfigError: fewer than two sizes.
        MissingExtraError: matplotlib is not installed.
    """
    rows = sorted(points, key=lambda point: point.n_train)
    if len({point.n_train for point in rows}) < 2:
        raise ConfigError(f"a learning curve needs two sizes of training; got {len(rows)} points of one")
    figure = make_figure(6.8, 4.3, title=title, caption=caption)
    axes = make_axes(figure, grid="both")
    axes.plot([p.n_train for p in rows], [100 * p.uar for p in rows], color=BLUE, marker="o", linewidth=1.8)
    for point in rows:
        if point.low is not None and point.high is not None:
            ends = [100 * point.low, 100 * point.high]
            axes.plot([point.n_train] * 2, ends, color=BLUE, linewidth=1.6, alpha=0.55)
    for point in rows:
        axes.annotate(
            f"{100 * point.uar:.1f}",
            (point.n_train, 100 * (point.uar if point.high is None else point.high)),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
        )
    axes.margins(x=0.09, y=0.14)
    label_axes(axes, "training clips", "UAR on the test, %")
    return figure


def draw_search(
    trials: Sequence[Mapping[str, Any]], *, part: str = "the inner folds", title: str, caption: str = ""
) -> Figure:
    """Draw the UAR of each trial of a search, and the best so far.

    Args:
        trials: rows with ``score`` (a fraction or ``None``) and ``complete``, in their order.
        part: what the trials were scored on.

    Raises:
        ConfigError: no trial has a score.
        MissingExtraError: matplotlib is not installed.
    """
    scored = [(n, row) for n, row in enumerate(trials, start=1) if _is_number(row.get("score"))]
    if not scored:
        raise ConfigError(f"none of {len(trials)} trials has a score; there is nothing to draw")
    complete = [(n, 100 * row["score"]) for n, row in scored if row.get("complete", True)]
    pruned = [(n, 100 * row["score"]) for n, row in scored if not row.get("complete", True)]
    figure = make_figure(7.2, 4.2, title=title, caption=caption)
    axes: Any = make_axes(figure, grid="y")
    if pruned:
        axes.plot(*zip(*pruned, strict=True), "x", color=SOFT, markersize=6, label="pruned")
    if complete:
        axes.plot(*zip(*complete, strict=True), "o", color=BLUE, markersize=6, label="trial")
        best = [(n, max(value for k, value in complete if k <= n)) for n, _ in complete]
        best.append((len(trials), best[-1][1]))
        axes.step(*zip(*best, strict=True), where="post", color=RED, linewidth=1.8, label="best so far")
        n, value = max(complete, key=lambda pair: pair[1])
        axes.annotate(
            f"{value:.1f}", (n, value), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9
        )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlim(0.4, len(trials) + 0.6)
    axes.margins(y=0.12)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=8.5, frameon=False, ncols=3)
    label_axes(axes, "trial", f"UAR on {part}, %")
    return figure


def draw_training(
    history: Sequence[Mapping[str, Any]], *, kept: int | None = None, title: str = "", caption: str = ""
) -> Figure:
    """Draw losses above and scores below, over the epochs (or steps) of a training.

    Args:
        history: a row per epoch: ``epoch`` (or ``step``), and any columns whose name contains ``loss`` or
            ``uar`` or ``ccc``, such as ``train_loss``, ``validation_loss``, ``validation_uar`` (a fraction).
            ``None`` or nan leaves a gap.
        kept: the epoch whose weights are kept; marked by a line.

    Raises:
        ConfigError: no row, no epoch, or neither a loss nor a UAR.
        MissingExtraError: matplotlib is not installed.
    """
    names = list(dict.fromkeys(name for row in history for name in row))
    clock = next((name for name in ("epoch", "step") if name in names), None)
    panels = []
    for word, scale, unit in (("loss", 1.0, "loss, nats"), ("uar", 100.0, "UAR, %"), ("ccc", 1.0, "CCC")):
        columns = [name for name in names if word in name.lower()]
        lines = _read_lines(history, clock, columns, scale)
        if lines:
            panels.append((lines, unit))
    if clock is None or not panels:
        raise ConfigError(
            f"the history has the columns {', '.join(names) or 'none'}; expected epoch or step, and losses "
            "or UARs, with numbers in them"
        )
    first, last = min(row[clock] for row in history), max(row[clock] for row in history)
    room = 0.02 * (last - first) or 0.5
    figure = make_figure(7.0, (1.6 if title else 0.5) + 2.3 * len(panels), title=title, caption=caption)
    for place, (lines, unit) in enumerate(panels, start=1):
        axes: Any = make_axes(figure, len(panels), 1, place, grid="both")
        if kept is not None:
            axes.axvline(
                kept, color=SOFT, linestyle=(0, (4, 3)), linewidth=1.1, label=f"{clock} {kept} is kept"
            )
        for n, (name, points) in enumerate(lines.items()):
            side = next((k for k, word in enumerate(("train", "val")) if word in name.lower()), 2 + n % 2)
            colour, style = _STYLES[side]
            axes.plot(
                *zip(*points, strict=True),
                color=colour,
                linestyle=style,
                marker="o" if len(points) < 30 else "",
                markersize=3.5,
                linewidth=1.8,
                label=escape_text(name.replace("_", " ").replace("uar", "UAR").replace("ccc", "CCC")),
            )
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.margins(y=0.1)
        axes.legend(fontsize=8.5, frameon=False, loc="best", labelcolor=INK)
        axes.set_xlim(first - room, last + room)
        label_axes(axes, clock if place == len(panels) else "", unit)
    return figure


def _read_lines(
    history: Sequence[Mapping[str, Any]], clock: str | None, names: Sequence[str], scale: float
) -> dict[str, list[tuple[float, float]]]:
    """Return name -> points of the columns that hold any number."""
    if clock is None or not all(_is_number(row.get(clock)) for row in history):
        return {}
    lines = {
        name: [(row[clock], scale * row[name]) for row in history if _is_number(row.get(name))]
        for name in names
    }
    return {name: points for name, points in lines.items() if points}


def draw_calibration(document: Mapping[str, Any]) -> Figure:
    """Draw the reliability diagram and the risk-coverage curve of an evaluation, side by side.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = make_figure(9.2, 3.6)
    axes = make_axes(figure, 1, 2, 1, grid="y")
    bins = [row for row in document["reliability"] if row["n"]]
    most = max((row["n"] for row in bins), default=1)
    axes.plot([0, 100], [0, 100], color=SOFT, linestyle=(0, (4, 3)), linewidth=1.1)
    for row in bins:
        x, y = 100 * row["confidence"], 100 * row["accuracy"]
        width = 100 * (row["high"] - row["low"])
        axes.bar(100 * row["low"], y, width=width, align="edge", color=BLUE, alpha=0.25, edgecolor=BLUE)
        axes.plot(x, y, "o", color=BLUE, markersize=3 + 7 * (row["n"] / most) ** 0.5)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 102)
    label_axes(axes, "confidence, %", "correct, %")
    curve = document["risk_coverage"]
    axes = make_axes(figure, 1, 2, 2, grid="y")
    points = curve["points"]
    axes.plot(
        [100 * p["coverage"] for p in points], [100 * p["risk"] for p in points], color=BLUE, linewidth=1.8
    )
    now = curve["now"]
    if now["risk"] is not None:
        axes.plot(
            100 * now["coverage"],
            100 * now["risk"],
            "o",
            color=RED,
            markerfacecolor="white",
            markeredgewidth=2,
        )
    axes.set_xlim(0, 102)
    axes.set_ylim(bottom=0)
    label_axes(axes, "labelled, % of clips", "wrong, % of labels")
    return figure


def draw_histogram(
    counts: Sequence[int], edges: Sequence[float], *, axis: str, counted: str = "clips"
) -> Figure:
    """Draw ``n`` counts between ``n + 1`` edges, on an axis of counts.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = make_figure(7.4, 2.4)
    axes: Any = make_axes(figure, grid="y")
    widths = [high - low for low, high in itertools.pairwise(edges)]
    axes.bar(edges[:-1], counts, width=widths, align="edge", color=BLUE, alpha=0.55, edgecolor=BLUE)
    axes.yaxis.get_major_locator().set_params(integer=True)
    label_axes(axes, axis, counted)
    return figure


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
