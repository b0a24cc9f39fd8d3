"""Which features matter most?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from emovox.errors import ConfigError
from emovox.reports.figures.canvas import INK, label_axes, panel, plain, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["importance_figure"]


def importance_figure(
    scores: Mapping[str, float], *, n: int = 20, unit: str = "importance", title: str, caption: str = ""
) -> Figure:
    """The ``n`` columns of the highest scores, best first; how many there are in all is told.

    Args:
        scores: column -> score; nan where there is none.
        unit: what a score is.

    Raises:
        ConfigError: no score is a number, or ``n`` is below 1.
        MissingExtraError: matplotlib is not installed.
    """
    known = {name: score for name, score in scores.items() if math.isfinite(score)}
    if not known or n < 1:
        raise ConfigError(
            f"{len(known)} of {len(scores)} columns have a score, and {n} are asked for; expected 1 or more"
        )
    best = sorted(known.items(), key=lambda pair: -pair[1])[:n]
    told = f"The {len(best)} highest of {len(scores)} columns. " if len(best) < len(scores) else ""
    lost = f"{len(scores) - len(known)} have no score. " if len(known) < len(scores) else ""
    figure = sheet(7.6, 1.6 + 0.26 * len(best), title=title, caption=told + lost + caption)
    axes = panel(figure, grid="x")
    axes.barh(range(len(best)), [score for _, score in best], height=0.66, color="#1F5FA8", alpha=0.8)
    for place, (_, score) in enumerate(best):
        axes.annotate(
            f"{score:.3g}",
            (max(score, 0), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
        )
    axes.set_yticks(range(len(best)), [plain(name) for name, _ in best], fontsize=8.5)
    axes.set_ylim(len(best) - 0.4, -0.6)
    axes.margins(x=0.12)
    label_axes(axes, unit, "")
    return figure
