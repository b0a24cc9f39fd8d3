"""The page of a corpus, out of the document that ``emovox.datasets.statistics.Stats.to_dict`` makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emovox.reports.html import escape, page, section, table

__all__ = ["corpus_html"]

_BAR_WIDTH = 560
_ROW = 24
_NAME_WIDTH = 150


def corpus_html(document: Mapping[str, Any]) -> str:
    """One HTML page with counts, spreads and copies; it needs nothing beside itself."""
    counts = document["counts"]
    emotions = list(counts["emotion"])
    told = f"{document['n_clips']} clips, {document['n_speakers']} speakers"
    body = [
        f"<h1>{escape(_title(document))}</h1>",
        f'<p class="soft">{escape(told)} in {escape(document["root"])}</p>',
        *(
            section(name.capitalize(), _bars(counts[name], name))
            for name in ("emotion", "sex", "language", "corpus", "intensity")
            if set(counts[name]) - {"unknown"} and (name != "corpus" or len(counts[name]) > 1)
        ),
        section("Age of the speakers", _histogram(document["ages"], "years")),
        section("Length of a clip", _histogram(document["duration_s"], "s")),
        section("Level", _histogram(document["level_dbfs"], "dBFS"), _remarks(document)),
        section("Copies", _copies(document["copies"])),
        section("Speakers", _speakers(document["per_speaker"], emotions)),
        section("Not heard", table(("clip", "why"), document["failed"], words=True))
        if document["failed"]
        else "",
        "<footer>Expressed emotion, not what a person feels. Written by emovox.</footer>",
    ]
    return page(_title(document), "\n".join(part for part in body if part))


def _title(document: Mapping[str, Any]) -> str:
    return f"What is in {', '.join(document['counts']['corpus']) or 'an empty corpus'}"


def _bars(counts: Mapping[str, int], what: str) -> str:
    """One horizontal bar a value."""
    most = max(counts.values())
    height = _ROW * len(counts) + 6
    drawn = "".join(_bar(place, name, n, most) for place, (name, n) in enumerate(counts.items()))
    return (
        f'<figure><svg class="long" viewBox="0 0 {_NAME_WIDTH + _BAR_WIDTH + 80} {height}" role="img" '
        f'aria-label="clips by {escape(what)}">{drawn}</svg></figure>'
    )


def _bar(place: int, name: str, n: int, most: int) -> str:
    y = place * _ROW + 4
    wide = _BAR_WIDTH * n / most
    return (
        f'<text x="{_NAME_WIDTH - 8}" y="{y + 13}" text-anchor="end">{escape(_short(name))}</text>'
        f'<rect class="bar" x="{_NAME_WIDTH}" y="{y}" width="{wide:.1f}" height="17">'
        f"<title>{escape(name)}: {n}</title></rect>"
        f'<text x="{_NAME_WIDTH + wide + 8:.1f}" y="{y + 13}">{n}</text>'
    )


def _short(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:19]}…"


def _histogram(spread: Mapping[str, Any] | None, unit: str) -> str:
    if spread is None:
        return ""
    counts, edges = spread["counts"], spread["edges"]
    wide, high, left, base = 640, 150, 40, 165
    step, most = wide / len(counts), max(counts)
    drawn = "".join(
        f'<rect class="bar" x="{left + n * step + 1:.1f}" y="{base - high * count / most:.1f}" '
        f'width="{max(step - 2, 0.5):.1f}" height="{high * count / most:.1f}">'
        f"<title>{edges[n]:g} to {edges[n + 1]:g} {escape(unit)}: {count}</title></rect>"
        for n, count in enumerate(counts)
    )
    every = max(1, -(-len(edges) // 12))
    ticks = "".join(
        f'<text x="{left + n * step:.1f}" y="{base + 17}" text-anchor="middle">{edges[n]:g}</text>'
        for n in range(0, len(edges), every)
    )
    axis = f'<line class="axis" x1="{left}" x2="{left + wide}" y1="{base}" y2="{base}"/>'
    name = f'<text x="{left + wide / 2}" y="{base + 38}" text-anchor="middle">{escape(unit)}</text>'
    svg = (
        f'<svg class="long" viewBox="0 0 {left + wide + 40} {base + 46}" role="img" '
        f'aria-label="histogram, {escape(unit)}">{drawn}{axis}{ticks}{name}</svg>'
    )
    return f"<figure>{svg}<figcaption>{escape(' · '.join(_figures(spread, unit)))}</figcaption></figure>"


def _figures(spread: Mapping[str, Any], unit: str) -> Iterator[str]:
    yield f"{spread['n']} values"
    if unit == "s":
        yield f"{spread['total'] / 3600:.2f} h in all"
    for name, key in (
        ("least", "low"),
        ("5 %", "p5"),
        ("median", "median"),
        ("95 %", "p95"),
        ("most", "high"),
    ):
        yield f"{name} {spread[key]:.3g} {unit}"


def _remarks(document: Mapping[str, Any]) -> str:
    if document["level_dbfs"] is None:
        return ""
    silent = document["silent"] or ()
    told = f"{document['n_clipped']} clips are clipped, {len(silent)} are digital silence"
    return f"<p>{escape(told)}{escape(': ' + ', '.join(silent[:20]) if silent else '')}.</p>"


def _copies(copies: Sequence[Mapping[str, Any]] | None) -> str:
    if copies is None:
        return ""
    if not copies:
        return "<p>No two clips hold the same recording.</p>"
    rows = [(c["one"], c["other"], f"{c['likeness']:.2f}") for c in copies[:200]]
    foot = f"and {len(copies) - 200} more" if len(copies) > 200 else ""
    return table(("clip", "holds the same recording as", "likeness"), rows, foot=foot, words=True)


def _speakers(per_speaker: Mapping[str, Mapping[str, int]], emotions: Sequence[str]) -> str:
    rows = [(who, *(n.get(e, 0) for e in emotions), sum(n.values())) for who, n in per_speaker.items()]
    return table(("speaker", *emotions, "clips"), rows) if rows else ""
