"""EMOVO (Italian): ``f1/dis-f1-b1.wav``: emotion - speaker - sentence.

Codes: dis(gusto) gio(ia) neu(trale) pau(ra) rab(bia) sor(presa) tri(stezza).
"""

from __future__ import annotations

from itertools import product
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus

__all__ = ["EMOVO"]

_CODES = {
    "dis": "disgust",
    "gio": "happy",
    "neu": "neutral",
    "pau": "fear",
    "rab": "angry",
    "sor": "surprise",
    "tri": "sad",
}
_SPEAKERS = ("f1", "f2", "f3", "m1", "m2", "m3")
_TEXTS = ("b1", "b2", "b3", "d1", "d2", "l1", "l2", "l3", "l4", "n1", "n2", "n3", "n4", "n5")


def _keys() -> frozenset[str]:
    return frozenset("-".join(parts) for parts in product(_CODES, _SPEAKERS, _TEXTS))


def _resolve(path: PurePosixPath, groups: dict[str, str]) -> dict[str, str]:
    groups = {name: text.lower() for name, text in groups.items()}
    folder = path.parent.name
    if folder.lower() in _SPEAKERS and folder.lower() != groups["speaker"]:
        groups["note"] = f"is in the folder of another speaker, {folder}"
    return groups | {"key": path.stem.lower()}


EMOVO = Corpus(
    name="emovo",
    title="EMOVO",
    licence="free for research",
    commercial=False,
    citation=(
        "G. Costantini, I. Iaderola, A. Paoloni and M. Todisco: EMOVO Corpus: an Italian Emotional Speech "
        "Database. LREC 2014"
    ),
    url="http://voice.fub.it/activities/corpora/emovo/index.html",
    access="direct",
    language="it",
    n_clips=588,
    n_speakers=6,
    pattern=(
        rf"(?i)(?P<emotion>{'|'.join(_CODES)})-(?P<speaker>{'|'.join(_SPEAKERS)})-(?P<text>{'|'.join(_TEXTS)})"
    ),
    codes=_CODES,
    speakers={name: ("female" if name.startswith("f") else "male", None) for name in _SPEAKERS},
    resolve=_resolve,
    inner=r"(?i)[fm][123]",
    keys=_keys,
)
