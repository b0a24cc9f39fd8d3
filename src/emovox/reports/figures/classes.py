"""How many clips of each emotion were recognised?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emovox.errors import ConfigError
from emovox.reports.colours import colour
from emovox.reports.figures.canvas import INK, SOFT, label_axes, panel, plain, sheet
from emovox.reports.figures.words import evaluation_caption, evaluation_title, section_of
from emovox.reports.text import span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["class_figure"]


def class_figure(document: Mapping[str, Any]) -> Figure:
    """A bar an emotion of an evaluation: its recall, with the interval over speakers where there is one.

    Raises:
        ConfigError: no evaluation, or no emotion occurs in it.
        MissingExtraError: matplotlib is not installed.
    """
    rows = [row for row in section_of(document, "classes", "evaluation") if row["recall"] is not None]
    if not rows:
        raise ConfigError("no emotion has a recall: no clip was judged")
    chance = document["scores"]["chance"]
    figure = sheet(
        7.2,
        1.7 + 0.42 * len(rows),
        title=f"Recall: {evaluation_title(document)}",
        caption=f"Recall: clips of an emotion that were recognised{_lines(rows)}. Broken line: "
        f"chance ({100 * chance:.1f} %). {evaluation_caption(document)}",
    )
    axes = panel(figure, grid="x")
    for place, row in enumerate(rows):
        _bar(axes, place, row)
    axes.axvline(100 * chance, color=SOFT, linestyle=(0, (4, 3)), linewidth=1.2)
    axes.set_yticks(
        range(len(rows)), [f"{plain(row['label'])}  ({row['n']})" for row in rows], fontsize=9, color=INK
    )
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 20))
    label_axes(axes, "recall, %", "emotion (clips)")
    return figure


def _lines(rows: list[Mapping[str, Any]]) -> str:
    known = [row for row in rows if row.get("recall_low") is not None]
    return "; lines: 95 % intervals over its speakers" if known else ""


def _bar(axes: Axes, place: int, row: Mapping[str, Any]) -> None:
    value, low, high = row["recall"], row.get("recall_low"), row.get("recall_high")
    axes.barh(place, 100 * value, height=0.62, color=colour(row["label"]), alpha=0.85)
    if low is not None and high is not None:
        # White below ink: the line is seen on a dark bar and beside it.
        for line, tone in ((3.4, "white"), (1.5, INK)):
            axes.plot([100 * low, 100 * high], [place, place], color=tone, linewidth=line)
    axes.annotate(
        span(value, low, high),
        (1, place),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=INK,
    )
