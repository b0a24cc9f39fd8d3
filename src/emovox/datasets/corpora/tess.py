"""TESS: ``OAF_angry/OAF_back_angry.wav``: speaker _ word _ emotion.

Two women, 64 (OAF) and 26 (YAF) years old, 200 words in the carrier phrase "Say the word ...".
"""

from __future__ import annotations

from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus

__all__ = ["TESS"]


def _resolve(path: PurePosixPath, groups: dict[str, str]) -> dict[str, str]:
    speaker, word, emotion = groups["speaker"].upper(), groups["text"].lower(), groups["emotion"].lower()
    found = {"emotion": emotion, "text": word}
    if speaker == "OA":  # one official name, OA_bite_neutral, lost its F
        speaker, found["note"] = "OAF", "the speaker OA is OAF"
    return found | {"speaker": speaker, "key": f"{speaker}_{word}_{emotion}"}


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
    pattern=(
        r"(?i)(?P<speaker>OAF?|YAF)_(?P<text>[a-z]+)_(?P<emotion>angry|disgust|fear|happy|neutral|ps|sad)"
    ),
    codes={
        "angry": "angry",
        "disgust": "disgust",
        "fear": "fear",
        "happy": "happy",
        "neutral": "neutral",
        "ps": "surprise",
        "sad": "sad",
    },
    speakers={"OAF": ("female", 64), "YAF": ("female", 26)},
    resolve=_resolve,
    inner=r"(?i)(oaf|yaf)_(angry|disgust|fear|happy|neutral|pleasant_surprised?|sad)",
    known_defects=(
        "OA_bite_neutral belongs to the speaker OAF",
        "a common mirror holds the whole tree twice",
    ),
)
