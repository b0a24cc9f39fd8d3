"""Drawings: axes, bars, curves and dots in one fixed manner. Colours are those of the sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from emovox.reports.html import escape

__all__ = ["Plot", "Rung", "ladder", "strip"]


@dataclass
class Plot:
    """A field of ``width x height`` in drawing units with axes from ``low`` to ``high``; y grows upwards."""

    x_title: str
    y_title: str
    width: int = 440
    height: int = 330
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] = (0.0, 1.0)
    x_unit: float = 100.0
    """What values are multiplied by where they are written; 100 for per cent."""
    y_unit: float = 100.0
    x_whole: bool = False
    """Write whole values only."""
    _drawn: list[str] = field(default_factory=list)

    LEFT = 58
    RIGHT = 14
    TOP = 12
    BOTTOM = 44

    def x(self, value: float) -> float:
        """Where the value stands, from the left."""
        low, high = self.x_range
        return self.LEFT + (value - low) / (high - low) * (self.width - self.LEFT - self.RIGHT)

    def y(self, value: float) -> float:
        """Where the value stands, from the top."""
        low, high = self.y_range
        inner = self.height - self.TOP - self.BOTTOM
        return self.TOP + (1 - (value - low) / (high - low)) * inner

    def bars(self, bars: Iterable[tuple[float, float, float, str]]) -> None:
        """Bars ``(left, right, top, what it says when pointed at)``."""
        base = self.y(self.y_range[0])
        for left, right, top, told in bars:
            x, y = self.x(left) + 1, self.y(top)
            self._drawn.append(
                f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{self.x(right) - x - 1:.1f}" '
                f'height="{max(base - y, 0.8):.1f}"><title>{escape(told)}</title></rect>'
            )

    def curve(self, points: Sequence[tuple[float, float]], kind: str = "curve") -> None:
        """A line through the points."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self._drawn.append(f'<polyline class="{kind}" points="{path}"/>')

    def dots(self, dots: Iterable[tuple[float, float, float, str]], kind: str = "dot") -> None:
        """Dots ``(x, y, radius in drawing units, what it says when pointed at)``."""
        self._drawn += [
            f'<circle class="{kind}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius:.1f}">'
            f"<title>{escape(told)}</title></circle>"
            for x, y, radius, told in dots
        ]

    def label(self, x: float, y: float, text: str, *, kind: str = "", anchor: str = "start") -> None:
        """Text beside a point."""
        self._drawn.append(
            f'<text class="{kind}" x="{self.x(x):.1f}" y="{self.y(y):.1f}" '
            f'text-anchor="{anchor}">{escape(text)}</text>'
        )

    def svg(self, description: str) -> str:
        """The drawing; ``description`` is for those who cannot see it."""
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(description)}">{"".join(self._axes())}{"".join(self._drawn)}</svg>'
        )

    def _axes(self) -> Iterable[str]:
        right, base = self.x(self.x_range[1]), self.y(self.y_range[0])
        for value in _ticks(self.y_range):
            y = self.y(value)
            yield f'<line class="grid" x1="{self.LEFT}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            shown = f"{self.y_unit * value:g}"
            yield f'<text x="{self.LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>'
        for value in _ticks(self.x_range, least=1.0 if self.x_whole else 0.0):
            x = self.x(value)
            yield f'<text x="{x:.1f}" y="{base + 17:.1f}" text-anchor="middle">{self.x_unit * value:g}</text>'
        yield f'<line class="axis" x1="{self.LEFT}" x2="{right:.1f}" y1="{base:.1f}" y2="{base:.1f}"/>'
        middle_x, middle_y = (self.LEFT + right) / 2, (self.TOP + base) / 2
        yield _text(middle_x, self.height - 8, self.x_title)
        yield (
            f'<text transform="translate(14 {middle_y:.1f}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y_title)}</text>"
        )


_STRIP_WIDTH = 520
_STRIP_TOP = 40
_STEP = 11
_COLUMNS = 46
"""Of dots: as many as stand side by side."""


def strip(
    dots: Sequence[tuple[float, str]], *, title: str, value: float, low: float | None, high: float | None
) -> str:
    """One dot for each ``(score, name)`` along a line from 0 to 1, stacked where they meet; above them
    ``value`` and its interval.
    """
    places = list(_stacked(dots))
    base = _STRIP_TOP + 6 + _STEP * max((row + 1 for _, row, _ in places), default=1)
    drawn = [f'<line class="axis" x1="{_along(0):.1f}" x2="{_along(1):.1f}" y1="{base}" y2="{base}"/>']
    drawn += [_text(_along(tick), base + 17, f"{100 * tick:g}") for tick in _ticks((0.0, 1.0))]
    drawn += [
        f'<circle class="dot" cx="{_along(x):.1f}" cy="{base - 8 - _STEP * row}" r="4.5">'
        f"<title>{escape(told)}</title></circle>"
        for x, row, told in places
    ]
    if low is not None and high is not None:
        ends = f'x1="{_along(low):.1f}" x2="{_along(high):.1f}" y1="27" y2="27"'
        drawn.append(f'<line class="range" {ends}><title>{low:.1%} to {high:.1%}</title></line>')
    drawn.append(f'<circle class="mark" cx="{_along(value):.1f}" cy="27" r="4.5"/>')
    drawn.append(_text(_along(value), 15, f"all: {value:.1%}", kind="marked"))
    drawn.append(_text(_STRIP_WIDTH / 2, base + 36, title))
    return (
        f'<svg class="sized" style="--wide: {_STRIP_WIDTH}" viewBox="0 0 {_STRIP_WIDTH} {base + 44}" '
        f'role="img" aria-label="{escape(title)}">{"".join(drawn)}</svg>'
    )


_AXIS = 235
_RUNG = 26
_LETTER = 6.7
"""Drawing units that a letter takes, on average."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One line of a `ladder`; scores are fractions."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    told: str = ""
    """What it says when pointed at."""
    shown: str = ""
    """Words at its right end."""
    tone: str = ""
    """Colour of its bar, as ``#rrggbb``; without one it is a dot."""
    is_ring: bool = False
    """A ring instead of a dot: the one that the others are compared with."""


def ladder(
    rungs: Sequence[Rung], *, title: str, mark: float | None = None, span: tuple[float, float] = (0.0, 1.0)
) -> str:
    """A line for each score, with its interval, and a broken line through all at ``mark``.

    Args:
        span: the scores at the ends of the axis.
    """
    left = 20 + _LETTER * max((len(rung.name) for rung in rungs), default=0)
    right = left + _AXIS
    wide = right + 20 + _LETTER * max((len(rung.shown) for rung in rungs), default=0)
    base = 14 + _RUNG * len(rungs)

    def x(value: float) -> float:
        return left + (value - span[0]) / (span[1] - span[0]) * (right - left)

    drawn = [_line("grid", x(tick), x(tick), 4, base) for tick in _ticks(span)]
    drawn += [_text(x(tick), base + 17, f"{100 * tick:g}") for tick in _ticks(span)]
    drawn.append(_line("axis", left, right, base, base))
    if mark is not None:
        drawn.append(_line("even", x(mark), x(mark), 4, base))
    for k, rung in enumerate(rungs):
        y = 16 + _RUNG * k
        drawn.append(f'<text class="named" x="{left - 10:.1f}" y="{y + 4}">{escape(rung.name)}</text>')
        drawn += _rung(rung, x, y, left)
        drawn.append(f'<text class="shown" x="{right + 16:.1f}" y="{y + 4}">{escape(rung.shown)}</text>')
    drawn.append(_text((left + right) / 2, base + 36, title))
    return (
        f'<svg class="sized" style="--wide: {wide:.0f}" viewBox="0 0 {wide:.0f} {base + 44}" '
        f'role="img" aria-label="{escape(title)}">{"".join(drawn)}</svg>'
    )


def _rung(rung: Rung, x: Callable[[float], float], y: float, left: float) -> Iterator[str]:
    told = f"<title>{escape(rung.told)}</title>" if rung.told else ""
    if rung.tone:
        box = f'x="{left:.1f}" y="{y - 8}" width="{x(rung.value) - left:.1f}" height="16"'
        yield f'<rect class="filled" fill="{escape(rung.tone)}" {box}>{told}</rect>'
    if rung.low is not None and rung.high is not None:
        # On a bar, paper below ink: the line is seen on a dark bar and beside it.
        for kind in ("under", "over") if rung.tone else ("range",):
            yield _line(kind, x(rung.low), x(rung.high), y, y)
    if not rung.tone:
        kind = "mark" if rung.is_ring else "dot"
        yield f'<circle class="{kind}" cx="{x(rung.value):.1f}" cy="{y}" r="4.5">{told}</circle>'


def _line(kind: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:g}" y2="{y2:g}"/>'


def _along(value: float) -> float:
    return 30 + value * (_STRIP_WIDTH - 60)


def _stacked(dots: Sequence[tuple[float, str]]) -> Iterable[tuple[float, int, str]]:
    """Scores on a grid as wide as a dot, and how many lie below each."""
    below: dict[int, int] = {}
    for score, name in sorted(dots):
        column = round(score * _COLUMNS)
        yield column / _COLUMNS, below.get(column, 0), f"{name}: {score:.1%}"
        below[column] = below.get(column, 0) + 1


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="middle">{escape(text)}</text>'


_STEPS = sorted([0.25, *(n * 10.0**power for power in range(-9, 9) for n in (1, 2, 5)), 1e9])


def _ticks(span: tuple[float, float], least: float = 0.0) -> list[float]:
    """Round values in the span, about five, ``least`` apart."""
    low, high = span
    step = next((s for s in _STEPS if s >= least and (high - low) / s <= 6), high - low)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]
