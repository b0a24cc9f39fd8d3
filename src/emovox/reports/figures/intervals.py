"""Scores with their confidence intervals, one per line; and the scores of single speakers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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

__all__ = ["ScoreLine", "draw_intervals", "draw_speakers"]


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """A score as a fraction, with its interval."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    text: str = ""
    """Shown at the right end of the line."""
    is_reference: bool = False
    """Whether the others are compared with it: drawn as a ring."""


def draw_intervals(
    lines: Sequence[ScoreLine],
    *,
    axis: str,
    mark: float | None = None,
    span: tuple[float, float] | None = None,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw a dot per score with its interval, in the given order.

    Args:
        axis: label of the axis of scores, in per cent or points.
        mark: score at which a broken line is drawn.
        span: ends of the axis; around all that is drawn by default.

    Raises:
        ConfigError: there is no score.
        MissingExtraError: matplotlib is not installed.
    """
    if not lines:
        raise ConfigError("there is no score to draw; expected at least one")
    height = (0.75 if not (title or caption) else 1.5) + 0.27 * len(lines)
    figure = make_figure(7.8, height, title=title, caption=caption)
    axes = make_axes(figure, grid="x")
    if mark is not None:
        axes.axvline(100 * mark, color=SOFT, linestyle=(0, (4, 3)), linewidth=1.1)
    for place, line in enumerate(lines):
        colour = RED if line.is_reference else BLUE
        if line.low is not None and line.high is not None:
            axes.plot([100 * line.low, 100 * line.high], [place, place], color=colour, linewidth=2)
        face = "white" if line.is_reference else colour
        axes.plot(
            100 * line.value,
            place,
            "o",
            markersize=6.5,
            color=colour,
            markerfacecolor=face,
            markeredgewidth=2,
        )
        axes.annotate(
            escape_text(line.text),
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(10, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
        )
    axes.set_yticks(range(len(lines)), [escape_text(line.name) for line in lines], fontsize=9)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    if span is not None:
        axes.set_xlim(100 * span[0], 100 * span[1])
    axes.margins(x=0.06)
    label_axes(axes, axis, "")
    return figure


def draw_speakers(
    scores: Sequence[float], *, value: float, low: float | None = None, high: float | None = None
) -> Figure:
    """Draw a dot per speaker along a line of scores, stacked where they meet; above it the score of all.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    columns = 50  # as many dots as fit side by side
    stacks: dict[int, int] = {}
    points = []
    for score in sorted(scores):
        column = round(score * columns)
        points.append((100 * column / columns, stacks.get(column, 0)))
        stacks[column] = stacks.get(column, 0) + 1
    top = max(stacks.values(), default=1)
    figure = make_figure(6.6, 1.15 + 0.16 * top)
    axes = make_axes(figure)
    axes.plot([x for x, _ in points], [y for _, y in points], "o", color=BLUE, markersize=6)
    if low is not None and high is not None:
        axes.plot([100 * low, 100 * high], [top + 0.6] * 2, color=RED, linewidth=2)
    axes.plot(
        100 * value, top + 0.6, "o", color=RED, markersize=6.5, markerfacecolor="white", markeredgewidth=2
    )
    axes.annotate(
        f"all: {100 * value:.1f} %",
        (100 * value, top + 0.6),
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        color=RED,
    )
    axes.set_xlim(-2, 102)
    axes.set_ylim(-0.8, top + 1.9)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    label_axes(axes, "UAR of each speaker, %", "")
    return figure
