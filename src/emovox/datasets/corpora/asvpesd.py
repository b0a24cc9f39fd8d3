"""ASVP-ESD: ``Audio/actor_60/03-02-06-01-01-60-02-02-02-16.wav``; babies and other extras under ``Bonus/``.

Modality (03 = audio) - channel (01 speech, 02 no speech: laughter, cries, ...) - emotion - intensity -
statement - actor - age band - source - language - counters. Even actors are men. The tail is irregular: only
the six fields up to the actor are relied on, the others are offered in ``extra``. 12 is disappointment,
13 breath, 17 not explained.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from emovox.datasets.corpora.corpus import Corpus, Fields

__all__ = ["ASVPESD"]

_EMOTIONS = {
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
}
_CHANNELS = {"01": "speech", "02": "non-speech"}
_INTENSITIES = {"01": "normal", "02": "high"}
_AGES = {"01": "over 65", "02": "20 to 64", "03": "under 20", "04": "baby"}
_LANGUAGES = {"01": "zh", "02": "en", "04": "fr"}
_NAME = re.compile(r"03-(0[12])-(\d\d)-(\d+)-(\d+)-(\d+)((?:-\d+ ?)*)", re.ASCII)


def _parse(relpath: str) -> Fields | None:
    path = PurePosixPath(relpath)
    name = _NAME.fullmatch(path.stem)
    if name is None or name[2] not in _EMOTIONS:
        return None
    actor = int(name[5])
    bonus = "Bonus" in path.parts
    age, source, language = [*name[6].replace(" ", "").split("-")[1:], "", "", ""][:3]
    extra = {
        "channel": _CHANNELS[name[1]],
        "statement": name[4],
        "age_band": _AGES.get(age, ""),
        "source": source,
        "language_code": language,
        "part": "bonus" if bonus else "main",
    }
    return Fields(
        key=path.stem,
        speaker=f"{actor:02}",
        emotion=_EMOTIONS[name[2]],
        original=name[2],
        # Actor 0 gathers several voices, and the bonus part babies.
        sex=None if bonus or actor == 0 else "male" if actor % 2 == 0 else "female",
        language=_LANGUAGES.get(language) if name[1] == "01" else None,
        intensity=_INTENSITIES.get(name[3]),
        extra={key: value for key, value in extra.items() if value},
        note=_folder_note(path.parent.name, actor),
    )


def _folder_note(folder: str, actor: int) -> str | None:
    number = re.fullmatch(r"(?i)actor_(\d*)", folder)
    if number is None or (number[1] and int(number[1]) == actor):
        return None
    return f"lies in {folder}, its name says actor {actor}"


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
    emotions=tuple(_EMOTIONS.values()),
    parse=_parse,
    complete=False,
    inner=r"(?i)actor_\d*|Audio|Bonus",
    known_defects=(
        "folders and names disagree on some actors; the name is followed",
        "one clip has the emotion 17, which is not explained",
        "counts are those of EmoBox's list",
    ),
)
