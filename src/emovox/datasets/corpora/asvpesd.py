"""ASVP-ESD: ``Audio/actor_60/03-02-06-01-01-60-02-02-02-16.wav``; babies and other extras in ``Bonus/``.

Modality (03 = audio) - channel (01 speech, 02 no speech: laughter, cries, ...) - emotion - intensity -
statement - actor - age band - source - language - counters. Even actors are men. The tail is irregular: only
the six fields up to the actor are relied on, the others are offered in ``extra``. 12 is disappointment,
13 breath, 17 not explained.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus

__all__ = ["ASVPESD"]

_CHANNELS = {"01": "speech", "02": "non-speech"}
_AGES = {"01": "over 65", "02": "20 to 64", "03": "under 20", "04": "baby"}
_LANGUAGES = {"01": "zh", "02": "en", "04": "fr"}


def _resolve(path: PurePosixPath, groups: dict[str, str]) -> dict[str, str]:
    actor = int(groups.pop("actor"))
    channel = groups.pop("channel")
    bonus = "Bonus" in path.parts
    age, source, language = [*groups.pop("tail").replace(" ", "").split("-")[1:], "", "", ""][:3]
    groups["speaker"] = f"{actor:02}"
    if not bonus and actor != 0:  # actor 0 is several people, and the bonus part babies
        groups["sex"] = "male" if actor % 2 == 0 else "female"
    if channel == "01" and language in _LANGUAGES:
        groups["language"] = _LANGUAGES[language]
    folder = re.fullmatch(r"(?i)actor_(\d*)", path.parent.name)
    if folder is not None and not (folder[1] and int(folder[1]) == actor):
        groups["note"] = f"is in {path.parent.name}, its name says actor {actor}"
    extra = {
        "channel": _CHANNELS[channel],
        "statement": groups.pop("statement"),
        "age_band": _AGES.get(age, ""),
        "source": source,
        "language_code": language,
        "part": "bonus" if bonus else "main",
    }
    return groups | {name: text for name, text in extra.items() if text}


ASVPESD = Corpus(
    name="asvpesd",
    title="ASVP-ESD",
    licence="CC BY 4.0 by its page; the sound was collected from films and the web",
    commercial=False,
    citation=(
        "D. Tientcheu Touko Landry, Q. He, H. Yan and Y. Li: ASVP-ESD: A dataset and its benchmark for "
        "emotion recognition using both speech and non-speech utterances. Global Scientific Journals 8, 2020"
    ),
    url="https://zenodo.org/records/7132783",
    access="direct",
    language="mul",
    n_clips=13964,
    n_speakers=131,
    pattern=(
        r"03-(?P<channel>0[12])-(?P<emotion>\d\d)-(?P<intensity>\d+)-(?P<statement>\d+)-(?P<actor>\d+)"
        r"(?P<tail>(?:-\d+ ?)*)"
    ),
    codes={
        "01": "boredom",
        "02": "neutral",
        "03": "happy",
        "04": "sad",
        "05": "angry",
        "06": "fear",
        "07": "disgust",
        "08": "surprise",
        "09": "excited",
        "10": "pleasure",
        "11": "pain",
        "12": "disappointed",
        "13": "breath",
        "17": "unknown",
    },
    intensities={"01": "normal", "02": "high"},
    resolve=_resolve,
    complete=False,
    inner=r"(?i)actor_\d*|Audio|Bonus",
    known_defects=(
        "folders and names disagree on some actors; the name is followed",
        "one clip has the emotion 17, which is not explained",
        "counts are those of EmoBox's list",
    ),
)
