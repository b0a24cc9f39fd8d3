"""SAVEE: ``AudioData/DC/a01.wav``, in mirrors flat ``DC_a01.wav``: speaker, emotion letters, sentence.

Four men; letters a(nger) d(isgust) f(ear) h(appiness) n(eutral) sa(dness) su(rprise); 15 sentences an
emotion, 30 neutral ones. Sentences are numbered within an emotion, so text ids keep the letters.
"""

from __future__ import annotations

from itertools import product
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus

__all__ = ["SAVEE"]

_CODES = {
    "a": "angry",
    "d": "disgust",
    "f": "fear",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprise",
}
_SPEAKERS = ("DC", "JE", "JK", "KL")


def _keys() -> frozenset[str]:
    return frozenset(
        f"{speaker}_{letters}{n:02}"
        for speaker, letters in product(_SPEAKERS, _CODES)
        for n in range(1, 31 if letters == "n" else 16)
    )


def _resolve(path: PurePosixPath, groups: dict[str, str]) -> dict[str, str]:
    folder = path.parent.name
    speaker = groups.setdefault("speaker", folder)
    if folder in _SPEAKERS and folder != speaker:
        groups["note"] = f"is in the folder of another speaker, {folder}"
    text = f"{groups['emotion']}{groups.pop('number')}"
    return groups | {"key": f"{speaker}_{text}", "text": text}


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
    pattern=rf"(?:(?P<speaker>{'|'.join(_SPEAKERS)})_)?(?P<emotion>sa|su|[adfhn])(?P<number>\d\d)",
    codes=_CODES,
    speakers=dict.fromkeys(_SPEAKERS, ("male", None)),
    resolve=_resolve,
    inner=r"AudioData|DC|JE|JK|KL",
    keys=_keys,
)
