"""EmoBox's published folds, shipped as data.

Source: Z. Ma et al., EmoBox: Multilingual Multi-corpus Speech Emotion Recognition Toolkit and Benchmark,
Interspeech 2024, arXiv 2406.07162. Only facts are shipped: which clip, which label, which test fold.

``data/<corpus>.tsv.gz`` holds ``key <tab> label <tab> fold``, sorted by key; the key is that of the
corpus's adapter, and an empty fold means that the clip is never tested. A cell ``=`` repeats the one above.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from emovox.datasets.corpora import find_corpus
from emovox.datasets.manifest import Manifest
from emovox.datasets.splits import VALIDATION_SHARE, Split, draw_validation
from emovox.errors import ProtocolError

__all__ = ["EMOBOX", "EmoBoxRow", "emobox_folds", "emobox_rows", "emobox_split", "official_keys", "pack_rows"]

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


class EmoBoxRow(NamedTuple):
    """One line of a fold file."""

    key: str
    label: str
    fold: int | None
    """``None`` = never in a test part."""


@cache
def emobox_rows(corpus: str) -> tuple[EmoBoxRow, ...]:
    """Every clip that EmoBox lists for ``corpus``, sorted by key.

    Raises:
        ProtocolError: EmoBox's folds of this corpus are not available.
    """
    emobox_folds(corpus)
    data = files("emovox.datasets").joinpath("data", f"{corpus}.tsv.gz").read_bytes()
    found: list[EmoBoxRow] = []
    label = fold = ""
    for line in gzip.decompress(data).decode("utf-8").splitlines():
        key, new_label, new_fold = line.split("\t")
        label = label if new_label == "=" else new_label
        fold = fold if new_fold == "=" else new_fold
        found.append(EmoBoxRow(key, label, int(fold) if fold else None))
    return tuple(found)


def pack_rows(table: list[EmoBoxRow]) -> bytes:
    """The bytes of a fold file: the inverse of `emobox_rows`, the same for the same table."""
    lines, label, fold = [], "", ""
    for row in sorted(table):
        new_fold = "" if row.fold is None else str(row.fold)
        cells = (row.key, "=" if row.label == label else row.label, "=" if new_fold == fold else new_fold)
        lines.append("\t".join(cells) + "\n")
        label, fold = row.label, new_fold
    return gzip.compress("".join(lines).encode("utf-8"), compresslevel=9, mtime=0)


def official_keys(name: str) -> frozenset[str] | None:
    """Keys of the clips that ``name`` officially holds, or ``None`` where no list is known.

    They come from the corpus's own rule, or else from EmoBox's list of it.

    Raises:
        ManifestError: unknown corpus.
    """
    corpus = find_corpus(name)
    if corpus.keys is not None:
        return corpus.keys()
    return frozenset(row.key for row in emobox_rows(name)) if name in EMOBOX else None


def emobox_folds(corpus: str) -> tuple[int, ...]:
    """Numbers of EmoBox's test folds for ``corpus``.

    Raises:
        ProtocolError: EmoBox's folds of this corpus are not available.
    """
    if corpus not in EMOBOX:
        raise ProtocolError(f"there are no EmoBox folds for {corpus!r}; there are for {', '.join(EMOBOX)}")
    return tuple(range(1, EMOBOX[corpus] + 1))


def emobox_split(
    manifest: Manifest,
    fold: int,
    *,
    corpus: str | None = None,
    allow_missing: bool = False,
    validation_share: float = VALIDATION_SHARE,
    seed: int = 0,
) -> Split:
    """EmoBox's published fold: test that fold of ``corpus``, train on everything else in the manifest.

    Clips of other corpora join the training, but those of speakers who are tested are left out, and so are
    clips of ``corpus`` that EmoBox does not list.

    Args:
        corpus: the corpus that is tested; may be omitted if only one in the manifest has EmoBox folds.
        allow_missing: accept a manifest that lacks some of EmoBox's clips.

    Raises:
        ProtocolError: no such corpus or fold, or clips are missing.
    """
    if corpus is None:
        candidates = [name for name in manifest.corpora if name in EMOBOX]
        corpus = candidates[0] if len(candidates) == 1 else None
    if corpus is None or corpus not in manifest.corpora:
        known = [name for name in manifest.corpora if name in EMOBOX]
        raise ProtocolError(
            f"corpus is {corpus!r}, and the manifest holds {', '.join(manifest.corpora) or 'nothing'}; "
            f"name one of those with EmoBox folds: {', '.join(known) or 'none'}"
        )
    if fold not in emobox_folds(corpus):
        raise ProtocolError(f"{corpus} has the EmoBox folds {emobox_folds(corpus)}; got {fold!r}")
    folds = {f"{corpus}/{row.key}": row.fold for row in emobox_rows(corpus)}
    missing = [key for key in folds if key not in manifest.by_id]
    if missing and not allow_missing:
        raise ProtocolError(
            f"{len(missing)} of EmoBox's {len(folds)} clips of {corpus} are not in the manifest, the first "
            f"is {missing[0]!r}; complete the corpus, or allow it (--allow missing, allow_missing=True)"
        )
    test = [u for u in manifest if folds.get(u.id) == fold]
    tested = {u.speaker for u in test}
    own = [u for u in manifest if u.id in folds and folds[u.id] != fold]
    unlisted = [u for u in manifest if u.corpus == corpus and u.id not in folds]
    others = [u for u in manifest if u.corpus != corpus]
    return draw_validation(
        manifest,
        f"emobox/{corpus}/{fold}",
        [*own, *(u for u in others if u.speaker not in tested)],
        test,
        left_out=[*(u for u in others if u.speaker in tested), *unlisted],
        validation_share=validation_share,
        seed=seed,
    )
