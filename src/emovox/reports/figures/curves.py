"""What became of a training with its epochs, of a search with its trials, of a model with more data?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emovox.errors import ConfigError
from emovox.reports.figures.canvas import INK, SOFT, label_axes, panel, plain, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Point", "learning_figure", "search_figure", "training_figure"]

_BLUE, _RED = "#1F5FA8", "#B3261E"
_STYLES = (("#B3261E", "-"), ("#1F5FA8", "--"), ("#1A7F4B", "-."), ("#9A6200", ":"))


@dataclass(frozen=True, slots=True)
class Point:
    """What a model reached that was trained on so many clips; scores are fractions."""

    n_train: int
    uar: float
    low: float | None = None
    high: float | None = None


def learning_figure(points: Sequence[Point], *, title: str, caption: str = "") -> Figure:
    """UAR against the clips trained on, with intervals where there are any.

    Raises:
        ConfigError: fewer than two sizes: that is no curve.
        MissingExtraError: matplotlib is not installed.
    """
    rows = sorted(points, key=lambda point: point.n_train)
    if len({point.n_train for point in rows}) < 2:
        raise ConfigError(f"a learning curve needs two sizes of training; got {len(rows)} points of one")
    figure = sheet(6.8, 4.3, title=title, caption=caption)
    axes = panel(figure, grid="both")
    axes.plot([p.n_train for p in rows], [100 * p.uar for p in rows], color=_BLUE, marker="o", linewidth=1.8)
    for point in rows:
        if point.low is not None and point.high is not None:
            ends = [100 * point.low, 100 * point.high]
            axes.plot([point.n_train] * 2, ends, color=_BLUE, linewidth=1.6, alpha=0.55)
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
    label_axes(axes, "clips trained on", "UAR on the test, %")
    return figure


def search_figure(trials: Sequence[Mapping[str, Any]], *, title: str, caption: str = "") -> Figure:
    """Each trial's UAR on the inner folds, and the best so far.

    Args:
        trials: as `emovox.training.search.Trial.to_dict` gives them, in their order.

    Raises:
        ConfigError: none of them has a score.
        MissingExtraError: matplotlib is not installed.
    """
    known = [(n, row) for n, row in enumerate(trials, start=1) if _is_number(row.get("score"))]
    if not known:
        raise ConfigError(f"none of {len(trials)} trials has a score; there is nothing to draw")
    whole = [(n, 100 * row["score"]) for n, row in known if row.get("complete", True)]
    given_up = [(n, 100 * row["score"]) for n, row in known if not row.get("complete", True)]
    figure = sheet(7.2, 4.2, title=title, caption=caption)
    axes = panel(figure, grid="y")
    if given_up:
        axes.plot(*zip(*given_up, strict=True), "x", color=SOFT, markersize=6, label="given up early")
    if whole:
        axes.plot(*zip(*whole, strict=True), "o", color=_BLUE, markersize=6, label="trial")
        best = _best_so_far(whole, len(trials))
        axes.step(*zip(*best, strict=True), where="post", color=_RED, linewidth=1.8, label="best so far")
        n, value = max(whole, key=lambda pair: pair[1])
        axes.annotate(
            f"{value:.1f}", (n, value), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9
        )
    _whole_numbers(axes)
    axes.set_xlim(0.4, len(trials) + 0.6)
    axes.margins(y=0.12)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=8.5, frameon=False, ncols=3)
    label_axes(axes, "trial", "UAR on the inner folds, %")
    return figure


def _best_so_far(points: Sequence[tuple[int, float]], n: int) -> list[tuple[int, float]]:
    reached = [(place, max(value for p, value in points if p <= place)) for place, _ in points]
    return [*reached, (n, reached[-1][1])]


def training_figure(history: Sequence[Mapping[str, Any]], *, title: str, caption: str = "") -> Figure:
    """Losses above, scores below, along the epochs (or steps).

    Args:
        history: a row an epoch: ``epoch`` (or ``step``), and any columns whose name has ``loss`` or ``uar``
            in it, such as ``train_loss``, ``validation_loss``, ``validation_uar`` (a fraction). Missing is
            ``None`` or nan, and leaves a gap.

    Raises:
        ConfigError: no row, no epoch, or neither a loss nor a UAR.
        MissingExtraError: matplotlib is not installed.
    """
    names = list(dict.fromkeys(name for row in history for name in row))
    clock = next((name for name in ("epoch", "step") if name in names), None)
    losses = _columns(history, clock, [name for name in names if "loss" in name.lower()], 1.0)
    scores = _columns(history, clock, [name for name in names if "uar" in name.lower()], 100.0)
    if clock is None or not (losses or scores):
        raise ConfigError(
            f"the history has the columns {', '.join(names) or 'none'}; expected epoch or step, and losses "
            "or UARs, with numbers in them"
        )
    groups = [(losses, "loss, nats"), (scores, "UAR, %")]
    drawn = [(lines, unit) for lines, unit in groups if lines]
    figure = sheet(7.0, 1.6 + 2.3 * len(drawn), title=title, caption=caption)
    for place, (lines, unit) in enumerate(drawn, start=1):
        axes = panel(figure, len(drawn), 1, place, grid="both")
        _lines(axes, lines)
        axes.set_xlim(*_reach(history, clock))
        label_axes(axes, clock if place == len(drawn) else "", unit)
    return figure


def _reach(history: Sequence[Mapping[str, Any]], clock: str) -> tuple[float, float]:
    """The ends of the time axis, the same for all panels."""
    first, last = (end(row[clock] for row in history) for end in (min, max))
    room = 0.02 * (last - first) or 0.5
    return first - room, last + room


_Line = list[tuple[float, float]]


def _columns(
    history: Sequence[Mapping[str, Any]], clock: str | None, names: Sequence[str], scale: float
) -> dict[str, _Line]:
    """Name -> points of the columns that hold any number."""
    found = {
        name: [(row[clock], scale * row[name]) for row in history if _is_number(row.get(name))]
        for name in names
        if clock is not None and all(_is_number(row.get(clock)) for row in history)
    }
    return {name: points for name, points in found.items() if points}


def _lines(axes: Axes, lines: Mapping[str, _Line]) -> None:
    for n, (name, points) in enumerate(lines.items()):
        tone, style = _style(name, n)
        axes.plot(
            *zip(*points, strict=True),
            color=tone,
            linestyle=style,
            marker="o" if len(points) < 30 else "",
            markersize=3.5,
            linewidth=1.8,
            label=plain(name.replace("_", " ").replace("uar", "UAR")),
        )
    _whole_numbers(axes)
    axes.margins(y=0.1)
    axes.legend(fontsize=8.5, frameon=False, loc="best")


def _style(name: str, place: int) -> tuple[str, str]:
    """What is of training speakers, or of validation speakers, looks the same in every panel."""
    parts = [n for n, word in enumerate(("train", "val")) if word in name.lower()]
    return _STYLES[parts[0] if parts else 2 + place % 2]


def _whole_numbers(axes: Any) -> None:
    """There is no half an epoch."""
    axes.xaxis.get_major_locator().set_params(integer=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
