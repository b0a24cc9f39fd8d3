"""CREMA-D: ``AudioWAV/1001_DFA_ANG_XX.wav``: actor, sentence, intended emotion, level.

The emotion of the manifest is the intended one. With ``processedResults/tabulatedVotes.csv`` in place,
``extra`` offers what raters perceived in the speech alone: ``perceived`` (canonical names, joined by ``|`` on
a tie) and ``votes``. Ages and sexes are those of the corpus's VideoDemographics.csv.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from emovox.datasets.corpora.corpus import Corpus, Fields
from emovox.errors import ManifestError

__all__ = ["CREMAD"]

_CODES = {"ANG": "angry", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
_LETTERS = {code[0]: emotion for code, emotion in _CODES.items()}

# Actors 1001 to 1091 in order.
_AGES = (
    *(51, 21, 21, 42, 29, 58, 38, 46, 24, 27, 32, 23, 22, 24, 32, 61, 42, 25, 29, 61, 30, 22, 22),
    *(59, 48, 33, 44, 57, 33, 42, 31, 30, 31, 74, 48, 49, 45, 21, 51, 42, 42, 37, 25, 40, 22, 22),
    *(22, 38, 25, 62, 56, 33, 35, 36, 57, 52, 25, 36, 21, 28, 51, 56, 33, 53, 38, 25, 66, 34, 27),
    *(25, 41, 33, 24, 31, 40, 25, 20, 21, 21, 21, 30, 20, 45, 46, 34, 33, 62, 23, 24, 50, 29),
)
_SEXES = "MFFFMFFFFFMFFMMMMFMFFMMFFMMFFFMMMMMMFMMMMMFMMFFMFMMFFFFFMFMFFMFMMMMMMMMFFFFFMFFMMFMFMMMMFMF"


def _resolve(path: PurePosixPath, groups: dict[str, str]) -> dict[str, str]:
    key = path.stem
    if groups["intensity"] == "X":
        key, groups["note"] = f"{key}X", "the level is written X instead of XX"
    return groups | {"key": key}


def _enrich(root: Path, found: Sequence[Fields]) -> Sequence[Fields]:
    """Add the votes on the speech alone, where the corpus's table of votes is there."""
    places = (root / "processedResults", root, root.parent / "processedResults")
    tables = [folder / "tabulatedVotes.csv" for folder in places]
    table = next((path for path in tables if path.is_file()), None)
    if table is None:
        return found
    votes: dict[str, dict[str, str]] = {}
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                # Ids of votes on speech begin at 100000, those on face and film at 200000 and 300000.
                if int(row[""]) // 100_000 == 1:
                    counts = {letter: int(row[letter]) for letter in _LETTERS}
                    perceived = [
                        _LETTERS[letter] for letter, n in counts.items() if n == max(counts.values())
                    ]
                    votes[row["fileName"]] = {
                        "perceived": "|".join(perceived),
                        "votes": " ".join(f"{letter}{n}" for letter, n in counts.items()),
                    }
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise ManifestError(
            f"{str(table)!r} is not CREMA-D's table of votes ({error!r}); fetch it anew or move it away"
        ) from error
    return [replace(clip, extra={**clip.extra, **votes.get(clip.key, {})}) for clip in found]


CREMAD = Corpus(
    name="cremad",
    title="CREMA-D",
    licence="Open Database License 1.0, Database Contents License 1.0",
    commercial=True,
    citation=(
        "H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova and R. Verma: CREMA-D: Crowd-sourced "
        "Emotional Multimodal Actors Dataset. IEEE Transactions on Affective Computing 5(4), 2014"
    ),
    url="https://github.com/CheyneyComputerScience/CREMA-D",
    access="direct, with Git LFS",
    language="en",
    n_clips=7442,
    n_speakers=91,
    pattern=(
        r"(?P<speaker>10\d\d)_(?P<text>IEO|TIE|IOM|IWW|TAI|MTI|IWL|ITH|DFA|ITS|TSI|WSI)_"
        rf"(?P<emotion>{'|'.join(_CODES)})_(?P<intensity>LO|MD|HI|XX?)"
    ),
    codes=_CODES,
    speakers={
        str(1001 + n): ("male" if sex == "M" else "female", age)
        for n, (sex, age) in enumerate(zip(_SEXES, _AGES, strict=True))
    },
    intensities={"LO": "low", "MD": "medium", "HI": "high"},
    resolve=_resolve,
    inner=r"AudioWAV|AudioMP3",
    known_defects=("1076_MTI_SAD_XX is silent",),
    enrich=_enrich,
)
