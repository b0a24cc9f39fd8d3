"""The common style of all figures, and their output as a file or as inline SVG of an HTML page.

Figures are plain `matplotlib.figure.Figure` objects. Nothing here uses pyplot, so there is no global state,
no window and no backend to choose.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from emovox._files import atomic_path
from emovox.errors import ConfigError, MissingExtraError
from emovox.reports.html import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "DPI",
    "INK",
    "LINE",
    "RED",
    "SOFT",
    "SUFFIXES",
    "escape_text",
    "figure_html",
    "has_matplotlib",
    "inline_svg",
    "label_axes",
    "make_axes",
    "make_figure",
    "render_figure",
    "write_figure",
]

INK, SOFT, LINE = "#1B1F24", "#59636E", "#D5DBE1"
"""Colours of text, of secondary text and of lines: those of the pages."""

BLUE, RED = "#1F5FA8", "#B3261E"

DPI = 150
"""Pixels per inch of a PNG; letters of 9 points are 19 pixels high."""

SUFFIXES = (".png", ".svg", ".pdf")
"""File formats of figures."""

_LETTERS_PER_INCH = 15.5
"""Of the caption, 7.5 points high."""

_PAGE_COLOURS: Mapping[str, str] = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    BLUE: "var(--blue)",
    RED: "var(--red)",
    "#FFFFFF": "var(--paper)",
}
"""Colours that follow the light or dark theme of a page."""


def make_figure(width_in: float, height_in: float, *, title: str = "", caption: str = "") -> Figure:
    """Make an empty figure of this size in inches, its title above and its caption below.

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
    # Notebooks draw figures of pyplot alone unless they have this method.
    cast(Any, figure)._repr_png_ = partial(render_figure, figure)
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.07, h_pad=0.09)
    letters = int(width_in * _LETTERS_PER_INCH)
    left: Any = {"x": 0.012, "ha": "left"}
    if title:
        text = textwrap.fill(escape_text(title), int(letters * 0.7))
        figure.suptitle(text, color=INK, fontsize=11, weight="bold", **left)
    if caption:
        text = textwrap.fill(escape_text(caption), letters)
        figure.supxlabel(text, color=SOFT, fontsize=7.5, **left)
    return figure


def make_axes(figure: Figure, *place: Any, grid: str = "", **settings: Any) -> Axes:
    """Add axes without a frame above and to the right; ``grid`` is ``x``, ``y``, ``both`` or empty."""
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
    """Label both axes, with units."""
    axes.set_xlabel(escape_text(x), fontsize=9, color=INK)
    axes.set_ylabel(escape_text(y), fontsize=9, color=INK)


def escape_text(text: object) -> str:
    """Escape dollar signs, between which matplotlib sets formulas, and replace unprintable characters.

    >>> escape_text("a$b$c")
    'a\\\\$b\\\\$c'
    """
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return shown.replace("$", r"\$")


def render_figure(figure: Figure, suffix: str = ".png") -> bytes:
    """Render the figure as a PNG, SVG or PDF file: the same bytes for the same figure, text as text.

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
        # A file name may hold letters that the font lacks; they are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format=kind[1:], dpi=DPI, metadata=stamp)
    return file.getvalue()


def write_figure(figure: Figure, file: str | Path) -> None:
    """Write the figure into a ``.png``, ``.svg`` or ``.pdf`` file, whole or not at all.

    Raises:
        ConfigError: another suffix.
    """
    path = Path(file)
    content = render_figure(figure, path.suffix)
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def has_matplotlib() -> bool:
    """Return whether figures can be drawn."""
    return find_spec("matplotlib") is not None


def figure_html(draw: Callable[..., Figure], *arguments: Any, description: str, **options: Any) -> str:
    """Draw a figure as part of an HTML page; empty where matplotlib is not installed.

    Args:
        draw: function that returns the figure, and its arguments.
        description: for people who cannot see it.
    """
    if not has_matplotlib():
        return ""
    figure = draw(*arguments, **options)
    figure.patch.set_alpha(0)
    svg = inline_svg(figure, description)
    for colour, variable in _PAGE_COLOURS.items():
        svg = re.sub(re.escape(colour), variable, svg, flags=re.IGNORECASE)
    return svg


def inline_svg(figure: Figure, description: str) -> str:
    """Return the figure as inline SVG in a ``figure`` element, in its own colours on white."""
    text = render_figure(figure, ".svg").decode()
    svg = text[text.index("<svg") :].rstrip()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    # Names of groups repeat in the next figure of the page; only those that are referred to are kept.
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = svg.replace("xlink:href", "href")
    box = re.search(r'viewBox="[^"]*"', svg)
    start = (
        f'<svg {box[0] if box else ""} style="max-width:{round(figure.get_figwidth() * 96)}px" role="img" '
        f'aria-label="{escape(description)}">'
    )
    return f'<figure class="wide">{start}{svg[svg.index(">") + 1 :]}</figure>'
