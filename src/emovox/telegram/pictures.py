"""What picture goes with an answer? A radar of a short recording, the timeline of a long one."""

from __future__ import annotations

from emovox.disclaimer import SHORT
from emovox.telegram.judging import Heard

__all__ = ["picture"]


def picture(heard: Heard) -> bytes | None:
    """A PNG; ``None`` when there is nothing to draw.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    from emovox.reports.figures import figure_bytes, radar_figure, timeline_figure

    said = heard.prediction
    if said is None:
        if not heard.segments:
            return None
        return figure_bytes(timeline_figure(heard.segments, duration_s=heard.duration_s, caption=SHORT))
    if len(said.scores) < 3:
        return None
    return figure_bytes(radar_figure([said]))
