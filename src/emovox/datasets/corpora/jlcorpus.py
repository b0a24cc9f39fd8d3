"""JL corpus (New Zealand): ``female1_angry_10a_1.wav``: speaker, emotion, sentence + session, repetition.

Five primary emotions (angry, excited, happy, neutral, sad) and five secondary ones, all in EmoBox's folds
though its paper counts five.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus, Fields

__all__ = ["JLCORPUS"]

_PRIMARY = ("angry", "excited", "happy", "neutral", "sad")
_SECONDARY = ("anxious", "apologetic", "assertive", "concerned", "encouraging")
_SPEAKERS = ("female1", "female2", "male1", "male2")
_NAME = re.compile(rf"((fe)?male[12])_({'|'.join(_PRIMARY + _SECONDARY)})_(\d\d?)([ab])_([12])", re.ASCII)


def _keys() -> frozenset[str]:
    parts = product(_SPEAKERS, _PRIMARY + _SECONDARY, range(1, 16), "ab", "12")
    return frozenset(f"{who}_{emotion}_{n}{session}_{take}" for who, emotion, n, session, take in parts)


def _parse(relpath: str) -> Fields | None:
    key = PurePosixPath(relpath).stem
    name = _NAME.fullmatch(key)
    if name is None:
        return None
    return Fields(
        key=key,
        speaker=name[1],
        emotion=name[3],
        original=name[3],
        sex="female" if name[2] else "male",
        text=name[4],
        extra={
            "set": "primary" if name[3] in _PRIMARY else "secondary",
            "session": name[5],
            "repetition": name[6],
        },
    )


JLCORPUS = Corpus(
    name="jlcorpus",
    title="JL corpus",
    licence="CC0 1.0",
    commercial=True,
    citation=(
        "J. James, L. Tian and C. Watson: An Open Source Emotional Speech Corpus for Human Robot Interaction "
        "Applications. Interspeech 2018"
    ),
    url="https://www.kaggle.com/datasets/tli725/jl-corpus",
    access="direct, with an account",
    language="en",
    n_clips=2400,
    n_speakers=4,
    emotions=_PRIMARY + _SECONDARY,
    parse=_parse,
    keys=_keys,
    inner=r"JL\(wav\+txt\)|Raw JL corpus.*",
)
