"""What the pages of a run say of how its net was trained, out of ``document["training"]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emovox.reports.html import escape, table
from emovox.reports.svg import Plot
from emovox.reports.text import MISSING, percent

__all__ = ["training_html", "training_told"]

Part = Mapping[str, Any]
"""``kept``, the number of an epoch, and ``epochs``: rows as in ``curves.csv``."""


def training_told(part: Part) -> str:
    """A sentence."""
    kept = _kept(part)
    reached = "" if kept["uar"] is None else f", UAR {percent(kept['uar'])} % on validation clips"
    return f"{len(part['epochs'])} epochs; the weights of epoch {part['kept']} are kept{reached}."


def training_html(part: Part) -> Iterator[str]:
    """The curves, and the rows they are drawn from."""
    yield f'<p class="soft">{escape(training_told(part))}</p>'
    drawn = [_losses(part), _uar(part), _learning_rate(part)]
    yield f'<div class="pair">{"".join(figure for figure in drawn if figure)}</div>'
    heads = ["epoch", "loss", "validation loss", "validation UAR %", "learning rate", "seconds"]
    rows = [
        [
            row["number"],
            _figure(row["loss"], ".4f"),
            _figure(row["validation_loss"], ".4f"),
            percent(row["uar"]),
            _figure(row["learning_rate"], ".2e"),
            _figure(row["seconds"], ".1f"),
        ]
        for row in part["epochs"]
    ]
    yield f"<details><summary>Each epoch</summary>{table(heads, rows)}</details>"


def _losses(part: Part) -> str:
    taught, held = _points(part, "loss"), _points(part, "validation_loss")
    if not taught:
        return ""
    plot = _plot(part, "loss", [value for _, value in (*taught, *held)])
    plot.curve(taught)
    if held:
        plot.curve(held, "second")
    _mark(plot, part, "validation_loss" if held else "loss")
    caption = "Loss of the training, as it was taught: smoothed, mixed, masked."
    caption += " Broken: plain cross entropy on validation clips." if held else ""
    return _figured(plot.svg("Loss along the epochs"), caption)


def _uar(part: Part) -> str:
    points = _points(part, "uar")
    if not points:
        return ""
    plot = _plot(part, "UAR, %", [100 * value for _, value in points])
    plot.curve([(epoch, 100 * value) for epoch, value in points])
    kept = _kept(part)
    told = f"epoch {part['kept']}: {percent(kept['uar'])} %"
    plot.dots([(part["kept"], 100 * kept["uar"], 5.0, told)], "mark")
    return _figured(plot.svg("UAR on validation clips along the epochs"), "UAR on validation clips.")


def _learning_rate(part: Part) -> str:
    points = [(epoch, 1e4 * value) for epoch, value in _points(part, "learning_rate")]
    plot = _plot(part, "learning rate, 1e-4", [value for _, value in points])
    plot.curve(points)
    return _figured(plot.svg("Learning rate along the epochs"), "Learning rate at the end of each epoch.")


def _plot(part: Part, title: str, values: Sequence[float]) -> Plot:
    """An empty field for values from 0 up, along the epochs."""
    top = 1.05 * max(*values, 1e-9)
    last = max(2.0, len(part["epochs"]))
    return Plot(
        "epoch", title, height=260, x_range=(1.0, last), y_range=(0.0, top), x_unit=1, y_unit=1, x_whole=True
    )


def _mark(plot: Plot, part: Part, name: str) -> None:
    """A ring where the kept epoch is."""
    value = _kept(part)[name]
    if value is not None:
        plot.dots([(part["kept"], value, 5.0, f"epoch {part['kept']}, kept: {value:.3f}")], "mark")


def _kept(part: Part) -> Mapping[str, Any]:
    row: Mapping[str, Any] = part["epochs"][part["kept"] - 1]
    return row


def _points(part: Part, name: str) -> list[tuple[float, float]]:
    return [(row["number"], row[name]) for row in part["epochs"] if row[name] is not None]


def _figured(svg: str, caption: str) -> str:
    ring = " The ring is the epoch that is kept." if "mark" in svg else ""
    return f"<figure>{svg}<figcaption>{escape(caption + ring)}</figcaption></figure>"


def _figure(value: float | None, form: str) -> str:
    return MISSING if value is None else format(value, form)
