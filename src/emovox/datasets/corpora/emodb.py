"""EMO-DB (Berlin): ``wav/03a01Fa.wav``: speaker 03, text a01, emotion F, version a.

The letters are German: W(ut) anger, L(angeweile) boredom, E(kel) disgust, A(ngst) fear, F(reude) happiness,
T(rauer) sadness, N(eutral).
"""

from __future__ import annotations

from emovox.datasets.corpora.corpus import Corpus

__all__ = ["EMODB"]


EMODB = Corpus(
    name="emodb",
    title="Berlin Database of Emotional Speech (EMO-DB)",
    licence="free for research; CC BY 4.0 on a later mirror",
    commercial=True,
    citation=(
        "F. Burkhardt, A. Paeschke, M. Rolfes, W. F. Sendlmeier and B. Weiss: A Database of German Emotional "
        "Speech. Interspeech 2005"
    ),
    url="http://emodb.bilderbar.info/",
    access="direct: download.zip",
    language="de",
    n_clips=535,
    n_speakers=10,
    pattern=r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<emotion>[WLEAFTN])(?P<version>[a-z])",
    codes={
        "W": "angry",
        "L": "boredom",
        "E": "disgust",
        "A": "fear",
        "F": "happy",
        "T": "sad",
        "N": "neutral",
    },
    speakers={
        "03": ("male", 31),
        "08": ("female", 34),
        "09": ("female", 21),
        "10": ("male", 32),
        "11": ("male", 26),
        "12": ("male", 30),
        "13": ("female", 32),
        "14": ("female", 35),
        "15": ("male", 25),
        "16": ("female", 31),
    },
    inner=r"(?i)wav",
)
