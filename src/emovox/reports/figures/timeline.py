"""Which emotion was expressed when, in a recording of any length?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emovox.errors import ConfigError
from emovox.reports.colours import NONE, colour
from emovox.reports.figures.canvas import label_axes, panel, plain, sheet
from emovox.results import Segment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["timeline_figure"]

_WIDTH_IN, _LANE_IN = 9.0, 0.34
_UNSURE = "not sure"
_LEAST_SHARE = 0.003
"""Of the width that a stretch is drawn, however short it is."""


def timeline_figure(
    segments: Sequence[Segment], *, duration_s: float, title: str = "Expressed emotion", caption: str = ""
) -> Figure:
    """The segments as bars along the time, a lane an emotion; the paler, the less confident.

    Args:
        segments: of `Recognizer.timeline`, of one channel.
        duration_s: of the recording.

    Raises:
        ConfigError: no segments, or one that ends after the recording.
        MissingExtraError: matplotlib is not installed.
    """
    if not segments or max(one.end_s for one in segments) > duration_s + 1:
        raise ConfigError(f"got {len(segments)} segments in {duration_s:g} s; expected some, inside of it")
    lanes = _lanes(segments)
    figure = sheet(_WIDTH_IN, 1.5 + _LANE_IN * len(lanes), title=title, caption=caption)
    axes: Any = panel(figure, grid="x")
    unit_s, unit = (1.0, "s") if duration_s < 120 else (60.0, "min")
    least_s = _LEAST_SHARE * duration_s
    for one in segments:
        axes.barh(
            lanes.index(one.label or _UNSURE),
            max(one.duration_s, least_s) / unit_s,
            left=one.start_s / unit_s,
            height=0.8,
            color=colour(one.label) if one.label else NONE,
            alpha=0.35 + 0.65 * min(one.confidence, 1.0),
            linewidth=0,
        )
    axes.set_yticks(range(len(lanes)), [plain(name) for name in lanes])
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_xlim(0, duration_s / unit_s)
    label_axes(axes, f"time, {unit}", "")
    return figure


def _lanes(segments: Sequence[Segment]) -> list[str]:
    """The emotions, the one that lasts longest first; what has no label is last."""
    seconds: dict[str, float] = {}
    for one in segments:
        if one.label is not None:
            seconds[one.label] = seconds.get(one.label, 0.0) + one.duration_s
    lanes = sorted(seconds, key=lambda name: -seconds[name])
    return [*lanes, _UNSURE] if any(one.label is None for one in segments) else lanes
