"""True against predicted values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from emovox.reports.figures.canvas import BLUE, RED, SOFT, label_axes, make_axes, make_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_values"]

_MAX_LEVELS = 8
"""True values of which each gets a box, as the steps of a questionnaire do; more are a scatter plot."""


def draw_values(row: Mapping[str, Any], *, title: str = "", caption: str = "") -> Figure:
    """Draw the predicted values of one target over the true ones.

    A target with few different values, such as two intensities, has a box for each: median, quartiles, 5th
    and 95th percentile.

    Args:
        row: of the key ``values`` in the document of an evaluation.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    true, predicted = np.array(row["points"], np.float64).T
    figure = make_figure(6.2, 4.6, title=title, caption=caption)
    axes: Any = make_axes(figure, grid="both")
    levels = np.unique(true)
    if len(levels) <= _MAX_LEVELS:
        groups = [predicted[true == level] for level in levels]
        width = 0.5 * (np.diff(levels).min() if len(levels) > 1 else 1.0)
        line = {"color": BLUE, "linewidth": 1.4}
        axes.boxplot(
            groups,
            positions=levels,
            widths=width,
            whis=(5, 95),
            boxprops=line,
            whiskerprops=line,
            capprops=line,
            medianprops={"color": RED, "linewidth": 2},
            flierprops={"marker": ".", "markersize": 3, "markeredgecolor": BLUE, "alpha": 0.5},
            manage_ticks=False,
        )
        axes.set_xticks(
            levels, [f"{level:g}\n{len(one)} clips" for level, one in zip(levels, groups, strict=True)]
        )
        axes.set_xlim(levels[0] - width, levels[-1] + width)
    else:
        alpha = float(np.clip(40 / np.sqrt(len(true)) / 3, 0.15, 0.8))
        axes.plot(true, predicted, "o", color=BLUE, markersize=4, markeredgewidth=0, alpha=alpha)
    low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    # Where truth and prediction are equal.
    axes.plot([low, high], [low, high], color=SOFT, linestyle="--", linewidth=1.2)
    unit = f", {row['unit']}" if row["unit"] else ""
    label_axes(axes, f"true {row['target']}{unit}", f"predicted {row['target']}{unit}")
    return figure
