"""URDU: ``Angry/SM1_F10_A010.wav``: speaker (SM man, SF woman), file, emotion letter + number.

Unscripted talk-show speech: no two clips are known to share words.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus, Fields

__all__ = ["URDU"]

_EMOTIONS = {"A": "angry", "H": "happy", "N": "neutral", "S": "sad"}
_NAME = re.compile(r"(S([MF])\d+)_(F\d+)_([AHNS])(\d+)", re.ASCII)


def _parse(relpath: str) -> Fields | None:
    path = PurePosixPath(relpath)
    name = _NAME.fullmatch(path.stem)
    if name is None:
        return None
    folder = path.parent.name.lower()
    strange = folder in _EMOTIONS.values() and folder != _EMOTIONS[name[4]]
    return Fields(
        key=path.stem,
        speaker=name[1],
        emotion=_EMOTIONS[name[4]],
        original=name[4],
        sex="male" if name[2] == "M" else "female",
        extra={"file": name[3]},
        note=f"lies in {path.parent.name}, its letter means {_EMOTIONS[name[4]]}" if strange else None,
    )


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
    emotions=tuple(_EMOTIONS.values()),
    parse=_parse,
    inner=r"(?i)angry|happy|neutral|sad",
    known_defects=("its paper counts 38 speakers, the names tell 29 apart",),
)
