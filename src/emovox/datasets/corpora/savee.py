"""SAVEE: ``AudioData/DC/a01.wav``, in mirrors flat ``DC_a01.wav``: speaker, emotion letters, sentence.

Four men; letters a(nger) d(isgust) f(ear) h(appiness) n(eutral) sa(dness) su(rprise); 15 sentences an
emotion, 30 neutral ones. Sentences are numbered within an emotion, so text ids keep the letters.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus, Fields

__all__ = ["SAVEE"]

_EMOTIONS = {
    "a": "angry",
    "d": "disgust",
    "f": "fear",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprise",
}
_SPEAKERS = ("DC", "JE", "JK", "KL")
_NAME = re.compile(r"(?:(DC|JE|JK|KL)_)?(sa|su|[adfhn])(\d\d)", re.ASCII)


def _keys() -> frozenset[str]:
    return frozenset(
        f"{speaker}_{letters}{n:02}"
        for speaker, letters in product(_SPEAKERS, _EMOTIONS)
        for n in range(1, 31 if letters == "n" else 16)
    )


def _parse(relpath: str) -> Fields | None:
    path = PurePosixPath(relpath)
    name = _NAME.fullmatch(path.stem)
    if name is None:
        return None
    speaker = name[1] or path.parent.name
    if speaker not in _SPEAKERS:
        return None
    strange = path.parent.name in _SPEAKERS and path.parent.name != speaker
    return Fields(
        key=f"{speaker}_{name[2]}{name[3]}",
        speaker=speaker,
        emotion=_EMOTIONS[name[2]],
        original=name[2],
        sex="male",
        text=f"{name[2]}{name[3]}",
        note=f"lies in the folder of another speaker, {path.parent.name}" if strange else None,
    )


SAVEE = Corpus(
    name="savee",
    title="Surrey Audio-Visual Expressed Emotion (SAVEE)",
    licence="free for research, on request",
    commercial=False,
    citation=(
        "S. Haq and P. J. B. Jackson: Multimodal Emotion Recognition. In: Machine Audition, IGI Global, "
        "2010, pp. 398-423"
    ),
    url="http://kahlan.eps.surrey.ac.uk/savee/",
    access="registration with the authors",
    language="en",
    n_clips=480,
    n_speakers=4,
    emotions=tuple(_EMOTIONS.values()),
    parse=_parse,
    keys=_keys,
    inner=r"AudioData|DC|JE|JK|KL",
)
