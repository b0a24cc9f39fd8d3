"""Which system is better, and is the difference more than luck?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emovox.errors import ConfigError
from emovox.reports.figures.canvas import INK, SOFT, label_axes, panel, plain, sheet
from emovox.reports.figures.words import section_of
from emovox.reports.text import MISSING, signed, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["System", "comparison_figure", "comparison_systems"]

_BLUE, _RED = "#1F5FA8", "#B3261E"


@dataclass(frozen=True, slots=True)
class System:
    """What is known of one system; scores are fractions."""

    name: str
    uar: float
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    """UAR less that of the reference, on the same clips; ``None`` where there is no such figure."""
    p: float | None = None
    """Two-sided, paired over speakers; ``None`` with too few of them."""
    is_reference: bool = False
    """The one that the others are compared with: it was chosen, or named first."""


def comparison_systems(
    document: Mapping[str, Any], protocol: str | None = None
) -> tuple[list[System], str, str]:
    """Systems, title and caption of one protocol (the first, unless named) of `emovox compare`'s document.

    Raises:
        ConfigError: no comparison, no such protocol, or every system failed.
    """
    found = {one["protocol"]: one for one in section_of(document, "protocols", "comparison")}
    name = protocol or next(iter(found), "")
    if name not in found:
        raise ConfigError(f"no protocol {name!r} in this comparison; there are {', '.join(found)}")
    one, data = found[name], document["data"]
    systems = [_system(row, row["features"], one["chosen"]) for row in one["systems"] if not row["error"]]
    if not systems:
        raise ConfigError(f"every system of {name!r} failed; there is nothing to draw")
    clips = f"{data['n_clips']} clips of {data['n_speakers']} speakers, {len(data['emotions'])} emotions"
    caption = (
        f"{clips}; stamp: {one['stamp']}. Ring: chosen on validation speakers, before the test was opened. "
        "The difference is against it; p: two-sided, paired over speakers, not corrected for the number of "
        "systems."
    )
    return systems, f"Systems on {', '.join(data['corpora'])}, protocol {name}", caption


def _system(row: Mapping[str, Any], features: str, chosen: Mapping[str, Any]) -> System:
    test, against = row["test"], row["against_chosen"] or {}
    mine = (features, row["model"]) == (chosen["features"], chosen["model"])
    return System(
        f"{row['model']} on {features}",
        test["uar"],
        test["low"],
        test["high"],
        None if mine else against.get("value"),
        against.get("p"),
        is_reference=mine,
    )


def comparison_figure(systems: Sequence[System], *, title: str, caption: str = "") -> Figure:
    """UAR of each system with its interval, best first; beside it the difference and its significance.

    Raises:
        ConfigError: there is none.
        MissingExtraError: matplotlib is not installed.
    """
    if not systems:
        raise ConfigError("there is no system to draw; expected at least one")
    rows = sorted(systems, key=lambda one: -one.uar)
    ranged = any(one.low is not None for one in rows)
    lines = "Lines: 95 % intervals over speakers. " if ranged else "Too few speakers for intervals. "
    figure = sheet(8.6, 1.9 + 0.31 * len(rows), title=title, caption=lines + caption)
    axes = panel(figure, grid="x")
    for place, one in enumerate(rows):
        _range(axes, place, one)
    _columns(axes, rows)
    axes.set_yticks(range(len(rows)), [plain(one.name) for one in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.06)
    label_axes(axes, "UAR, %", "")
    return figure


def _range(axes: Axes, place: int, one: System) -> None:
    tone = _RED if one.is_reference else _BLUE
    if one.low is not None and one.high is not None:
        axes.plot([100 * one.low, 100 * one.high], [place, place], color=tone, linewidth=2)
    axes.plot(
        [100 * one.uar],
        [place],
        marker="o",
        markersize=7,
        color=tone,
        markerfacecolor="white" if one.is_reference else tone,
        markeredgewidth=2,
    )


def _columns(axes: Axes, rows: Sequence[System]) -> None:
    """Three columns of figures to the right of the axes."""
    heads = ("UAR, %", "difference", "p")
    cells = [(span(one.uar, one.low, one.high), signed(one.difference), _p(one.p)) for one in rows]
    for place, words in enumerate((heads, *cells), start=-1):
        for offset, text in zip((8, 122, 176), words, strict=True):
            axes.annotate(
                text,
                (1, max(place, -0.6)) if place >= 0 else (1, 1),
                xycoords=("axes fraction", "data") if place >= 0 else "axes fraction",
                xytext=(offset, 0 if place >= 0 else 3),
                textcoords="offset points",
                va="center" if place >= 0 else "bottom",
                fontsize=8.5,
                color=INK if place >= 0 else SOFT,
            )


def _p(value: float | None) -> str:
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
