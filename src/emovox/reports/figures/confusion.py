"""Which emotion was taken for which?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emovox.errors import ConfigError
from emovox.reports.figures.canvas import INK, SOFT, label_axes, panel, plain, sheet
from emovox.reports.figures.words import evaluation_caption, evaluation_title, section_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["confusion_figure"]

_CELL_IN = 0.66
_DARK = 0.55
"""Share of a row from which the ground is so dark that letters have to be white."""


def confusion_figure(document: Mapping[str, Any], *, shares: bool = False) -> Figure:
    """The confusion matrix of an evaluation (`emovox.evaluation.scorecard`): rows true, columns answered.

    Args:
        shares: per cent of the row instead of clips. The ground shows the share in both.

    Raises:
        ConfigError: no evaluation, or no clip in it.
        MissingExtraError: matplotlib is not installed.
    """
    confusion = section_of(document, "confusion", "evaluation")
    true, answered = confusion["true"], confusion["answered"]
    counts = np.asarray(confusion["counts"], np.float64).reshape(len(true), len(answered))
    if not counts.size or not counts.sum():
        raise ConfigError("the confusion matrix is empty: no clip was judged")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    width, height = 2.6 + _CELL_IN * len(answered), 2.5 + _CELL_IN * len(true)
    what = "per cent of each row" if shares else "clips"
    figure = sheet(
        max(width, 5.6),
        height,
        title=f"Confusion: {evaluation_title(document)}",
        caption=f"Numbers: {what}; the deeper the colour, the larger the share of the row. "
        f"{evaluation_caption(document)}",
    )
    axes = panel(figure)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1.15, aspect="equal")
    _cells(axes, 100 * share if shares else counts, share, true, answered)
    _names(axes, true, answered, counts.sum(axis=1))
    return figure


def _cells(
    axes: Axes, values: NDArray[Any], share: NDArray[Any], true: Sequence[str], answered: Sequence[str]
) -> None:
    for (row, column), value in np.ndenumerate(values):
        axes.text(
            column,
            row,
            f"{value:.0f}" if value else "·",
            ha="center",
            va="center",
            fontsize=10,
            weight="bold" if true[row] == answered[column] else "normal",
            color="white" if share[row, column] > _DARK else INK,
        )


def _names(axes: Axes, true: Sequence[str], answered: Sequence[str], n: NDArray[Any]) -> None:
    label_axes(axes, "answered", "expressed (true)")
    long = max(map(len, answered)) > 7
    axes.set_xticks(
        range(len(answered)),
        [plain(name) for name in answered],
        rotation=40 if long else 0,
        ha="right" if long else "center",
        rotation_mode="anchor",
        fontsize=9,
    )
    if not long:
        axes.tick_params(axis="x", pad=9)
    axes.set_yticks(range(len(true)), [plain(name) for name in true], fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(answered) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(true) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    for row, whole in enumerate(n):
        axes.text(
            len(answered) - 0.35, row, f"of {whole:.0f}", ha="left", va="center", fontsize=8, color=SOFT
        )
