"""Continuous targets of clips, such as arousal: columns of a manifest that hold numbers.

A target is any column of a table that has no other meaning (``Utterance.extra``), or one of the fields
``age`` and ``intensity``. An empty cell, ``nan`` or ``NA`` is a missing value.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from emovox._arrays import Doubles
from emovox.datasets.cells import MISSING, parse_value
from emovox.datasets.manifest import Manifest, Utterance
from emovox.errors import ManifestError, did_you_mean

__all__ = ["UNITS", "check_targets", "has_values", "read_targets"]

UNITS: Mapping[str, str] = {"age": "years"}
"""Units of the fields of an utterance."""


def has_values(manifest: Manifest, name: str) -> bool:
    """Return whether a clip has a cell of this target that is not empty."""
    return any((_find_cell(u, name) or "").strip().lower() not in MISSING for u in manifest)


def read_targets(
    manifest: Manifest, names: Sequence[str], words: Mapping[str, float] | None = None
) -> Doubles:
    """Read the values of targets.

    Args:
        names: of the columns.
        words: words that stand for numbers in their cells, such as ``{"normal": 0, "strong": 1}``.

    Returns:
        ``(n_clips, n_targets)``; nan is missing.

    Raises:
        ManifestError: no clip has such a column, or a cell is no number; the message names clip, column and
            value.
    """
    values = np.full((len(manifest), len(names)), np.nan)
    for column, name in enumerate(names):
        for row, u in enumerate(manifest):
            text = _find_cell(u, name)
            if text is None:
                continue
            try:
                values[row, column] = parse_value(text, words)
            except ValueError:
                known = f", or one of the words {', '.join(words)}" if words else ""
                example = "" if words else "; to give words a number:  target_words='{low: 0, high: 1}'"
                raise ManifestError(
                    f"clip {u.id!r}, column {name!r}: {text!r} is not a number; expected one such as 0.5, an "
                    f"empty cell or nan{known}; correct the cell{example}"
                ) from None
        if np.isnan(values[:, column]).all():
            raise ManifestError(
                f"no clip has a value of {name!r}; {did_you_mean(name, _list_columns(manifest))}: name a "
                "column of the data that holds numbers"
            )
    return values


def check_targets(values: Doubles, names: Sequence[str], part: str) -> None:
    """Check that each target varies among the clips of a part.

    Raises:
        ManifestError: a target has no value in it, or the same for all clips.
    """
    for name, column in zip(names, values.T, strict=True):
        known = column[~np.isnan(column)]
        if len(known) < 2 or (known == known[0]).all():
            what = (
                f"is {known[0]:g} for all {len(known)} clips with a value" if len(known) else "has no value"
            )
            raise ManifestError(f"the target {name!r} {what} in the {part} part; expected values that differ")


def _find_cell(u: Utterance, name: str) -> str | None:
    if name in u.extra:
        return u.extra[name]
    if name == "age":
        return None if u.age is None else str(u.age)
    return u.intensity if name == "intensity" else None


def _list_columns(manifest: Manifest) -> list[str]:
    """Columns with numbers in most of their cells, the commonest first."""
    counts: Counter[str] = Counter()
    for u in manifest:
        for name in (*u.extra, "age", "intensity"):
            try:
                counts[name] += not math.isnan(parse_value(_find_cell(u, name) or ""))
            except ValueError:
                counts[name] -= 1
    return [name for name, n in counts.most_common(12) if n > 0]
