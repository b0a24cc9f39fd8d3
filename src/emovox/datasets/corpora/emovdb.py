"""EmoV-DB: ``bea_Amused/amused_1-15_0001.wav``: folder speaker_Emotion, name emotion _ range _ sentence.

Also ``bea/Amused/...``. The same stem is said by several speakers: a key is speaker/stem. Sentences are
numbered as in CMU ARCTIC.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus, Fields

__all__ = ["EMOVDB"]

_EMOTIONS = {
    "amused": ("amused", "Amused"),
    "anger": ("angry", "Angry"),
    "angry": ("angry", "Angry"),
    "disgust": ("disgust", "Disgust"),
    "disgusted": ("disgust", "Disgust"),
    "neutral": ("neutral", "Neutral"),
    "sleepiness": ("sleepy", "Sleepy"),
    "sleepy": ("sleepy", "Sleepy"),
}
_SEX = {"bea": "female", "jenie": "female", "josh": "male", "sam": "male"}
_NAME = re.compile(rf"(?i)({'|'.join(sorted(_EMOTIONS, reverse=True))})_\d+[-_]\d+_(\d{{4}})", re.ASCII)


def _parse(relpath: str) -> Fields | None:
    path = PurePosixPath(relpath)
    name = _NAME.fullmatch(path.stem)
    speaker = next((word for part in reversed(path.parent.parts) if (word := _speaker(part))), None)
    if name is None or speaker is None:
        return None
    emotion, original = _EMOTIONS[name[1].lower()]
    return Fields(
        key=f"{speaker}/{path.stem}",
        speaker=speaker,
        emotion=emotion,
        original=original,
        sex=_SEX[speaker],
        text=str(int(name[2])),
    )


def _speaker(folder: str) -> str | None:
    word = folder.split("_")[0].lower()
    return word if word in _SEX else None


EMOVDB = Corpus(
    name="emovdb",
    title="EmoV-DB",
    licence="non-commercial research",
    commercial=False,
    citation=(
        "A. Adigwe, N. Tits, K. El Haddad, S. Ostadabbas and T. Dutoit: The Emotional Voices Database: "
        "Towards Controlling the Emotion Dimension in Voice Generation Systems. arXiv 1806.09514, 2018"
    ),
    url="https://www.openslr.org/115/",
    access="direct",
    language="en",
    n_clips=6887,
    n_speakers=4,
    emotions=("neutral", "angry", "disgust", "amused", "sleepy"),
    parse=_parse,
    complete=False,
    inner=r"(?i)(bea|jenie|josh|sam)(_\w+)?|amused|anger|angry|disgust(ed)?|neutral|sleep(y|iness)",
    known_defects=("josh has no anger and no disgust", "the count is that of EmoBox's list"),
)
