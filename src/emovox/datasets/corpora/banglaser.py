"""BanglaSER (Bengali): ``03-01-04-02-03-02-15.wav``, named in the manner of RAVDESS with codes of its own.

Mode (03 = audio only) - statement type (01) - emotion - intensity - statement - repetition - actor; odd
actors are men.
Seven actors (11-13, 16, 18, 20, 29) recorded no neutral clips.
"""

from __future__ import annotations

from itertools import product
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus

__all__ = ["BANGLASER"]

_NO_NEUTRAL = {"11", "12", "13", "16", "18", "20", "29"}
# Emotion -> the only intensity it was recorded with.
_INTENSITY = {"01": "01", "02": "01", "03": "02", "04": "02", "05": "01"}


def _keys() -> frozenset[str]:
    actors = [f"{n:02}" for n in range(1, 35)]
    return frozenset(
        f"03-01-{emotion}-{intensity}-{statement}-{take}-{actor}"
        for (emotion, intensity), statement, take, actor in product(
            _INTENSITY.items(), ("01", "02", "03"), ("01", "02", "03"), actors
        )
        if not (emotion == "05" and actor in _NO_NEUTRAL)
    )


def _resolve(path: PurePosixPath, groups: dict[str, str]) -> dict[str, str]:
    if groups.pop("mode") == "01":
        groups["note"] = "the name begins with 01- (audio and video) instead of 03- (audio only)"
    return groups | {"key": f"03{path.stem[2:]}"}


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
    pattern=(
        r"(?P<mode>0[13])-01-(?P<emotion>0[1-5])-(?P<intensity>0[12])-(?P<text>0[1-3])-(?P<repetition>0[1-3])-"
        r"(?P<speaker>\d\d)"
    ),
    codes={"01": "happy", "02": "sad", "03": "angry", "04": "surprise", "05": "neutral"},
    originals={"01": "happy", "02": "sad", "03": "angry", "04": "surprise", "05": "neutral"},
    speakers={f"{n:02}": ("male" if n % 2 else "female", None) for n in range(1, 35)},
    intensities={"01": "normal", "02": "strong"},
    resolve=_resolve,
    inner=r"(?i)actor_?\d\d",
    known_defects=(
        "three names begin with 01- instead of 03-",
        "one neutral clip of actor 19 is missing (of 1467)",
        "two pairs of clips hold identical sound",
        "22 more pairs are near copies, most of them takes cut anew from one recording",
        "five clips of actor 19 hold recordings that also stand under the actors 13 and 16",
    ),
    keys=_keys,
)
