"""TESS: ``OAF_angry/OAF_back_angry.wav``: speaker _ word _ emotion.

Two women, 64 (OAF) and 26 (YAF) years old, 200 words in the carrier phrase "Say the word ...".
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus, Fields

__all__ = ["TESS"]

_EMOTIONS = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprise",
    "sad": "sad",
}
_AGES = {"OAF": 64, "YAF": 26}
_NAME = re.compile(r"(OAF?|YAF)_([a-z]+)_(angry|disgust|fear|happy|neutral|ps|sad)", re.IGNORECASE | re.ASCII)


def _parse(relpath: str) -> Fields | None:
    name = _NAME.fullmatch(PurePosixPath(relpath).stem)
    if name is None:
        return None
    # One official name, OA_bite_neutral, lost its F.
    speaker = "OAF" if name[1].upper() == "OA" else name[1].upper()
    word, emotion = name[2].lower(), name[3].lower()
    return Fields(
        key=f"{speaker}_{word}_{emotion}",
        speaker=speaker,
        emotion=_EMOTIONS[emotion],
        original=emotion,
        sex="female",
        age=_AGES[speaker],
        text=word,
        note="the speaker OA is OAF" if name[1].upper() == "OA" else None,
    )


TESS = Corpus(
    name="tess",
    title="Toronto emotional speech set",
    licence="CC BY-NC-ND 4.0",
    commercial=False,
    citation=(
        "M. K. Pichora-Fuller and K. Dupuis: Toronto emotional speech set (TESS). Borealis, 2020. "
        "doi:10.5683/SP2/E8H2MF"
    ),
    url="https://doi.org/10.5683/SP2/E8H2MF",
    access="direct, after accepting the terms",
    language="en",
    n_clips=2800,
    n_speakers=2,
    emotions=tuple(_EMOTIONS.values()),
    parse=_parse,
    inner=r"(?i)(oaf|yaf)_(angry|disgust|fear|happy|neutral|pleasant_surprised?|sad)",
    known_defects=(
        "OA_bite_neutral belongs to the speaker OAF",
        "a common mirror holds the whole tree twice",
    ),
)
