"""Who said what, with which expression, from where.

``CORPORA`` describes every corpus emovox can read; ``scan`` turns a folder of one into a manifest and a
report of what is missing, extra, misnamed or there twice.

>>> CORPORA["ravdess"].n_clips
1440
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from emovox.datasets.corpora.asvpesd import ASVPESD
from emovox.datasets.corpora.banglaser import BANGLASER
from emovox.datasets.corpora.casia import CASIA
from emovox.datasets.corpora.corpus import Corpus, Fields
from emovox.datasets.corpora.cremad import CREMAD
from emovox.datasets.corpora.emodb import EMODB
from emovox.datasets.corpora.emovdb import EMOVDB
from emovox.datasets.corpora.emovo import EMOVO
from emovox.datasets.corpora.esd import ESD
from emovox.datasets.corpora.jlcorpus import JLCORPUS
from emovox.datasets.corpora.nemo import NEMO
from emovox.datasets.corpora.ravdess import RAVDESS, RAVDESS_SONG
from emovox.datasets.corpora.savee import SAVEE
from emovox.datasets.corpora.tess import TESS
from emovox.datasets.corpora.urdu import URDU
from emovox.datasets.emobox import EMOBOX, rows
from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.scan import Report, scan_corpus
from emovox.errors import ManifestError, did_you_mean

__all__ = ["CORPORA", "Corpus", "Fields", "Manifest", "Report", "Utterance", "official_keys", "scan"]

CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        RAVDESS,
        RAVDESS_SONG,
        SAVEE,
        EMODB,
        CASIA,
        CREMAD,
        JLCORPUS,
        TESS,
        EMOVDB,
        ASVPESD,
        ESD,
        NEMO,
        BANGLASER,
        EMOVO,
        URDU,
    )
}
"""Every corpus with an adapter, by name."""


def _corpus(name: str) -> Corpus:
    if name in CORPORA:
        return CORPORA[name]
    raise ManifestError(f"unknown corpus {name!r}; {did_you_mean(str(name).lower(), CORPORA)}")


def official_keys(name: str) -> frozenset[str] | None:
    """Keys of the clips that ``name`` officially holds, or ``None`` where no list is known.

    They come from the corpus's own rule, or else from EmoBox's list of it.

    Raises:
        ManifestError: unknown corpus.
    """
    corpus = _corpus(name)
    if corpus.keys is not None:
        return corpus.keys()
    return frozenset(row.key for row in rows(name)) if name in EMOBOX else None


def scan(name: str, root: str | Path) -> tuple[Manifest, Report]:
    """Read the corpus ``name`` under ``root``: its clips, and what is not as it should be.

    The corpus's own folder is found a level or two below ``root``, or above it when ``root`` is one of
    its inner folders. Any audio extension is accepted. No file is dropped silently; what lies in a folder
    called like another corpus is that one's, even where the names look alike.

    Raises:
        ManifestError: unknown corpus, no such folder, or no clip of the corpus in it.
    """
    manifest, report = scan_corpus(_corpus(name), root, keys=official_keys(name))
    beside = tuple(path for path in report.outside if not _is_anothers(path, name))
    return manifest, replace(report, outside=beside)


def _is_anothers(path: str, name: str) -> bool:
    folders = {"".join(c for c in part.lower() if c.isalnum()) for part in path.split("/")[:-1]}
    return any(other.replace("_", "") in folders for other in CORPORA if other != name)
