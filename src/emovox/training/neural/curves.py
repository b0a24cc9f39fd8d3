"""Losses and scores of each epoch, and their table ``curves.csv``. Needs no PyTorch."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from emovox._files import atomic_path

__all__ = ["CHECKPOINT", "CURVES", "Epoch", "find_score", "read_curves", "write_curves"]

CHECKPOINT, CURVES = "last.ckpt", "curves.csv"


@dataclass(frozen=True, slots=True)
class Epoch:
    """Results of one epoch."""

    number: int
    """From 1."""
    of: int
    """Epochs of the whole training, at most."""
    loss: float
    """Mean over the training batches: smoothed, mixed and masked, as it was minimised."""
    validation_loss: float | None
    """Plain cross entropy; ``None`` without validation clips."""
    uar: float | None
    """On validation clips, 0 to 1."""
    learning_rate: float
    """At the end of the epoch."""
    seconds: float
    ccc: float | None = None
    """Mean over the targets on validation clips; ``None`` without targets or where none is defined."""

    @property
    def left_s(self) -> float:
        """Estimated seconds of the remaining epochs."""
        return self.seconds * (self.of - self.number)

    def line(self) -> str:
        """Return a line to print: ``epoch 3/40, loss 1.234, UAR 45.6 % on validation, 1:05 left``."""
        minutes, seconds = divmod(round(self.left_s), 60)
        scores = [] if self.uar is None else [f"UAR {self.uar:.1%}"]
        scores += [] if self.ccc is None else [f"CCC {self.ccc:.3f}"]
        reached = f", {', '.join(scores)} on validation" if scores else ""
        return f"epoch {self.number}/{self.of}, loss {self.loss:.3f}{reached}, {minutes}:{seconds:02} left"


def find_score(uar: float | None, ccc: float | None) -> float | None:
    """Return what chooses the epoch: UAR, mean CCC, or with both their mean; ``None`` without validation."""
    known = [score for score in (uar, ccc) if score is not None]
    return sum(known) / len(known) if known else None


def write_curves(folder: Path, epochs: Sequence[Epoch]) -> None:
    """Write ``curves.csv``, one row per epoch; missing values are empty."""
    with atomic_path(folder / CURVES) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        names = [field.name for field in fields(Epoch)]
        if all(epoch.ccc is None for epoch in epochs):  # as older versions wrote it
            names.remove("ccc")
        table = csv.DictWriter(stream, names, extrasaction="ignore")
        table.writeheader()
        table.writerows(asdict(epoch) for epoch in epochs)


def read_curves(folder: Path) -> dict[str, Any]:
    """Read ``curves.csv`` as plain types, with the number of the epoch that is ``kept``.

    What is missing, or is no number in JSON, is ``None``.
    """
    with (folder / CURVES).open(encoding="utf-8", newline="") as stream:
        rows = [_parse_row(row) for row in csv.DictReader(stream)]
    scores = [find_score(row["uar"], row.get("ccc")) for row in rows]
    known = [score for score in scores if score is not None]
    # The first of equals, as the trainer keeps it.
    kept = rows[scores.index(max(known))] if known else rows[-1]
    return {"kept": kept["number"], "epochs": rows}


def _parse_row(row: Mapping[str, str]) -> dict[str, Any]:
    numbers = {name: float(text) if text else math.nan for name, text in row.items()}
    plain: dict[str, Any] = {name: n if math.isfinite(n) else None for name, n in numbers.items()}
    return plain | {name: int(row[name]) for name in ("number", "of")}
