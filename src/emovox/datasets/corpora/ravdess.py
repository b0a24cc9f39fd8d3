"""RAVDESS, spoken and sung: ``Actor_01/03-01-06-01-02-01-12.wav``.

Modality (03 = audio only) - channel (01 speech, 02 song) - emotion - intensity - statement - repetition -
actor; odd actors are men. The singers are the speakers (no Actor_18), so both corpora share speaker ids.
"""

from __future__ import annotations

import re
from functools import partial
from itertools import product
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus

__all__ = ["RAVDESS", "RAVDESS_SONG"]

_CODES = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
_ORIGINALS = {**_CODES, "06": "fearful", "08": "surprised"}
_ACTORS = tuple(f"{n:02}" for n in range(1, 25))
_SPEAKERS = {actor: ("male" if int(actor) % 2 else "female", None) for actor in _ACTORS}
_INTENSITIES = {"01": "normal", "02": "strong"}
_TAIL = r"-(?P<emotion>0[1-8])-(?P<intensity>0[12])-(?P<text>0[12])-(?P<repetition>0[12])-(?P<speaker>\d\d)"
_CITATION = (
    "S. R. Livingstone and F. A. Russo: The Ryerson Audio-Visual Database of Emotional Speech and Song "
    "(RAVDESS). PLoS ONE 13(5), e0196391, 2018"
)


def _keys(channel: str, n_emotions: int, actors: tuple[str, ...]) -> frozenset[str]:
    """The full grid; neutral has no strong intensity."""
    return frozenset(
        f"03-{channel}-{emotion}-{intensity}-{statement}-{take}-{actor}"
        for emotion, intensity, statement, take, actor in product(
            tuple(_CODES)[:n_emotions], _INTENSITIES, ("01", "02"), ("01", "02"), actors
        )
        if (emotion, intensity) != ("01", "02")
    )


def _resolve(path: PurePosixPath, groups: dict[str, str]) -> dict[str, str]:
    folder = re.fullmatch(r"(?i)actor_?(\d+)", path.parent.name)
    if folder is not None and int(folder[1]) != int(groups["speaker"]):
        groups["note"] = f"is in the folder of another actor, {path.parent.name}"
    return groups


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
    pattern=rf"03-01{_TAIL}",
    codes=_CODES,
    originals=_ORIGINALS,
    speakers=_SPEAKERS,
    intensities=_INTENSITIES,
    resolve=_resolve,
    keys=partial(_keys, "01", 8, _ACTORS),
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
    pattern=rf"03-02{_TAIL}",
    codes={code: _CODES[code] for code in tuple(_CODES)[:6]},
    originals=_ORIGINALS,
    speakers=_SPEAKERS,
    intensities=_INTENSITIES,
    resolve=_resolve,
    keys=partial(_keys, "02", 6, tuple(actor for actor in _ACTORS if actor != "18")),
    people="ravdess",
    inner=r"(?i)actor_?\d\d",
    known_defects=(
        "no Actor_18",
        "the singers are the speakers of RAVDESS: keep them on one side of a split",
    ),
)
