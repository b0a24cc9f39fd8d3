"""ESD, English and Mandarin: ``0011/Angry/0011_000351.wav``, or ``0011/Angry/train/0011_000351.wav``.

Each speaker says 350 sentences in five emotions; the number tells both. Speakers up to 0010 speak Mandarin.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus, Fields

__all__ = ["ESD"]

_EMOTIONS = ("neutral", "angry", "happy", "sad", "surprise")
"""In the order of the numbers: 1-350, 351-700, 701-1050, 1051-1400, 1401-1750."""
_N_TEXTS = 350
_MEN = {"0004", "0005", "0006", "0008", "0010", "0011", "0012", "0013", "0014", "0020"}
_PARTS = {"train": "train", "evaluation": "validation", "test": "test"}
"""Folders of the corpus's own division; its evaluation part stands beside a test part."""
_NAME = re.compile(r"(00(?:0[1-9]|1\d|20))_(\d{6})", re.ASCII)


def _keys() -> frozenset[str]:
    return frozenset(f"{s:04}_{n:06}" for s, n in product(range(1, 21), range(1, 5 * _N_TEXTS + 1)))


def _parse(relpath: str) -> Fields | None:
    path = PurePosixPath(relpath)
    name = _NAME.fullmatch(path.stem)
    if name is None or not 1 <= int(name[2]) <= _N_TEXTS * len(_EMOTIONS):
        return None
    block, text = divmod(int(name[2]) - 1, _N_TEXTS)
    emotion = _EMOTIONS[block]
    folders = [part for part in path.parent.parts if part.lower() in _EMOTIONS]
    strange = bool(folders) and folders[-1].lower() != emotion
    language = "zh" if int(name[1]) <= 10 else "en"
    return Fields(
        key=path.stem,
        speaker=name[1],
        emotion=emotion,
        original=emotion.title(),
        sex="male" if name[1] in _MEN else "female",
        language=language,
        text=f"{language}-{text + 1:03}",
        extra={"part": _PARTS[path.parent.name]} if path.parent.name in _PARTS else {},
        note=f"lies in {folders[-1]}, its number means {emotion}" if strange else None,
    )


ESD = Corpus(
    name="esd",
    title="Emotional Speech Dataset (ESD)",
    licence="research only, by agreement",
    commercial=False,
    citation=(
        "K. Zhou, B. Sisman, R. Liu and H. Li: Emotional voice conversion: Theory, databases and ESD. Speech "
        "Communication 137, 2022"
    ),
    url="https://github.com/HLTSingapore/Emotional-Speech-Data",
    access="direct, after accepting the terms",
    language="mul",
    n_clips=35000,
    n_speakers=20,
    emotions=_EMOTIONS,
    parse=_parse,
    keys=_keys,
    inner=r"(?i)00\d\d|neutral|angry|happy|sad|surprise|train|evaluation|test",
)
