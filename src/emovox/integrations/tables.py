"""Predictions as columns: of a pandas table of files, and of a Hugging Face dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emovox.errors import ConfigError, EmovoxError
from emovox.inference.options import PredictOptions
from emovox.inference.recognizer import load
from emovox.results import Prediction

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EmotionMap", "predict_table"]


def predict_table(
    frame: pd.DataFrame,
    column: str = "file",
    *,
    model: str | os.PathLike[str] = "default",
    labels: Iterable[str] | str | None = None,
    root: str | os.PathLike[str] | None = None,
    prefix: str = "",
    workers: int = 1,
) -> pd.DataFrame:
    """Predict the recordings of a table; return a copy of it with more columns.

    They are those of ``emovox predict --format csv``: ``label``, ``reason``, ``confidence``,
    ``<label>_prob`` for each label, ``<target>_value`` for each target, and ``error``. A file that cannot be
    read is a row with its error; a missing path, too.

    Args:
        frame: a row for each recording; its index is kept.
        column: has the paths.
        model: as for `emovox.load`.
        labels: only these; the scores are renormalised over them.
        root: folder of relative paths; the current one unless given.
        prefix: before the names of the new columns.
        workers: processes.

    Raises:
        ConfigError: there is no such column, or a new column has the name of an old one.
        LabelError, BundleError: as `emovox.load` and `Recognizer.predict`.
    """
    if column not in frame.columns:
        raise ConfigError(f"the table has no column {column!r}; it has {', '.join(map(str, frame.columns))}")
    recognizer = load(model)
    known = recognizer.check(PredictOptions(labels=labels)).labels
    names, targets = tuple(known or ()), recognizer.targets
    new = [f"{prefix}{name}" for name in _column_names(names, targets)]
    if taken := [name for name in new if name in frame.columns]:
        raise ConfigError(f"the table has a column {taken[0]!r} already; choose a prefix for the new ones")
    folder = Path() if root is None else Path(root)
    paths = [folder / path if isinstance(path, (str, os.PathLike)) else None for path in frame[column]]
    predictions = recognizer.predict_many(
        [path for path in paths if path is not None], labels=names, workers=workers
    )
    rows = [_missing(column) if path is None else next(predictions) for path in paths]
    cells = [_to_cells(row, names, targets) for row in rows]
    found = frame.copy()
    for key, name in zip(_column_names(names, targets), new, strict=True):
        found[name] = [row[key] for row in cells]
    return found


class EmotionMap:
    """A function for ``Dataset.map`` of Hugging Face's `datasets`, also with ``batched=True``.

    It adds the columns of `predict_table`. The column of sound holds what `datasets.Audio` gives: decoded
    (``array`` and ``sampling_rate``, or a decoder), undecoded (``path`` and ``bytes``), or paths. Undecoded
    is quicker: ``dataset.cast_column("audio", Audio(decode=False))``. It can be pickled, for ``num_proc``.

    Args:
        model: as for `emovox.load`.
        column: of the sound.
        labels: only these.
        prefix: before the names of the new columns.

    >>> dataset.map(EmotionMap(labels="angry,happy,neutral,sad"))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "default",
        *,
        column: str = "audio",
        labels: Iterable[str] | str | None = None,
        prefix: str = "",
    ) -> None:
        self._recognizer = load(model)
        self.column, self.prefix = column, prefix
        self.labels = tuple(self._recognizer.check(PredictOptions(labels=labels)).labels or ())
        self.targets = self._recognizer.targets

    def __call__(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """Return the new columns of an example, or of a batch: then each is a list."""
        if self.column not in example:
            raise ConfigError(f"there is no column {self.column!r}; there are {', '.join(map(str, example))}")
        sound = example[self.column]
        if not isinstance(sound, list):
            return self._rename(_to_cells(self._predict(sound), self.labels, self.targets))
        rows = [_to_cells(self._predict(one), self.labels, self.targets) for one in sound]
        names = _column_names(self.labels, self.targets)
        return self._rename({name: [row[name] for row in rows] for name in names})

    def _rename(self, cells: dict[str, Any]) -> dict[str, Any]:
        return {f"{self.prefix}{name}": value for name, value in cells.items()}

    def _predict(self, sound: Any) -> Prediction:
        try:
            if sound is None:
                return _missing(self.column)
            if isinstance(sound, (str, os.PathLike)):
                return self._recognizer.predict(sound, labels=self.labels)
            if isinstance(sound, Mapping) and "array" not in sound:
                content = sound.get("bytes")
                return self._recognizer.predict(
                    sound["path"] if content is None else content, labels=self.labels
                )
            # Decoders of datasets 4 and later answer to these keys as the older dictionaries do.
            return self._recognizer.predict(
                np.asarray(sound["array"]), sample_rate=int(sound["sampling_rate"]), labels=self.labels
            )
        except EmovoxError as error:
            return Prediction(None, error=str(error))


def _missing(column: str) -> Prediction:
    return Prediction(None, error=f"no recording: the cell of {column!r} is empty")


def _column_names(labels: tuple[str, ...], targets: tuple[str, ...]) -> list[str]:
    probabilities = [f"{label}_prob" for label in labels]
    return ["label", "reason", "confidence", *probabilities, *(f"{name}_value" for name in targets), "error"]


def _to_cells(row: Prediction, labels: tuple[str, ...], targets: tuple[str, ...]) -> dict[str, Any]:
    scores = {f"{label}_prob": row.scores.get(label) for label in labels}
    return {
        "label": row.label,
        "reason": row.reason,
        "confidence": row.confidence,
        **scores,
        **{f"{name}_value": (row.values or {}).get(name) for name in targets},
        "error": row.error,
    }
