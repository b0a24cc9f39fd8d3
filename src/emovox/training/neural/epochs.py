"""What became of each epoch, and the curves of it as a table."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from emovox._files import replaced

__all__ = ["CHECKPOINT", "CURVES", "Epoch", "curves_document", "write_curves"]

CHECKPOINT, CURVES = "last.ckpt", "curves.csv"


@dataclass(frozen=True, slots=True)
class Epoch:
    """What became of one epoch."""

    number: int
    """From 1."""
    of: int
    loss: float
    """Mean over the training's batches, as they were taught: smoothed, mixed, masked."""
    validation_loss: float | None
    """Plain cross entropy; ``None`` without validation clips."""
    uar: float | None
    """On validation clips, 0 to 1."""
    learning_rate: float
    """At its end."""
    seconds: float

    @property
    def left_s(self) -> float:
        """What the epochs to come may take."""
        return self.seconds * (self.of - self.number)

    def line(self) -> str:
        """For people: ``epoch 3/40, loss 1.234, UAR 45.6 %, 1:05 left``."""
        minutes, seconds = divmod(round(self.left_s), 60)
        uar = "" if self.uar is None else f", UAR {self.uar:.1%} on validation"
        return f"epoch {self.number}/{self.of}, loss {self.loss:.3f}{uar}, {minutes}:{seconds:02} left"


def write_curves(folder: Path, epochs: Sequence[Epoch]) -> None:
    """A row an epoch in ``curves.csv``; what is missing is empty."""
    with replaced(folder / CURVES) as half, half.open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, [one.name for one in fields(Epoch)])
        table.writeheader()
        table.writerows(asdict(epoch) for epoch in epochs)


def curves_document(folder: Path) -> dict[str, Any]:
    """The rows of ``curves.csv`` in plain types, and the number of the epoch that is ``kept``.

    What is missing, or no number that JSON has, is ``None``.
    """
    with (folder / CURVES).open(encoding="utf-8", newline="") as stream:
        rows = [_plain(row) for row in csv.DictReader(stream)]
    best = max(rows, key=lambda row: row["uar"] or 0.0)  # the first of equals, as the trainer keeps it
    kept = rows[-1] if all(row["uar"] is None for row in rows) else best
    return {"kept": kept["number"], "epochs": rows}


def _plain(row: Mapping[str, str]) -> dict[str, Any]:
    numbers = {name: float(text) if text else math.nan for name, text in row.items()}
    plain: dict[str, Any] = {name: n if math.isfinite(n) else None for name, n in numbers.items()}
    return plain | {name: int(row[name]) for name in ("number", "of")}
