"""Confusion matrices of an evaluation, and of the systems of a cross-validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emovox._arrays import Doubles
from emovox.errors import ConfigError, did_you_mean
from emovox.reports.figures.canvas import INK, SOFT, escape_text, label_axes, make_axes, make_figure
from emovox.reports.text import percent, span, speakers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_confusion", "draw_system_confusions"]

_CELL_IN = 0.66
_DARK = 0.55
"""Share of a row above which the ground is so dark that the number is white."""


def draw_confusion(document: Mapping[str, Any], *, shares: bool = False) -> Figure:
    """Draw the confusion matrix of an evaluation: rows true, columns predicted.

    Args:
        document: as `emovox.evaluation.scorecard` makes it.
        shares: per cent of the row instead of clips. The colour shows the share in both.

    Raises:
        ConfigError: it is no evaluation, or has no clip.
        MissingExtraError: matplotlib is not installed.
    """
    if document.get("kind") != "evaluation":
        raise ConfigError(f"this document is of the kind {document.get('kind')!r}; expected 'evaluation'")
    confusion = document["confusion"]
    true, predicted = confusion["true"], confusion["answered"]
    counts = np.asarray(confusion["counts"], np.float64).reshape(len(true), len(predicted))
    if not counts.sum():
        raise ConfigError("the confusion matrix is empty: no clip was predicted")
    model, data, uar = document["model"], document["data"], document["scores"]["uar"]
    interval = "under ten speakers: no interval" if uar["low"] is None else "95 % interval over speakers"
    figure = make_figure(
        max(2.6 + _CELL_IN * len(predicted), 5.6),
        2.5 + _CELL_IN * len(true),
        title=(
            f"Confusion: {model['name']} {model['version']} on {', '.join(data['corpora'])}, "
            f"protocol {document['protocol']['name']}"
        ),
        caption=(
            f"Numbers: {'per cent of each row' if shares else 'clips'}; the deeper the colour, the larger "
            f"the share of the row. {data['n_clips']} clips of {speakers(data['n_speakers'])}, stamp: "
            f"{document['stamp']['stamp']}. UAR {span(uar['value'], uar['low'], uar['high'])} % ({interval})."
        ),
    )
    axes = make_axes(figure)
    _draw_matrix(axes, counts, true, predicted, shares=shares)
    label_axes(axes, "predicted", "expressed (true)")
    return figure


def draw_system_confusions(
    document: Mapping[str, Any],
    *,
    protocol: str | None = None,
    corpus: str | None = None,
    system: str | None = None,
    shares: bool = False,
) -> Figure:
    """Draw the confusion matrices of a cross-validation, one per system.

    Args:
        document: as `emovox.training.cross_validation` makes it.
        protocol: which one; the first by default.
        corpus: under which it was made, where several were.
        system: the name of one system; all by default.
        shares: per cent of the row instead of clips.

    Raises:
        ConfigError: it is no cross-validation, or there is no such protocol or system.
        MissingExtraError: matplotlib is not installed.
    """
    if "protocols" not in document:
        raise ConfigError(f"this document is of the kind {document.get('kind')!r}; expected 'comparison'")
    names = [one["protocol"] for one in document["protocols"]]
    name = protocol or next(iter(names), "")
    found = [
        one
        for one in document["protocols"]
        if one["protocol"] == name and corpus in (None, one.get("corpus"))
    ]
    if not found:
        raise ConfigError(f"no protocol {name!r} in this comparison; {did_you_mean(name, names)}")
    one = found[0]
    rows = {row["name"]: row for row in one["systems"] if not row["error"]}
    if system is not None and system not in rows:
        raise ConfigError(f"no system {system!r} under {name!r}; {did_you_mean(system, rows)}")
    shown = [rows[system]] if system is not None else list(rows.values())
    if not shown:
        raise ConfigError(f"every system of {name!r} failed; there is nothing to draw")
    labels = shown[0]["test"]["confusion"]["labels"]
    side = _CELL_IN * len(labels)
    n_columns = min(len(shown), 3)
    n_rows = math.ceil(len(shown) / n_columns)
    data = document["data"]
    figure = make_figure(
        max(1.2 + (side + 1.3) * n_columns, 5.6),
        1.7 + (side + 1.2) * n_rows,
        title=f"Confusion of systems on {one.get('corpus') or ', '.join(data['corpora'])}, protocol {name}",
        caption=(
            f"Rows true, columns predicted; numbers: {'per cent of each row' if shares else 'clips'}. "
            f"{data['n_clips']} clips of {speakers(data['n_speakers'])}; stamp: {one['stamp']}."
        ),
    )
    for place, row in enumerate(shown, start=1):
        axes = make_axes(figure, n_rows, n_columns, place)
        confusion = row["test"]["confusion"]
        counts = np.asarray(confusion["counts"], np.float64)
        kept = [k for k, line in enumerate(counts) if line.sum()]
        true = [confusion["labels"][k] for k in kept]
        _draw_matrix(axes, counts[kept], true, confusion["labels"], shares=shares)
        uar = percent(row["test"]["uar"])
        axes.set_title(escape_text(f"{row['name']}: UAR {uar} %"), fontsize=9.5, color=INK)
    return figure


def _draw_matrix(
    axes: Axes, counts: Doubles, true: Sequence[str], predicted: Sequence[str], *, shares: bool
) -> None:
    totals = counts.sum(axis=1)
    share = counts / np.maximum(totals[:, None], 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1.15, aspect="equal")
    for (row, column), value in np.ndenumerate(100 * share if shares else counts):
        axes.text(
            column,
            row,
            f"{value:.0f}" if value else "·",
            ha="center",
            va="center",
            fontsize=10,
            weight="bold" if true[row] == predicted[column] else "normal",
            color="white" if share[row, column] > _DARK else INK,
        )
    long = max(map(len, predicted)) > 7
    axes.set_xticks(
        range(len(predicted)),
        [escape_text(name) for name in predicted],
        rotation=40 if long else 0,
        ha="right" if long else "center",
        rotation_mode="anchor",
        fontsize=9,
    )
    if not long:
        axes.tick_params(axis="x", pad=9)
    axes.set_yticks(range(len(true)), [escape_text(name) for name in true], fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(predicted) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(true) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    for row, total in enumerate(totals):
        axes.text(
            len(predicted) - 0.35, row, f"of {total:.0f}", ha="left", va="center", fontsize=8, color=SOFT
        )
