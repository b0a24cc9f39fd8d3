"""Pages made from results: Markdown, and HTML that needs nothing beside itself.

They show documents of plain JSON types and compute no score. ``html`` is the sheet, ``svg`` draws, and a
page has a file of its own.
"""

from __future__ import annotations

from emovox.reports.bench import bench_markdown, systems_markdown
from emovox.reports.comparison import comparison_html, comparison_markdown
from emovox.reports.evaluation import evaluation_html, evaluation_markdown

__all__ = [
    "bench_markdown",
    "comparison_html",
    "comparison_markdown",
    "evaluation_html",
    "evaluation_markdown",
    "systems_markdown",
]
