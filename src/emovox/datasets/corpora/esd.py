"""ESD, English and Mandarin: ``0011/Angry/0011_000351.wav``, or ``0011/Angry/train/0011_000351.wav``.

Each speaker says 350 sentences in five emotions; the number tells both. Speakers up to 0010 speak Mandarin.
"""

from __future__ import annotations

from itertools import product
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus

__all__ = ["ESD"]

# In the order of the numbers: 1-350, 351-700, 701-1050, 1051-1400, 1401-1750.
_EMOTIONS = ("neutral", "angry", "happy", "sad", "surprise")
_N_TEXTS = 350
_MEN = {"0004", "0005", "0006", "0008", "0010", "0011", "0012", "0013", "0014", "0020"}
# Folders of the corpus's own division; its evaluation part is beside a test part.
_PARTS = {"train": "train", "evaluation": "validation", "test": "test"}


def _keys() -> frozenset[str]:
    return frozenset(f"{s:04}_{n:06}" for s, n in product(range(1, 21), range(1, 5 * _N_TEXTS + 1)))


def _resolve(path: PurePosixPath, groups: dict[str, str]) -> dict[str, str] | None:
    block, text = divmod(int(groups.pop("number")) - 1, _N_TEXTS)
    if not 0 <= block < len(_EMOTIONS):
        return None
    emotion = _EMOTIONS[block]
    language = "zh" if int(groups["speaker"]) <= 10 else "en"
    groups |= {"emotion": emotion, "language": language, "text": f"{language}-{text + 1:03}"}
    if path.parent.name in _PARTS:
        groups["part"] = _PARTS[path.parent.name]
    folders = [part for part in path.parent.parts if part.lower() in _EMOTIONS]
    if folders and folders[-1].lower() != emotion:
        groups["note"] = f"is in {folders[-1]}, its number means {emotion}"
    return groups


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
    pattern=r"(?P<speaker>00\d\d)_(?P<number>\d{6})",
    codes={name: name for name in _EMOTIONS},
    originals={name: name.title() for name in _EMOTIONS},
    speakers={f"{n:04}": ("male" if f"{n:04}" in _MEN else "female", None) for n in range(1, 21)},
    resolve=_resolve,
    inner=r"(?i)00\d\d|neutral|angry|happy|sad|surprise|train|evaluation|test",
    keys=_keys,
)
