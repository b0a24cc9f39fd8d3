"""EmoV-DB: ``bea_Amused/amused_1-15_0001.wav``: folder speaker_Emotion, name emotion _ range _ sentence.

Also ``bea/Amused/...``. The same stem is said by several speakers: a key is speaker/stem. Sentences are
numbered as in CMU ARCTIC.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus

__all__ = ["EMOVDB"]

_SPEAKERS = {"bea": "female", "jenie": "female", "josh": "male", "sam": "male"}


def _resolve(path: PurePosixPath, groups: dict[str, str]) -> dict[str, str] | None:
    words = [part.split("_")[0].lower() for part in reversed(path.parent.parts)]
    speaker = next((word for word in words if word in _SPEAKERS), None)
    if speaker is None:
        return None
    return {
        "key": f"{speaker}/{path.stem}",
        "speaker": speaker,
        "emotion": groups["emotion"].lower(),
        "text": str(int(groups["text"])),
    }


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
    pattern=(
        r"(?i)(?P<emotion>neutral|anger|angry|disgusted|disgust|amused|sleepiness|sleepy)_\d+[-_]\d+_"
        r"(?P<text>\d{4})"
    ),
    codes={
        "neutral": "neutral",
        "anger": "angry",
        "angry": "angry",
        "disgust": "disgust",
        "disgusted": "disgust",
        "amused": "amused",
        "sleepiness": "sleepy",
        "sleepy": "sleepy",
    },
    originals={
        "neutral": "Neutral",
        "anger": "Angry",
        "angry": "Angry",
        "disgust": "Disgust",
        "disgusted": "Disgust",
        "amused": "Amused",
        "sleepiness": "Sleepy",
        "sleepy": "Sleepy",
    },
    speakers={name: (sex, None) for name, sex in _SPEAKERS.items()},
    resolve=_resolve,
    complete=False,
    inner=r"(?i)(bea|jenie|josh|sam)(_\w+)?|amused|anger|angry|disgust(ed)?|neutral|sleep(y|iness)",
    known_defects=("josh has no anger and no disgust", "the count is that of EmoBox's list"),
)
