"""The published corpora that emovox can read, one module each."""

from __future__ import annotations

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
from emovox.errors import ManifestError, did_you_mean

__all__ = ["CORPORA", "Corpus", "Fields", "find_corpus"]

CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        *(RAVDESS, RAVDESS_SONG, SAVEE, EMODB, CASIA, CREMAD, JLCORPUS, TESS, EMOVDB, ASVPESD, ESD, NEMO),
        *(BANGLASER, EMOVO, URDU),
    )
}
"""Every corpus with an adapter, by name."""


def find_corpus(name: str) -> Corpus:
    """The corpus of that name.

    Raises:
        ManifestError: it is unknown; the message names the nearest.
    """
    if name in CORPORA:
        return CORPORA[name]
    raise ManifestError(f"unknown corpus {name!r}; {did_you_mean(str(name).lower(), CORPORA)}")
