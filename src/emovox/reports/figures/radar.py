"""Probabilities of emotions as a radar chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Doubles
from emovox.errors import ConfigError
from emovox.reports.colours import colour
from emovox.reports.figures.canvas import BLUE, INK, LINE, RED, SOFT, escape_text, make_figure
from emovox.results import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MOST_CLIPS", "draw_radar", "paint_radar", "radar"]

MOST_CLIPS = 5
"""More polygons over each other cannot be distinguished."""

_STYLES: tuple[tuple[str, Any, str], ...] = (
    (INK, "-", "o"),
    (BLUE, "--", "s"),
    (RED, "-.", "^"),
    ("#1A7F4B", ":", "D"),
    ("#9A6200", (0, (6, 2, 1, 2, 1, 2)), "v"),
)
"""Colour, line and marker of each clip; the emotions have colours of their own."""


def radar(
    probabilities: ArrayLike,
    labels: Sequence[str],
    *,
    names: Sequence[str] = (),
    title: str = "Probabilities",
) -> Figure:
    """Draw probabilities of any model as polygons with one spoke per label.

    Args:
        probabilities: ``(n_labels,)`` of one clip, or ``(n_clips, n_labels)`` of up to `MOST_CLIPS`.
        labels: names of the columns, three or more.
        names: of the clips, for the legend; none is drawn without them.

    Raises:
        ConfigError: the shapes do not fit, or a value is not between 0 and 1.
        MissingExtraError: matplotlib is not installed.

    >>> figure = radar([0.7, 0.2, 0.1], ["happy", "sad", "angry"])  # doctest: +SKIP
    >>> figure.savefig("radar.png")  # doctest: +SKIP
    """
    table = np.atleast_2d(np.asarray(probabilities, dtype=np.float64))
    if table.ndim != 2 or not 1 <= len(table) <= MOST_CLIPS:
        raise ConfigError(f"got {len(table)} clips; expected 1 to {MOST_CLIPS} on one radar chart")
    if len(labels) < 3:
        raise ConfigError(f"a radar chart needs three emotions; got {', '.join(labels) or 'none'}")
    if table.shape[1] != len(labels) or len(names) not in (0, len(table)):
        raise ConfigError(
            f"probabilities have the shape {table.shape}, for {len(labels)} labels and {len(names)} names; "
            "expected a column per label, and a name per clip or none"
        )
    if not ((table >= 0) & (table <= 1)).all():
        raise ConfigError("probabilities hold values that are no numbers from 0 to 1")
    figure = make_figure(
        6.4,
        6.0 + 0.25 * len(names),
        title=title,
        caption="Probability of each emotion in per cent: the expressed emotion, not what a person feels.",
    )
    paint_radar(figure.add_subplot(projection="polar"), table, labels, names)
    return figure


def paint_radar(axes: Any, table: Doubles, labels: Sequence[str], names: Sequence[str] = ()) -> None:
    """Draw rows ``(n_clips, n_labels)`` of probabilities into polar axes."""
    axes.set_theta_offset(np.pi / 2)
    axes.set_theta_direction(-1)
    angles = np.linspace(0, 2 * np.pi, len(labels), endpoint=False)
    around = np.append(angles, angles[0])
    for k, (row, (tone, line, mark)) in enumerate(zip(table, _STYLES, strict=False)):
        values = 100 * np.append(row, row[0])
        axes.plot(
            around,
            values,
            color=tone,
            linestyle=line,
            marker=mark,
            markersize=4.5,
            linewidth=1.8,
            label=escape_text(names[k]) if names else None,
            clip_on=False,
            zorder=3,
        )
        axes.fill(around, values, color=tone, alpha=0.07)
    top = next(edge for edge in (20, 40, 60, 80, 100) if 100 * table.max() <= edge + 1e-6)
    ticks = np.linspace(0, top, 5)[1:]
    axes.set_ylim(0, top)
    axes.set_rgrids(ticks, [f"{tick:g} %" for tick in ticks], angle=180 / len(labels), fontsize=8, color=SOFT)
    axes.set_xticks(angles, [""] * len(labels))
    axes.grid(color=LINE)
    axes.spines[:].set_color(LINE)
    for angle, name in zip(angles, labels, strict=True):
        sideways = np.sin(angle)
        side = "center" if abs(sideways) < 0.2 else ("left" if sideways > 0 else "right")
        axes.plot([angle], [top * 1.04], marker="o", color=colour(name), markersize=6, clip_on=False)
        axes.text(angle, top * 1.1, escape_text(name), ha=side, va="center", fontsize=10, color=INK)
    if names:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), fontsize=9, frameon=False)


def draw_radar(predictions: Sequence[Prediction], *, title: str = "Probabilities") -> Figure:
    """Draw the scores of one prediction or several by `radar`.

    Raises:
        ConfigError: no prediction, more than `MOST_CLIPS`, one without scores, fewer than three emotions, or
            predictions of different labels.
        MissingExtraError: matplotlib is not installed.
    """
    if not 1 <= len(predictions) <= MOST_CLIPS:
        raise ConfigError(f"got {len(predictions)} clips; expected 1 to {MOST_CLIPS} on one radar chart")
    names = []
    for one in predictions:
        name = PurePath(one.file).name if one.file else "clip"
        if one.error or not one.scores or not all(np.isfinite(p) for p in one.scores.values()):
            why = one.error or one.reason or "its scores are no numbers"
            raise ConfigError(f"{one.file or 'the clip'} has no probabilities to draw: {why}")
        if tuple(one.scores) != tuple(predictions[0].scores):
            raise ConfigError("the clips have scores of different labels; predict all with one model")
        top, score = one.top[0]
        best = f"{top} {100 * score:.0f} %"
        names.append(
            f"{name}: {best}" if one.label else f"{name}: no label ({one.reason}); most likely {best}"
        )
    labels = tuple(predictions[0].scores)
    return radar([list(one.scores.values()) for one in predictions], labels, names=names, title=title)
