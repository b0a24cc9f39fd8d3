"""BanglaSER (Bengali): ``03-01-04-02-03-02-15.wav``, named in the manner of RAVDESS with codes of its own.

Mode (03 = audio only) - statement type (01) - emotion - intensity - statement - repetition - actor; odd
actors are men.
Seven actors (11-13, 16, 18, 20, 29) recorded no neutral clips.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus, Fields

__all__ = ["BANGLASER"]

_EMOTIONS = {
    "01": ("happy", "happy"),
    "02": ("sad", "sad"),
    "03": ("angry", "angry"),
    "04": ("surprise", "surprise"),
    "05": ("neutral", "neutral"),
}
_STRENGTH = {"01": "01", "02": "01", "03": "02", "04": "02", "05": "01"}
_INTENSITIES = {"01": "normal", "02": "strong"}
_NO_NEUTRAL = {"11", "12", "13", "16", "18", "20", "29"}
_NAME = re.compile(r"(0[13])-01-(0[1-5])-(0[12])-(0[1-3])-(0[1-3])-(0[1-9]|[12]\d|3[0-4])", re.ASCII)


def _keys() -> frozenset[str]:
    actors = [f"{n:02}" for n in range(1, 35)]
    return frozenset(
        f"03-01-{emotion}-{strength}-{statement}-{take}-{actor}"
        for (emotion, strength), statement, take, actor in product(
            _STRENGTH.items(), ("01", "02", "03"), ("01", "02", "03"), actors
        )
        if not (emotion == "05" and actor in _NO_NEUTRAL)
    )


def _parse(relpath: str) -> Fields | None:
    stem = PurePosixPath(relpath).stem
    name = _NAME.fullmatch(stem)
    if name is None:
        return None
    emotion, original = _EMOTIONS[name[2]]
    return Fields(
        key=f"03{stem[2:]}",
        speaker=name[6],
        emotion=emotion,
        original=original,
        sex="male" if int(name[6]) % 2 else "female",
        text=name[4],
        intensity=_INTENSITIES[name[3]],
        extra={"repetition": name[5]},
        note="the name begins with 01- (audio and video) instead of 03- (audio only)"
        if name[1] == "01"
        else None,
    )


BANGLASER = Corpus(
    name="banglaser",
    title="BanglaSER",
    licence="CC BY 4.0",
    commercial=True,
    citation=(
        "R. K. Das, N. Islam, M. R. Ahmed, S. Islam, S. Shatabda and A. K. M. M. Islam: BanglaSER: A speech "
        "emotion recognition dataset for the Bangla language. Data in Brief 42, 108091, 2022"
    ),
    url="https://data.mendeley.com/datasets/t9h6p943xy",
    access="direct",
    language="bn",
    n_clips=1466,
    n_speakers=34,
    emotions=tuple(name for name, _ in _EMOTIONS.values()),
    parse=_parse,
    keys=_keys,
    inner=r"(?i)actor_?\d\d",
    known_defects=(
        "three names begin with 01- instead of 03-",
        "one neutral clip of actor 19 is missing (of 1467)",
        "two pairs of clips hold identical sound",
        "22 more pairs are near copies, most of them takes cut anew from one recording",
        "five clips of actor 19 hold recordings that also stand under the actors 13 and 16",
    ),
)
