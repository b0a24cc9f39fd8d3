"""The page of a corpus, made from the document of `emovox.datasets.statistics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emovox.datasets.manifest import UNKNOWN_SPEAKER
from emovox.reports.figures import draw_histogram, figure_html, has_matplotlib
from emovox.reports.html import Bar, bar_table, escape, page, section, table
from emovox.reports.text import speakers

__all__ = ["corpus_html"]

_MAX_ROWS = 200
"""Copies that are listed."""


def corpus_html(document: Mapping[str, Any]) -> str:
    """Format counts, distributions and copies as an HTML page that needs no other file."""
    counts = document["counts"]
    emotions = list(counts["emotion"])
    by_speaker = [
        (name, *(n.get(emotion, 0) for emotion in emotions), sum(n.values()))
        for name, n in document["per_speaker"].items()
    ]
    title = f"Contents of {', '.join(counts['corpus']) or 'an empty corpus'}"
    n_known = len([name for name in document["per_speaker"] if not name.endswith(f"-{UNKNOWN_SPEAKER}")])
    summary = f"{document['n_clips']} clips, {speakers(n_known or None)} in {document['root']}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(summary)}</p>',
        *(
            section(name.capitalize(), _bars(counts[name]))
            for name in ("emotion", "sex", "language", "corpus", "intensity")
            if set(counts[name]) - {"unknown"} and (name != "corpus" or len(counts[name]) > 1)
        ),
        section("Age of the speakers", *_histogram(document["ages"], "years")),
        section("Length of a clip", *_histogram(document["duration_s"], "s")),
        section("Level", *_histogram(document["level_dbfs"], "dBFS"), _remarks(document)),
        section("Copies", _copies(document["copies"])),
        section("Speakers", table(("speaker", *emotions, "clips"), by_speaker)) if by_speaker else "",
        section("Clips that could not be read", table(("clip", "error"), document["failed"], words=True))
        if document["failed"]
        else "",
        "<footer>Expressed emotion, not what a person feels. Written by emovox.</footer>",
    ]
    return page(title, "\n".join(part for part in body if part))


def _bars(counts: Mapping[str, int]) -> str:
    most, total = max(counts.values()), sum(counts.values())
    bars = [Bar(name, n / most, f"{n}  ({n / total:.1%})") for name, n in counts.items()]
    return bar_table(["", "", "clips"], bars)


def _histogram(values: Mapping[str, Any] | None, unit: str) -> list[str]:
    if values is None:
        return []
    names = {"minimum": "low", "5 %": "p5", "median": "median", "95 %": "p95", "maximum": "high"}
    facts = [f"{values['n']} values"]
    facts += [f"{values['total'] / 3600:.2f} h in all"] if unit == "s" else []
    facts += [f"{name} {values[key]:.3g} {unit}" for name, key in names.items()]
    drawn = figure_html(
        draw_histogram,
        values["counts"],
        values["edges"],
        axis=unit,
        counted="speakers" if unit == "years" else "clips",
        description=f"Histogram in {unit}",
    )
    missing = "" if has_matplotlib() else " (No histogram: matplotlib is not installed, extra plot.)"
    return [drawn, f'<p class="soft">{escape(", ".join(facts))}{missing}</p>']


def _remarks(document: Mapping[str, Any]) -> str:
    if document["level_dbfs"] is None:
        return ""
    silent = document["silent"] or ()
    text = f"{document['n_clipped']} clips are clipped, {len(silent)} are digital silence"
    return f"<p>{escape(text)}{escape(': ' + ', '.join(silent[:20]) if silent else '')}.</p>"


def _copies(copies: Sequence[Mapping[str, Any]] | None) -> str:
    if copies is None:
        return ""
    if not copies:
        return "<p>No two clips hold the same recording.</p>"
    rows = [(c["one"], c["other"], f"{c['likeness']:.2f}") for c in copies[:_MAX_ROWS]]
    foot = f"and {len(copies) - _MAX_ROWS} more" if len(copies) > _MAX_ROWS else ""
    return table(("clip", "holds the same recording as", "similarity"), rows, foot=foot, words=True)
