"""Reports and figures of results: text for terminals, Markdown, HTML pages, and matplotlib figures.

Pages and figures are made from documents of plain JSON types; no score is computed here. A page is one file
without scripts; its figures are inline SVG and need the extra ``plot``.
"""

from __future__ import annotations

from emovox.reports.cross_validation import (
    cross_validation_html,
    cross_validation_markdown,
    overview_markdown,
)
from emovox.reports.evaluation import evaluation_html, evaluation_markdown, evaluation_summary
from emovox.reports.figures.radar import radar
from emovox.reports.player import Player, embed_player

__all__ = [
    "Player",
    "cross_validation_html",
    "cross_validation_markdown",
    "embed_player",
    "evaluation_html",
    "evaluation_markdown",
    "evaluation_summary",
    "overview_markdown",
    "radar",
]
