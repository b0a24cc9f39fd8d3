"""Scores of labels, all computed from confusion matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emovox._arrays import Doubles, Ints

__all__ = [
    "METRICS",
    "OF_MATRIX",
    "Labels",
    "Metric",
    "as_list",
    "classes_of",
    "codes_of",
    "confusion_matrix",
    "f1_scores",
    "macro_f1",
    "pair",
    "precisions",
    "ratio",
    "recalls",
    "uar",
    "wa",
    "weighted_f1",
]

Labels = Sequence[Hashable]
Metric = str | Callable[[Labels, Labels], float]


def as_list(name: str, values: Any) -> list[Hashable]:
    """Return labels as a list; ``name`` is for the message.

    Raises:
        ValueError: ``None`` or nan is among them.
    """
    if isinstance(values, str | bytes):
        raise ValueError(f"{name} is one text, {values!r}; expected a sequence of labels, one a clip")
    found = values.tolist() if isinstance(values, np.ndarray) else list(values)
    for value in found:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            raise ValueError(f"{name} holds {value!r}, which is no label: map or drop abstentions first")
    return found


def pair(y_true: Labels, y_pred: Labels) -> tuple[list[Hashable], list[Hashable]]:
    """Return both label sequences as lists.

    Raises:
        ValueError: they are empty, of different length, or contain ``None`` or nan.
    """
    true, pred = as_list("y_true", y_true), as_list("y_pred", y_pred)
    if len(true) != len(pred) or not true:
        raise ValueError(
            f"got {len(true)} true and {len(pred)} predicted labels; expected as many, and at least one"
        )
    return true, pred


def classes_of(values: Sequence[Hashable], labels: Labels | None) -> list[Hashable]:
    """Return ``labels``, or the sorted union of ``values``."""
    if labels is None:
        return sorted(set(values), key=lambda v: (str(type(v)), v))
    known = as_list("labels", labels)
    if len(set(known)) != len(known) or not known:
        raise ValueError(f"labels are {known!r}; expected at least one, none twice")
    return known


def codes_of(values: Sequence[Hashable], classes: Sequence[Hashable]) -> Ints:
    """Return the index of each value in ``classes``."""
    place = {label: n for n, label in enumerate(classes)}
    try:
        return np.array([place[value] for value in values], dtype=np.intp)
    except KeyError as error:
        raise ValueError(
            f"the label {error.args[0]!r} is not among labels {list(classes)!r}; add it or drop it"
        ) from None


def confusion_matrix(y_true: Labels, y_pred: Labels, *, labels: Labels | None = None) -> NDArray[np.int64]:
    """Count ``(n_classes, n_classes)`` pairs of labels: rows true, columns predicted.

    Raises:
        ValueError: nothing given, lengths differ, or a label is not among ``labels``.

    >>> confusion_matrix(["sad", "sad", "angry"], ["sad", "angry", "angry"])
    array([[1, 0],
           [1, 1]])
    """
    true, pred = pair(y_true, y_pred)
    classes = classes_of([*true, *pred], labels)
    k = len(classes)
    cells = codes_of(true, classes) * k + codes_of(pred, classes)
    return np.bincount(cells, minlength=k * k).reshape(k, k).astype(np.int64)


# Scores of any number of matrices at once: (..., n_classes, n_classes) -> (..., n_classes) or (...).


def ratio(part: Doubles, whole: Doubles, empty: float) -> Doubles:
    """Divide ``part`` by ``whole``; the result is ``empty`` where ``whole`` is 0."""
    result: Doubles = np.divide(
        part, whole, out=np.full(np.broadcast(part, whole).shape, empty), where=whole > 0
    )
    return result


def _hits(matrix: Doubles) -> Doubles:
    return np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)


def _recalls(matrix: Doubles) -> Doubles:
    return ratio(_hits(matrix), matrix.sum(axis=-1), np.nan)


def _f1s(matrix: Doubles) -> Doubles:
    return ratio(2 * _hits(matrix), matrix.sum(axis=-1) + matrix.sum(axis=-2), 0.0)


def _uar(matrix: Doubles) -> Doubles:
    found = _recalls(matrix)
    there = ~np.isnan(found)
    return ratio(np.where(there, found, 0.0).sum(axis=-1), there.sum(axis=-1).astype(np.float64), np.nan)


def _wa(matrix: Doubles) -> Doubles:
    return ratio(_hits(matrix).sum(axis=-1), matrix.sum(axis=(-2, -1)), np.nan)


def _macro_f1(matrix: Doubles) -> Doubles:
    return np.asarray(_f1s(matrix).mean(axis=-1))


def _weighted_f1(matrix: Doubles) -> Doubles:
    support = matrix.sum(axis=-1)
    return ratio((_f1s(matrix) * support).sum(axis=-1), support.sum(axis=-1), np.nan)


OF_MATRIX: Mapping[str, Callable[[Doubles], Doubles]] = {
    "uar": _uar,
    "wa": _wa,
    "macro_f1": _macro_f1,
    "weighted_f1": _weighted_f1,
}


def recalls(y_true: Labels, y_pred: Labels, *, labels: Labels | None = None) -> Doubles:
    """Return the recall of each class ``(n_classes,)``; ``nan`` for a class that never occurs."""
    return _recalls(confusion_matrix(y_true, y_pred, labels=labels).astype(np.float64))


def precisions(y_true: Labels, y_pred: Labels, *, labels: Labels | None = None) -> Doubles:
    """Return the precision of each class ``(n_classes,)``; 0 for a class that is never predicted."""
    matrix = confusion_matrix(y_true, y_pred, labels=labels).astype(np.float64)
    return ratio(_hits(matrix), matrix.sum(axis=-2), 0.0)


def f1_scores(y_true: Labels, y_pred: Labels, *, labels: Labels | None = None) -> Doubles:
    """Return the F1 of each class ``(n_classes,)``; 0 for a class that neither occurs nor is predicted."""
    return _f1s(confusion_matrix(y_true, y_pred, labels=labels).astype(np.float64))


def uar(y_true: Labels, y_pred: Labels, *, labels: Labels | None = None) -> float:
    """Return the unweighted average recall over the classes that occur.

    >>> uar(["sad", "sad", "sad", "angry"], ["sad", "sad", "sad", "sad"])
    0.5
    """
    return float(_uar(confusion_matrix(y_true, y_pred, labels=labels).astype(np.float64)))


def wa(y_true: Labels, y_pred: Labels, *, labels: Labels | None = None) -> float:
    """Return the weighted accuracy: the share of correct clips."""
    return float(_wa(confusion_matrix(y_true, y_pred, labels=labels).astype(np.float64)))


def macro_f1(y_true: Labels, y_pred: Labels, *, labels: Labels | None = None) -> float:
    """Return the mean F1 over all classes."""
    return float(_macro_f1(confusion_matrix(y_true, y_pred, labels=labels).astype(np.float64)))


def weighted_f1(y_true: Labels, y_pred: Labels, *, labels: Labels | None = None) -> float:
    """Return the mean F1 over clips: each class is weighted by its frequency."""
    return float(_weighted_f1(confusion_matrix(y_true, y_pred, labels=labels).astype(np.float64)))


METRICS: Mapping[str, Callable[..., float]] = {
    "uar": uar,
    "wa": wa,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
}
"""Scores of labels, by name."""
