"""Figures made of results: pure functions that return a `matplotlib.figure.Figure` (extra ``plot``).

::

    figure = confusion_figure(document, shares=True)     # of emovox.evaluation.scorecard
    write_figure(figure, "confusion.svg")                # .png, .svg, .pdf
    page = figure_part(figure, "confusion matrix")       # a part of an HTML page

Matplotlib is imported when a figure is drawn, never before. One file a question; ``canvas`` is the sheet.
"""

from __future__ import annotations

from emovox.reports.figures.canvas import SUFFIXES, figure_bytes, figure_part, write_figure
from emovox.reports.figures.classes import class_figure
from emovox.reports.figures.comparison import System, comparison_figure, comparison_systems
from emovox.reports.figures.confusion import confusion_figure
from emovox.reports.figures.curves import Point, learning_figure, search_figure, training_figure
from emovox.reports.figures.importance import importance_figure
from emovox.reports.figures.projection import Projection, project, projection_figure
from emovox.reports.figures.radar import radar_figure
from emovox.reports.figures.sound import spectrogram_figure, waveform_figure
from emovox.reports.figures.timeline import timeline_figure

__all__ = [
    "SUFFIXES",
    "Point",
    "Projection",
    "System",
    "class_figure",
    "comparison_figure",
    "comparison_systems",
    "confusion_figure",
    "figure_bytes",
    "figure_part",
    "importance_figure",
    "learning_figure",
    "project",
    "projection_figure",
    "radar_figure",
    "search_figure",
    "spectrogram_figure",
    "timeline_figure",
    "training_figure",
    "waveform_figure",
    "write_figure",
]
