"""Numbers formatted for people, and tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["MISSING", "bounds", "figure", "markdown_table", "percent", "signed", "span", "speakers"]

MISSING = "–"
"""Shown where there is no number."""


def percent(value: float | None) -> str:
    """Format a fraction in per cent with one digit, without the sign.

    >>> percent(0.5894), percent(None)
    ('58.9', '–')
    """
    return MISSING if value is None else f"{100 * value:.1f}"


def signed(value: float | None) -> str:
    """Format a difference of fractions in points.

    >>> signed(0.1612)
    '+16.1'
    """
    return MISSING if value is None else f"{100 * value:+.1f}"


def span(value: float | None, low: float | None, high: float | None) -> str:
    """Format a score with its interval, in per cent.

    >>> span(0.5, 0.25, 0.75), span(0.5, None, None)
    ('50.0 [25.0, 75.0]', '50.0')
    """
    return (
        percent(value)
        if low is None or high is None
        else f"{percent(value)} [{percent(low)}, {percent(high)}]"
    )


def speakers(n: int | None) -> str:
    """Format a number of speakers.

    >>> speakers(1), speakers(12), speakers(None)
    ('1 speaker', '12 speakers', 'unknown speakers')
    """
    return "unknown speakers" if n is None else f"{n} speaker{'' if n == 1 else 's'}"


def figure(value: float | None, digits: int = 3) -> str:
    """Format a number with fixed digits."""
    return MISSING if value is None else f"{value:.{digits}f}"


def bounds(low: float | None, high: float | None) -> str:
    """Format an interval, in per cent.

    >>> bounds(0.25, 0.75), bounds(None, None)
    ('25.0 to 75.0', '–')
    """
    return MISSING if low is None or high is None else f"{percent(low)} to {percent(high)}"


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a table, the first column left-aligned, all others right-aligned."""
    table = [[" ".join(str(cell).split()).replace("|", "\\|") for cell in row] for row in (heads, *rows)]
    widths = [max(3, *(len(row[n]) for row in table)) for n in range(len(heads))]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    rule = "|" + "|".join(f"{'-' * (width + 1)}{':' if n else '-'}" for n, width in enumerate(widths)) + "|"
    return [lines[0], rule, *lines[1:]]
