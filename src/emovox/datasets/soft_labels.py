"""Soft labels: clips with shares of several labels, as raters give them who disagree.

They are read from a cell ``angry:.6,sad:.4``, from one column of numbers for each known emotion, or from a
row for each annotator, which are averaged. The label of such a clip is the one with the largest share; the
shares are kept in ``Utterance.extra``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from emovox._arrays import Doubles
from emovox.datasets.cells import KEY, find_top_label, format_shares, normalize_shares, parse_shares
from emovox.datasets.manifest import Manifest, Utterance

__all__ = ["has_shares", "map_shares", "read_shares", "set_shares", "shares_of"]


def shares_of(u: Utterance) -> dict[str, float]:
    """Return the shares of a clip's labels: 1 of its label, unless it has soft labels."""
    text = u.extra.get(KEY)
    return {u.emotion: 1.0} if text is None else parse_shares(text, str)


def set_shares(u: Utterance, shares: Mapping[str, float]) -> Utterance:
    """Return the clip with these shares; with a single one it is a plain label."""
    extra = {name: value for name, value in u.extra.items() if name != KEY}
    if len(shares) > 1:
        extra[KEY] = format_shares(shares)
    return replace(u, emotion=find_top_label(shares), extra=extra)


def map_shares(u: Utterance, change: Callable[[str], str | None]) -> Utterance | None:
    """Return the clip with its labels changed by ``change``, which drops a label by ``None``.

    The shares of the labels that are left sum to 1 again; ``None``: no label is left.
    """
    if KEY not in u.extra:
        new = change(u.emotion)
        return None if new is None else replace(u, emotion=new)
    weights: dict[str, float] = {}
    for label, share in shares_of(u).items():
        if (new := change(label)) is not None:
            weights[new] = weights.get(new, 0.0) + share
    return set_shares(u, normalize_shares(weights, u.extra[KEY])) if weights else None


def has_shares(manifest: Manifest) -> bool:
    """Return whether a clip has soft labels."""
    return any(KEY in u.extra for u in manifest)


def read_shares(clips: Sequence[Utterance], labels: Sequence[str]) -> Doubles:
    """Return the shares of ``labels``, as rows ``(n_clips, n_labels)`` that sum to 1.

    Shares of other labels are left out. A clip none of whose labels is among them has a row of zeros.
    """
    places = {label: k for k, label in enumerate(labels)}
    shares = np.zeros((len(clips), len(labels)))
    for row, u in zip(shares, clips, strict=True):
        for label, share in shares_of(u).items():
            if label in places:
                row[places[label]] = share
    totals = shares.sum(axis=1, keepdims=True)
    return np.asarray(shares / np.where(totals > 0, totals, 1))
