"""Pages made from results: Markdown, and HTML that needs nothing beside itself.

They show documents of plain JSON types and compute no score. ``html`` is the sheet, ``svg`` draws, and a
page has a file of its own.
"""

from __future__ import annotations

from emovox.reports.cross_validation import (
    cross_validation_html,
    cross_validation_markdown,
    overview_markdown,
)
from emovox.reports.evaluation import evaluation_html, evaluation_markdown

__all__ = [
    "cross_validation_html",
    "cross_validation_markdown",
    "evaluation_html",
    "evaluation_markdown",
    "overview_markdown",
]
