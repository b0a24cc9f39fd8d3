"""nEMO (Polish): ``samples/SM0_anger_77.wav``: speaker _ emotion _ sentence.

``data.tsv`` beside ``samples/`` adds sex, age and text; without it only the name is read.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from emovox.datasets.corpora.corpus import Corpus, Fields
from emovox.errors import ManifestError

__all__ = ["NEMO"]

_CODES = {
    "anger": "angry",
    "fear": "fear",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprise",
}


def _enrich(root: Path, found: Sequence[Fields]) -> Sequence[Fields]:
    """Add sex, age and words from the corpus's table, where it is there."""
    table = root / "data.tsv"
    if not table.is_file():
        return found
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows = {PurePosixPath(row["file_id"]).stem: row for row in reader}
    except (OSError, UnicodeDecodeError, KeyError, TypeError, csv.Error) as error:
        raise ManifestError(
            f"{str(table)!r} is not nEMO's table ({error!r}); fetch it anew or move it away"
        ) from error
    return [_add_facts(clip, rows.get(clip.key)) for clip in found]


def _add_facts(clip: Fields, row: dict[str, str] | None) -> Fields:
    if row is None:
        return replace(clip, note="not in data.tsv")
    age, sex = (row.get("age") or "").strip(), (row.get("gender") or "").strip()
    words = " ".join((row.get("normalized_text") or "").split())
    return replace(
        clip,
        sex=sex if sex in ("female", "male") else None,
        age=int(age) if age.isdecimal() and int(age) <= 120 else None,
        extra={**clip.extra, **({"words": words} if words else {})},
    )


NEMO = Corpus(
    name="nemo",
    title="nEMO",
    licence="CC BY-NC-SA 4.0",
    commercial=False,
    citation="I. Christop: nEMO: Dataset of Emotional Speech in Polish. LREC-COLING 2024",
    url="https://github.com/amu-cai/nEMO",
    access="direct",
    language="pl",
    n_clips=4481,
    n_speakers=9,
    pattern=(
        rf"(?P<speaker>EB0|IC0|KD0|KS0|MK0|MP0|SM0|TP0|WR0)_(?P<emotion>{'|'.join(_CODES)})_(?P<text>\d+)"
    ),
    codes=_CODES,
    inner="samples",
    enrich=_enrich,
)
