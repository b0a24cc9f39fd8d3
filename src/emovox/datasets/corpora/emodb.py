"""EMO-DB (Berlin): ``wav/03a01Fa.wav``: speaker 03, text a01, emotion F, version a.

The letters are German: W(ut) anger, L(angeweile) boredom, E(kel) disgust, A(ngst) fear, F(reude) happiness,
T(rauer) sadness, N(eutral).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus, Fields

__all__ = ["EMODB"]

_EMOTIONS = {
    "W": "angry",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
_PEOPLE = {
    "03": ("male", 31),
    "08": ("female", 34),
    "09": ("female", 21),
    "10": ("male", 32),
    "11": ("male", 26),
    "12": ("male", 30),
    "13": ("female", 32),
    "14": ("female", 35),
    "15": ("male", 25),
    "16": ("female", 31),
}
_NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-z])", re.ASCII)


def _parse(relpath: str) -> Fields | None:
    key = PurePosixPath(relpath).stem
    name = _NAME.fullmatch(key)
    if name is None or name[1] not in _PEOPLE:
        return None
    sex, age = _PEOPLE[name[1]]
    return Fields(
        key=key,
        speaker=name[1],
        emotion=_EMOTIONS[name[3]],
        original=name[3],
        sex=sex,
        age=age,
        text=name[2],
        extra={"version": name[4]},
    )


EMODB = Corpus(
    name="emodb",
    title="Berlin Database of Emotional Speech (EMO-DB)",
    licence="free for research; CC BY 4.0 on a later mirror",
    commercial=True,
    citation=(
        "F. Burkhardt, A. Paeschke, M. Rolfes, W. F. Sendlmeier and B. Weiss: A Database of German Emotional "
        "Speech. Interspeech 2005"
    ),
    url="http://emodb.bilderbar.info/",
    access="direct: download.zip",
    language="de",
    n_clips=535,
    n_speakers=10,
    emotions=tuple(_EMOTIONS.values()),
    parse=_parse,
    inner=r"(?i)wav",
)
