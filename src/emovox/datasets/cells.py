"""Cells of tables: numbers, and shares of labels, such as those of raters who disagree."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from emovox.labels import is_known, normalize_label, sort_labels

__all__ = [
    "KEY",
    "LARGEST",
    "MISSING",
    "average_shares",
    "find_top_label",
    "format_shares",
    "is_soft",
    "normalize_shares",
    "parse_shares",
    "parse_value",
]

KEY = "label_shares"
"""Key of the shares in ``Utterance.extra``."""

MISSING = frozenset({"", "nan", "na", "n/a", "none", "null", "<na>"})
"""Cells that hold no value, in small letters."""

LARGEST = 1e9
"""No value is larger."""


def parse_value(text: str, words: Mapping[str, float] | None = None) -> float:
    """Return the number in a cell; nan where it is missing.

    Args:
        words: words that stand for numbers.

    Raises:
        ValueError: it is no number, or is not finite, or larger than `LARGEST`.
    """
    cell = text.strip()
    if words and cell in words:
        return float(words[cell])
    if cell.lower() in MISSING:
        return math.nan
    value = float(cell) if "_" not in cell else math.inf  # Python reads 1_0 as 10
    if not abs(value) <= LARGEST:
        raise ValueError(f"{text!r} is no number up to {LARGEST:g}")
    return value


def is_soft(text: str) -> bool:
    """Return whether a cell is a soft label: labels with weights, or one known emotion with its weight.

    A single label of one's own with a number, such as ``class:1``, is a plain label.
    """
    word, colon, number = text.rpartition(":")
    if not colon or "," in text:
        return bool(colon)
    try:
        float(number)
        return is_known(normalize_label(word))
    except ValueError:  # also LabelError
        return False


def parse_shares(text: str, translate: Callable[[str], str | None]) -> dict[str, float]:
    """Read a cell such as ``angry:.6,sad:.4`` as shares that sum to 1; a label may occur twice.

    Args:
        translate: the label that a word means; ``None``: it is none.

    Raises:
        ValueError: a part is no ``label:weight``, or the weights are not possible; the message says why.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        word, colon, number = part.rpartition(":")
        if not colon:
            raise ValueError(
                f"{part.strip()!r} of {text!r} has no weight; expected label:weight, such as angry:.6"
            )
        label = translate(word)
        if label is None:
            raise ValueError(f"{word.strip()!r} of {text!r} cannot be a label")
        try:
            weight = float(number)
        except ValueError:
            raise ValueError(
                f"{number.strip()!r} of {text!r} is not a number; expected a weight such as .6"
            ) from None
        weights[label] = weights.get(label, 0.0) + _check_weight(weight, text)
    return normalize_shares(weights, text)


def normalize_shares(weights: Mapping[str, float], text: str) -> dict[str, float]:
    """Return weights as shares that sum to 1, in the order of labels, without those of 0.

    Raises:
        ValueError: a weight is negative or not finite, or they sum to 0; ``text`` is what was given.
    """
    total = sum(_check_weight(weight, text) for weight in weights.values())
    if not total > 0 or not math.isfinite(total):
        raise ValueError(f"the weights of {text!r} sum to {total:g}; expected more than 0")
    return {label: weights[label] / total for label in sort_labels(weights) if weights[label] > 0}


def _check_weight(weight: float, text: str) -> float:
    if not 0 <= weight < math.inf:  # nan is in no range
        raise ValueError(f"a weight of {text!r} is {weight:g}; expected 0 or more")
    return weight


def format_shares(shares: Mapping[str, float]) -> str:
    """Return shares as the cell that `parse_shares` reads."""
    return ",".join(f"{label}:{share:.9g}" for label, share in shares.items())


def find_top_label(shares: Mapping[str, float]) -> str:
    """Return the label with the largest share, of equals the first in canonical order."""
    return max(sort_labels(shares), key=lambda label: shares[label])


def average_shares(several: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of the shares of several annotators."""
    weights: dict[str, float] = {}
    for shares in several:
        for label, share in shares.items():
            weights[label] = weights.get(label, 0.0) + share
    return normalize_shares(weights, "the annotators")
