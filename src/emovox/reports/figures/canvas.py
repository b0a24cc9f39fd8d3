"""The sheet that figures are drawn on: light ground, few lines. It becomes a file, or a part of a page.

Figures are plain `matplotlib.figure.Figure` objects. Nothing here, or beside it, touches pyplot, so there is
no state, no window and no backend to choose.
"""

from __future__ import annotations

import base64
import io
import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emovox._files import replaced
from emovox.errors import ConfigError, MissingExtraError
from emovox.reports.html import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "DPI",
    "INK",
    "LINE",
    "SOFT",
    "SUFFIXES",
    "figure_bytes",
    "figure_part",
    "label_axes",
    "number",
    "panel",
    "plain",
    "sheet",
    "write_figure",
]

INK, SOFT, LINE = "#1B1F24", "#59636E", "#D5DBE1"
"""Of words, of words that explain, and of lines: those of the pages."""

DPI = 150
"""Pixels an inch of a PNG; letters of 9 points are 19 pixels high."""

SUFFIXES = (".png", ".svg", ".pdf")
"""What a figure can be written as."""

_LETTERS_AN_INCH = 15.5
"""Of the caption, 7.5 points high."""


def sheet(width_in: float, height_in: float, *, title: str, caption: str = "") -> Figure:
    """An empty figure of that size in inches, with its title above and its caption below.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("drawing a figure", "plot") from error
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.07, h_pad=0.09)
    letters = int(width_in * _LETTERS_AN_INCH)
    words: Any = {"x": 0.012, "ha": "left"}
    figure.suptitle(
        textwrap.fill(plain(title), int(letters * 0.7)), color=INK, fontsize=11, weight="bold", **words
    )
    if caption:
        figure.supxlabel(textwrap.fill(plain(caption), letters), color=SOFT, fontsize=7.5, **words)
    return figure


def panel(figure: Figure, *place: Any, grid: str = "", **settings: Any) -> Axes:
    """Axes without a frame above and to the right; ``grid`` is ``x``, ``y``, ``both`` or nothing."""
    axes: Any = figure.add_subplot(*place, **settings)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(True, axis=grid, color=LINE, linewidth=0.8)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(SOFT)
    axes.tick_params(colors=SOFT, labelcolor=INK, labelsize=9)
    made: Axes = axes
    return made


def label_axes(axes: Axes, x: str, y: str) -> None:
    """What stands along the axes, with its unit."""
    axes.set_xlabel(plain(x), fontsize=9, color=INK)
    axes.set_ylabel(plain(y), fontsize=9, color=INK)


def plain(text: object) -> str:
    """Text that is only text: matplotlib takes what is between two dollars for a formula.

    >>> plain("a$b$c")
    'a\\\\$b\\\\$c'
    """
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return shown.replace("$", r"\$")


def number(value: Any, what: str) -> float:
    """A finite number out of a document.

    Raises:
        ConfigError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise ConfigError(f"{what} is {value!r}; expected a number")
    return float(value)


def figure_bytes(figure: Figure, suffix: str = ".png") -> bytes:
    """The figure as a PNG, SVG or PDF file; the same bytes for the same figure, words in it being words.

    Raises:
        ConfigError: another suffix.
    """
    from matplotlib import rc_context

    kind = suffix.lower()
    if kind not in SUFFIXES:
        raise ConfigError(f"a figure cannot be written as {suffix!r}; expected {', '.join(SUFFIXES)}")
    stamp: Any = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[kind]
    file = io.BytesIO()
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "emovox", "pdf.fonttype": 42}
    with rc_context(style), warnings.catch_warnings():
        # A letter that the font lacks, in the name of a file, is drawn as a box: nothing to be alarmed at.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format=kind[1:], dpi=DPI, metadata=stamp)
    return file.getvalue()


def write_figure(figure: Figure, file: str | Path) -> None:
    """Write the figure into a file named ``.png``, ``.svg`` or ``.pdf``, whole or not at all.

    Raises:
        ConfigError: another suffix.
    """
    path = Path(file)
    content = figure_bytes(figure, path.suffix)
    with replaced(path) as half:
        half.write_bytes(content)


def figure_part(figure: Figure, description: str) -> str:
    """The figure as a part of an HTML page (see `emovox.reports.html`), which stays one file.

    Args:
        description: for those who cannot see it.
    """
    picture = base64.b64encode(figure_bytes(figure)).decode("ascii")
    wide = round(figure.get_figwidth() * 96)
    return (
        f'<figure><img src="data:image/png;base64,{picture}" alt="{escape(description)}" '
        f'width="{wide}" style="max-width:100%;height:auto"></figure>'
    )
