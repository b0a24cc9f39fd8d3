"""RAVDESS, spoken and sung: ``Actor_01/03-01-06-01-02-01-12.wav``.

Modality (03 = audio only) - channel (01 speech, 02 song) - emotion - intensity - statement - repetition -
actor; odd actors are men. The singers are the speakers (no Actor_18), so both corpora share speaker ids.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus, Fields

__all__ = ["RAVDESS", "RAVDESS_SONG"]

_EMOTIONS = {
    "01": ("neutral", "neutral"),
    "02": ("calm", "calm"),
    "03": ("happy", "happy"),
    "04": ("sad", "sad"),
    "05": ("angry", "angry"),
    "06": ("fear", "fearful"),
    "07": ("disgust", "disgust"),
    "08": ("surprise", "surprised"),
}
_INTENSITIES = {"01": "normal", "02": "strong"}
_NAME = re.compile(r"03-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])", re.ASCII)


def _keys(channel: str) -> frozenset[str]:
    """The full grid: neutral has no strong intensity, song neither disgust, surprise nor Actor_18."""
    emotions = list(_EMOTIONS) if channel == "01" else list(_EMOTIONS)[:6]
    actors = [f"{n:02}" for n in range(1, 25) if channel == "01" or n != 18]
    return frozenset(
        f"03-{channel}-{emotion}-{strength}-{statement}-{take}-{actor}"
        for emotion, strength, statement, take, actor in product(
            emotions, _INTENSITIES, ("01", "02"), ("01", "02"), actors
        )
        if (emotion, strength) != ("01", "02")
    )


def _parse(relpath: str, channel: str) -> Fields | None:
    key = PurePosixPath(relpath).stem
    name = _NAME.fullmatch(key)
    if name is None or name[1] != channel:
        return None
    emotion, original = _EMOTIONS[name[2]]
    folder = re.fullmatch(r"(?i)actor_?(\d+)", PurePosixPath(relpath).parent.name)
    strange = folder is not None and int(folder[1]) != int(name[6])
    return Fields(
        key=key,
        speaker=name[6],
        emotion=emotion,
        original=original,
        sex="male" if int(name[6]) % 2 else "female",
        text=name[4],
        intensity=_INTENSITIES[name[3]],
        extra={"repetition": name[5]},
        note=f"lies in the folder of another actor, {PurePosixPath(relpath).parent.name}"
        if strange
        else None,
    )


def _parse_speech(relpath: str) -> Fields | None:
    return _parse(relpath, "01")


def _parse_song(relpath: str) -> Fields | None:
    return _parse(relpath, "02")


def _speech_keys() -> frozenset[str]:
    return _keys("01")


def _song_keys() -> frozenset[str]:
    return _keys("02")


_CITATION = (
    "S. R. Livingstone and F. A. Russo: The Ryerson Audio-Visual Database of Emotional Speech and Song "
    "(RAVDESS). PLoS ONE 13(5), e0196391, 2018"
)

RAVDESS = Corpus(
    name="ravdess",
    title="RAVDESS, speech",
    licence="CC BY-NC-SA 4.0",
    commercial=False,
    citation=_CITATION,
    url="https://zenodo.org/records/1188976",
    access="direct: Audio_Speech_Actors_01-24.zip",
    language="en",
    n_clips=1440,
    n_speakers=24,
    emotions=tuple(name for name, _ in _EMOTIONS.values()),
    parse=_parse_speech,
    keys=_speech_keys,
    inner=r"(?i)actor_?\d\d",
    known_defects=("identical sound: 03-01-03-01-02-01-07 = 03-01-03-01-02-02-07",),
)

RAVDESS_SONG = Corpus(
    name="ravdess_song",
    title="RAVDESS, song",
    licence="CC BY-NC-SA 4.0",
    commercial=False,
    citation=_CITATION,
    url="https://zenodo.org/records/1188976",
    access="direct: Audio_Song_Actors_01-24.zip",
    language="en",
    n_clips=1012,
    n_speakers=23,
    emotions=tuple(name for name, _ in _EMOTIONS.values())[:6],
    parse=_parse_song,
    keys=_song_keys,
    inner=r"(?i)actor_?\d\d",
    people="ravdess",
    known_defects=(
        "no Actor_18",
        "the singers are the speakers of RAVDESS: keep them on one side of a split",
    ),
)
