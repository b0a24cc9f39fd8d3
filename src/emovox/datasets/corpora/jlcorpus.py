"""JL corpus (New Zealand): ``female1_angry_10a_1.wav``: speaker, emotion, sentence + session, repetition.

Five primary emotions (angry, excited, happy, neutral, sad) and five secondary ones, all in EmoBox's folds
though its paper counts five.
"""

from __future__ import annotations

from itertools import product
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus

__all__ = ["JLCORPUS"]

_PRIMARY = ("angry", "excited", "happy", "neutral", "sad")
_SECONDARY = ("anxious", "apologetic", "assertive", "concerned", "encouraging")
_SPEAKERS = ("female1", "female2", "male1", "male2")


def _keys() -> frozenset[str]:
    grid = product(_SPEAKERS, _PRIMARY + _SECONDARY, range(1, 16), "ab", "12")
    return frozenset(
        f"{speaker}_{emotion}_{n}{session}_{take}" for speaker, emotion, n, session, take in grid
    )


def _resolve(path: PurePosixPath, groups: dict[str, str]) -> dict[str, str]:
    return groups | {"set": "primary" if groups["emotion"] in _PRIMARY else "secondary"}


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
    pattern=(
        rf"(?P<speaker>{'|'.join(_SPEAKERS)})_(?P<emotion>{'|'.join(_PRIMARY + _SECONDARY)})_(?P<text>\d\d?)"
        r"(?P<session>[ab])_(?P<repetition>[12])"
    ),
    codes={name: name for name in _PRIMARY + _SECONDARY},
    speakers={name: (name[:-1], None) for name in _SPEAKERS},
    resolve=_resolve,
    inner=r"JL\(wav\+txt\)|Raw JL corpus.*",
    keys=_keys,
)
