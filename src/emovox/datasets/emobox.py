"""EmoBox's published folds, carried as data.

Source: Z. Ma et al., EmoBox: Multilingual Multi-corpus Speech Emotion Recognition Toolkit and Benchmark,
Interspeech 2024, arXiv 2406.07162. Only facts are carried: which clip, which label, which test fold.

``data/<corpus>.tsv.gz`` holds ``key <tab> label <tab> fold``, sorted by key; the key is that of the
corpus's adapter, and an empty fold means that the clip is never tested on. A cell ``=`` repeats
the one above.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from emovox.errors import ProtocolError

__all__ = ["EMOBOX", "Row", "pack", "rows"]

EMOBOX: dict[str, int] = {
    "asvpesd": 1,
    "casia": 4,
    "cremad": 1,
    "emodb": 5,
    "emovdb": 1,
    "emovo": 6,
    "esd": 5,
    "jlcorpus": 4,
    "ravdess": 6,
    "savee": 4,
    "tess": 1,
    "urdu": 1,
}
"""Corpus -> number of its test folds, which are numbered from 1."""


class Row(NamedTuple):
    """One line of a fold file."""

    key: str
    label: str
    fold: int | None
    """``None`` = never in a test part."""


@cache
def rows(corpus: str) -> tuple[Row, ...]:
    """Every clip that EmoBox lists for ``corpus``, sorted by key.

    Raises:
        ProtocolError: EmoBox's folds of this corpus are not carried.
    """
    if corpus not in EMOBOX:
        raise ProtocolError(f"there are no EmoBox folds for {corpus!r}; there are for {', '.join(EMOBOX)}")
    data = files("emovox.datasets").joinpath("data", f"{corpus}.tsv.gz").read_bytes()
    found: list[Row] = []
    label = fold = ""
    for line in gzip.decompress(data).decode("utf-8").splitlines():
        key, new_label, new_fold = line.split("\t")
        label = label if new_label == "=" else new_label
        fold = fold if new_fold == "=" else new_fold
        found.append(Row(key, label, int(fold) if fold else None))
    return tuple(found)


def pack(table: list[Row]) -> bytes:
    """The bytes of a fold file: the inverse of ``rows``, the same for the same table."""
    lines, label, fold = [], "", ""
    for row in sorted(table):
        new_fold = "" if row.fold is None else str(row.fold)
        cells = (row.key, "=" if row.label == label else row.label, "=" if new_fold == fold else new_fold)
        lines.append("\t".join(cells) + "\n")
        label, fold = row.label, new_fold
    return gzip.compress("".join(lines).encode("utf-8"), compresslevel=9, mtime=0)
