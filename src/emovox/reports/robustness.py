"""What the pages of an evaluation say of worse sound, out of the part of its document that holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from emovox.reports.html import escape, table
from emovox.reports.svg import Rung, ladder
from emovox.reports.text import percent, signed, span

__all__ = ["robustness_html", "robustness_lines", "robustness_table"]

Part = Mapping[str, Any]
"""``document["robustness"]``."""


def robustness_lines(part: Part) -> Iterator[str]:
    """Lines for a terminal."""
    heads, rows = robustness_table(part)
    widths = [max(len(row[n]) for row in (heads, *rows)) for n in range(len(heads))]
    yield f"  robustness, {_of_what(part)}"
    for row in (heads, *rows):
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "    " + "  ".join((row[0].ljust(widths[0]), *cells))
    yield from (f"    {note}" for note in part["notes"])


def robustness_table(part: Part) -> tuple[list[str], list[list[str]]]:
    """Heads and rows, the clips as they are first."""
    heads = ["condition", "UAR %", "interval (95 %)", "lost", "interval of the loss", "changed answers %"]
    plain = part["plain"]
    first = ["as it is", percent(plain["value"]), _bounds(plain), "", "", ""]
    return heads, [first, *(_row(row) for row in part["rows"])]


def robustness_html(part: Part) -> Iterator[str]:
    """The drawing and the table."""
    plain = part["plain"]
    rungs = [_rung("as it is", plain, "", is_ring=True)]
    for row in part["rows"]:
        told = f", {percent(row['changed'])} % of the answers changed"
        rungs.append(_rung(row["condition"], row["uar"], told))
    drawing = ladder(rungs, title="UAR under each condition, %", mark=plain["value"])
    yield f'<figure class="wide">{drawing}</figure>'
    yield f'<p class="soft">{escape(_of_what(part))}.</p>'
    yield table(*robustness_table(part))
    yield from (f"<p>{escape(note)}</p>" for note in part["notes"])


def _rung(name: str, uar: Mapping[str, Any], told: str, *, is_ring: bool = False) -> Rung:
    value, low, high = uar["value"], uar["low"], uar["high"]
    return Rung(name, value, low, high, f"{percent(value)} %{told}", span(value, low, high), is_ring=is_ring)


def _of_what(part: Part) -> str:
    return f"{part['n_clips']} clips of {part['n_speakers']} speakers, seed {part['seed']}"


def _row(row: Part) -> list[str]:
    lost = row["lost"]
    inside = "" if lost["low"] is None else f"{signed(lost['low'])} to {signed(lost['high'])}"
    name = row["condition"] + (f" ({len(row['errors'])} failed)" if row["errors"] else "")
    uar = row["uar"]
    return [name, percent(uar["value"]), _bounds(uar), signed(lost["value"]), inside, percent(row["changed"])]


def _bounds(interval: Mapping[str, Any]) -> str:
    if interval["low"] is None:
        return ""
    return f"{percent(interval['low'])} to {percent(interval['high'])}"
