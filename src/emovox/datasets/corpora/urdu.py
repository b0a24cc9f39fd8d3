"""URDU: ``Angry/SM1_F10_A010.wav``: speaker (SM man, SF woman), file, emotion letter + number.

Unscripted talk-show speech: no two clips are known to share words.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus

__all__ = ["URDU"]

_CODES = {"A": "angry", "H": "happy", "N": "neutral", "S": "sad"}


def _resolve(path: PurePosixPath, groups: dict[str, str]) -> dict[str, str]:
    emotion = _CODES[groups["emotion"]]
    folder = path.parent.name
    if folder.lower() in _CODES.values() and folder.lower() != emotion:
        groups["note"] = f"is in {folder}, its letter means {emotion}"
    return groups | {"sex": "male" if groups["speaker"][1] == "M" else "female"}


URDU = Corpus(
    name="urdu",
    title="URDU",
    licence="none stated; published for research",
    commercial=False,
    citation=(
        "S. Latif, A. Qayyum, M. Usman and J. Qadir: Cross Lingual Speech Emotion Recognition: Urdu vs. "
        "Western Languages. FIT 2018"
    ),
    url="https://github.com/siddiquelatif/URDU-Dataset",
    access="direct",
    language="ur",
    n_clips=400,
    n_speakers=29,
    pattern=r"(?P<speaker>S[MF]\d+)_(?P<file>F\d+)_(?P<emotion>[AHNS])\d+",
    codes=_CODES,
    resolve=_resolve,
    inner=r"(?i)angry|happy|neutral|sad",
    known_defects=("its paper counts 38 speakers, the names tell 29 apart",),
)
