"""How do the probabilities spread over the emotions?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from emovox._arrays import Doubles
from emovox.errors import ConfigError
from emovox.reports.colours import colour
from emovox.reports.figures.canvas import INK, LINE, SOFT, plain, sheet
from emovox.results import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MOST_CLIPS", "radar_figure"]

MOST_CLIPS = 5
"""More polygons over each other cannot be told apart."""


_STYLES = (
    ("#1B1F24", "-", "o"),
    ("#1F5FA8", "--", "s"),
    ("#B3261E", "-.", "^"),
    ("#1A7F4B", ":", "D"),
    ("#9A6200", (0, (6, 2, 1, 2, 1, 2)), "v"),
)
"""Colour, line and marker of each clip; the emotions have colours of their own."""


def radar_figure(answers: Sequence[Prediction], *, title: str = "Probabilities") -> Figure:
    """The scores of one clip or several as polygons, a spoke an emotion.

    Raises:
        ConfigError: no clip, more than `MOST_CLIPS`, one without scores, fewer than three emotions, or clips
            judged by different labels.
        MissingExtraError: matplotlib is not installed.
    """
    labels = _labels(answers)
    figure = sheet(
        6.4,
        6.0 + 0.25 * len(answers),
        title=title,
        caption="Probability of each emotion in per cent: the expressed emotion, not what a person feels.",
    )
    axes: Any = figure.add_subplot(projection="polar")
    axes.set_theta_offset(np.pi / 2)
    axes.set_theta_direction(-1)
    angles = np.linspace(0, 2 * np.pi, len(labels), endpoint=False)
    for one, style in zip(answers, _STYLES, strict=False):
        _polygon(axes, angles, labels, one, style)
    _spokes(axes, angles, labels, max(max(one.scores.values()) for one in answers))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), fontsize=9, frameon=False)
    return figure


def _labels(answers: Sequence[Prediction]) -> tuple[str, ...]:
    if not 1 <= len(answers) <= MOST_CLIPS:
        raise ConfigError(f"got {len(answers)} clips; expected 1 to {MOST_CLIPS} on one radar chart")
    for one in answers:
        if one.error or not one.scores or not all(np.isfinite(p) for p in one.scores.values()):
            why = one.error or one.reason or "its scores are no numbers"
            raise ConfigError(f"{one.file or 'the clip'} has no probabilities to draw: {why}")
        if tuple(one.scores) != tuple(answers[0].scores):
            raise ConfigError("the clips were judged by different labels; judge all by one model")
    labels = tuple(answers[0].scores)
    if len(labels) < 3:
        raise ConfigError(f"a radar chart needs three emotions; got {', '.join(labels)}")
    return labels


def _polygon(
    axes: Any, angles: Doubles, labels: Sequence[str], one: Prediction, style: tuple[str, object, str]
) -> None:
    tone, line, mark = style
    around = np.append(angles, angles[0])
    values = [100 * one.scores[name] for name in (*labels, labels[0])]
    axes.plot(
        around,
        values,
        color=tone,
        linestyle=line,
        marker=mark,
        markersize=4.5,
        linewidth=1.8,
        label=plain(_told(one)),
        clip_on=False,
        zorder=3,
    )
    axes.fill(around, values, color=tone, alpha=0.07)


def _told(one: Prediction) -> str:
    name = PurePath(one.file).name if one.file else "clip"
    top, score = one.top[0]
    answer = f"{top} {100 * score:.0f} %"
    return f"{name}: {answer}" if one.label else f"{name}: no answer ({one.reason}); most likely {answer}"


def _spokes(axes: Any, angles: Doubles, labels: Sequence[str], most: float) -> None:
    top = next(edge for edge in (20, 40, 60, 80, 100) if 100 * most <= edge + 1e-6)
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
        axes.text(angle, top * 1.1, plain(name), ha=side, va="center", fontsize=10, color=INK)
