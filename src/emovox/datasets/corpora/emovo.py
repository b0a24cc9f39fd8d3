"""EMOVO (Italian): ``f1/dis-f1-b1.wav``: emotion - speaker - sentence.

Codes: dis(gusto) gio(ia) neu(trale) pau(ra) rab(bia) sor(presa) tri(stezza).
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus, Fields

__all__ = ["EMOVO"]

_EMOTIONS = {
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
_NAME = re.compile(rf"({'|'.join(_EMOTIONS)})-({'|'.join(_SPEAKERS)})-({'|'.join(_TEXTS)})", re.ASCII)


def _keys() -> frozenset[str]:
    return frozenset("-".join(parts) for parts in product(_EMOTIONS, _SPEAKERS, _TEXTS))


def _parse(relpath: str) -> Fields | None:
    path = PurePosixPath(relpath)
    name = _NAME.fullmatch(path.stem.lower())
    if name is None:
        return None
    strange = path.parent.name.lower() in _SPEAKERS and path.parent.name.lower() != name[2]
    return Fields(
        key=name[0],
        speaker=name[2],
        emotion=_EMOTIONS[name[1]],
        original=name[1],
        sex="female" if name[2].startswith("f") else "male",
        text=name[3],
        note=f"lies in the folder of another speaker, {path.parent.name}" if strange else None,
    )


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
    emotions=tuple(_EMOTIONS.values()),
    parse=_parse,
    keys=_keys,
    inner=r"(?i)[fm][123]",
)
