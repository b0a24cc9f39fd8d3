"""Figures made of results: pure functions that return a `matplotlib.figure.Figure` (extra ``plot``).

::

    figure = confusion_figure(document, shares=True)     # of emovox.evaluate.scorecard
    write_figure(figure, "confusion.svg")                # .png, .svg, .pdf
    page = figure_part(figure, "confusion matrix")       # a part of an HTML page

Matplotlib is imported when a figure is drawn, never before. One file a question; ``canvas`` is the sheet.
"""

from __future__ import annotations

from emovox.report.figures.canvas import SUFFIXES, figure_bytes, figure_part, write_figure
from emovox.report.figures.classes import class_figure
from emovox.report.figures.comparison import System, comparison_figure, comparison_systems
from emovox.report.figures.confusion import confusion_figure
from emovox.report.figures.curves import Point, learning_figure, search_figure, training_figure
from emovox.report.figures.importance import importance_figure
from emovox.report.figures.projection import Projection, project, projection_figure
from emovox.report.figures.radar import radar_figure
from emovox.report.figures.sound import spectrogram_figure, waveform_figure
from emovox.report.figures.timeline import timeline_figure

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
