"""One colour and one marker per emotion, the same in all figures.

The nine colours were found by numerical optimisation: any two of them are at least 30 apart (CIE76) for
normal sight and for the three kinds of colour blindness (simulated as by Machado, Oliveira and Fernandes,
2009), and each has a contrast of at least 2.3 with white. Markers tell emotions apart without colour, for
example in print.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from emovox.labels import EXTRAS

__all__ = ["COLOURS", "DARK", "MARKERS", "NONE", "colour", "dark_colour", "marker"]

COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "neutral": "#707070",
        "calm": "#596CFF",
        "happy": "#E39B00",
        "sad": "#240E97",
        "angry": "#9C1200",
        "fear": "#CD90E0",
        "disgust": "#17BF70",
        "surprise": "#531D5C",
        "boredom": "#000000",
    }
)
"""Emotion -> colour."""

DARK: Mapping[str, str] = MappingProxyType(
    {
        "neutral": "#706863",
        "calm": "#535BE1",
        "happy": "#F4951B",
        "sad": "#AF9CFF",
        "angry": "#C5311F",
        "fear": "#A3439C",
        "disgust": "#10DD83",
        "surprise": "#D69CC4",
        "boredom": "#FFFDF4",
    }
)
"""Emotion -> colour on a dark page, as in the server's ``style.css``."""

MARKERS: Mapping[str, str] = MappingProxyType(
    dict(zip(COLOURS, ("o", "h", "^", "v", "s", "D", "P", "*", "X"), strict=True))
)
"""Emotion -> marker, in matplotlib's letters."""

NONE = "#C8CDD2"
"""Colour of no label and of no speech."""

_EXTRA_COLOURS = ("#A6761D", "#66A6D9", "#8C564B", "#9AA84F")
_EXTRA_MARKERS = ("<", ">", "p", "d")


def colour(label: str | None) -> str:
    """Return the colour of an emotion; rare emotions share four colours, other text is pale grey.

    >>> colour("happy"), colour(None)
    ('#E39B00', '#C8CDD2')
    """
    extra = _EXTRA_COLOURS[EXTRAS.index(label) % len(_EXTRA_COLOURS)] if label in EXTRAS else NONE
    return COLOURS.get(str(label), extra)


def dark_colour(label: str | None) -> str:
    """Return the colour of an emotion on a dark page; other text has the colour of `colour`."""
    return DARK.get(str(label), "#4A525C" if colour(label) == NONE else colour(label))


def marker(label: str | None) -> str:
    """Return the marker of an emotion; rare emotions share four."""
    extra = _EXTRA_MARKERS[EXTRAS.index(label) % len(_EXTRA_MARKERS)] if label in EXTRAS else "."
    return MARKERS.get(str(label), extra)
