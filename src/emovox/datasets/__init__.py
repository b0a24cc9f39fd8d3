"""Corpora, manifests and splits: who said what, with which expression, and who is tested on whom.

>>> CORPORA["ravdess"].n_clips
1440
"""

from __future__ import annotations

from emovox.datasets.corpora import CORPORA, Corpus, Fields
from emovox.datasets.emobox import official_keys
from emovox.datasets.loading import Dataset
from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.protocols import make_splits
from emovox.datasets.scan import ScanReport, scan
from emovox.datasets.splits import Split

__all__ = [
    "CORPORA",
    "Corpus",
    "Dataset",
    "Fields",
    "Manifest",
    "ScanReport",
    "Split",
    "Utterance",
    "make_splits",
    "official_keys",
    "scan",
]
