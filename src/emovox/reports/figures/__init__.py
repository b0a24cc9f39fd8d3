"""Figures of results and recordings: functions that return a `matplotlib.figure.Figure` (extra ``plot``).

::

    figure = draw_confusion(document, shares=True)       # of emovox.evaluation.scorecard
    write_figure(figure, "confusion.svg")                # .png, .svg, .pdf

Matplotlib is imported when a figure is drawn, never before.
"""

from __future__ import annotations

from emovox.reports.figures.canvas import (
    SUFFIXES,
    figure_html,
    has_matplotlib,
    inline_svg,
    render_figure,
    write_figure,
)
from emovox.reports.figures.confusion import draw_confusion, draw_system_confusions
from emovox.reports.figures.curves import (
    LearningPoint,
    draw_calibration,
    draw_histogram,
    draw_learning_curve,
    draw_search,
    draw_training,
)
from emovox.reports.figures.explanation import draw_explanation
from emovox.reports.figures.features import Projection, draw_importance, draw_projection, project
from emovox.reports.figures.intervals import ScoreLine, draw_intervals, draw_speakers
from emovox.reports.figures.overview import plot
from emovox.reports.figures.radar import draw_radar, radar
from emovox.reports.figures.sound import draw_spectrogram, draw_timeline, draw_waveform
from emovox.reports.figures.values import draw_values

__all__ = [
    "SUFFIXES",
    "LearningPoint",
    "Projection",
    "ScoreLine",
    "draw_calibration",
    "draw_confusion",
    "draw_explanation",
    "draw_histogram",
    "draw_importance",
    "draw_intervals",
    "draw_learning_curve",
    "draw_projection",
    "draw_radar",
    "draw_search",
    "draw_speakers",
    "draw_spectrogram",
    "draw_system_confusions",
    "draw_timeline",
    "draw_training",
    "draw_values",
    "draw_waveform",
    "figure_html",
    "has_matplotlib",
    "inline_svg",
    "plot",
    "project",
    "radar",
    "render_figure",
    "write_figure",
]
