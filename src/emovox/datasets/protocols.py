"""Protocols by name, and splits in files.

The parts of a protocol's name are divided by ``/``; what is left out takes its default. The name of every
split is itself such a text and yields that split alone: ``emobox`` gives six splits of RAVDESS, and the first
of them is called ``emobox/ravdess/1``.

A split file is a CSV (or TSV, by its suffix) with a header. One column names clips: ``id``, ``path``
(relative to the manifest's root) or ``speaker`` (all clips of this person). The other columns are

- ``part``: train, validation or test (see ``PARTS``). Clips that are not named are left out.
- ``part`` and ``fold``: several splits; each row belongs to the fold that it names.
- ``fold`` alone: cross-validation; each fold is tested once, and the others train.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from emovox._files import nfc, open_atomic_text
from emovox.datasets.emobox import EMOBOX, emobox_folds, emobox_split
from emovox.datasets.manifest import Manifest
from emovox.datasets.splits import (
    VALIDATION_SHARE,
    Split,
    cross_corpus,
    given,
    held_out,
    loso,
    random_split,
    short_speakers,
    speaker_kfold,
    split_by_parts,
)
from emovox.errors import ProtocolError, did_you_mean

__all__ = ["KINDS", "N_FOLDS", "PROTOCOLS", "make_splits", "read_splits", "write_splits"]

N_FOLDS = 5
"""Folds of ``speaker-kfold`` when no number is given."""

PROTOCOLS: Mapping[str, str] = {
    "emobox[/CORPUS][/FOLD]": "EmoBox's published folds",
    "loso[/SPEAKER]": "leave one speaker out",
    f"speaker-kfold[/K={N_FOLDS}][/SEED=0][/N]": "groups of speakers, each tested once",
    "speakers/A,B,...": "these speakers are tested, all others train",
    "random[/SHARE=0.25][/SEED=0]": "by clip, speakers on both sides: only to compare with literature",
    "given": "the corpus's own train and test folders",
    "cross-corpus[/CORPUS]": "leave one corpus out",
    "FILE.csv": "columns id, path or speaker; part, fold or both",
}
"""What can be typed, and what it means."""

_NAMES = ("emobox", "loso", "speaker-kfold", "speakers", "random", "given", "cross-corpus")

KINDS: tuple[str, ...] = (*_NAMES, "file")
"""First words of the names that splits have."""

_MAX_PARTS = {"emobox": 2, "speaker-kfold": 3, "random": 2, "given": 0}


def make_splits(
    manifest: Manifest,
    protocol: str,
    *,
    allow_missing: bool = False,
    warn: Callable[[str], None] | None = None,
) -> tuple[Split, ...]:
    """Make the splits of ``protocol`` (see ``PROTOCOLS``) from ``manifest``, in their order.

    Args:
        allow_missing: accept a manifest that lacks clips which EmoBox or the file lists.
        warn: as in `read_splits`.

    Raises:
        ProtocolError: the protocol is unknown, or not possible with this manifest.
    """
    text = protocol.strip()
    if Path(text).suffix.lower() in {".csv", ".tsv", ".tab"}:
        return read_splits(manifest, text, allow_missing=allow_missing, warn=warn)
    kind, *rest = nfc(text).split("/")
    if kind not in _NAMES:
        hint = did_you_mean(kind, _NAMES, listed=PROTOCOLS)
        raise ProtocolError(f"there is no protocol {protocol!r}; {hint}")
    if len(rest) > _MAX_PARTS.get(kind, len(rest)):
        raise _malformed(kind, rest)

    if kind == "emobox":
        return _make_emobox(manifest, rest, allow_missing)
    if kind == "loso":
        return _select(loso(manifest), "/".join([kind, *rest]) if rest else None)
    if kind == "speaker-kfold":
        k = _number(kind, rest[0]) if rest else N_FOLDS
        seed = _number(kind, rest[1]) if len(rest) > 1 else 0
        wanted = f"speaker-kfold/{k}/{seed}/{rest[2]}" if len(rest) > 2 else None
        return _select(speaker_kfold(manifest, k, seed), wanted)
    if kind == "speakers":
        # Speaker ids may contain slashes.
        names = [name.strip() for name in "/".join(rest).split(",") if name.strip()]
        if not names:
            raise _malformed(kind, rest)
        return (held_out(manifest, names),)
    if kind == "random":
        try:
            share = float(rest[0]) if rest else 0.25
        except ValueError:
            raise _malformed(kind, rest) from None
        seed = _number(kind, rest[1]) if len(rest) > 1 else 0
        return (random_split(manifest, test_share=share, seed=seed),)
    if kind == "given":
        return (given(manifest),)
    corpora = ("/".join(rest),) if rest else manifest.corpora
    return tuple(cross_corpus(manifest, name) for name in corpora)


def _make_emobox(manifest: Manifest, rest: list[str], allow_missing: bool) -> tuple[Split, ...]:
    """``[CORPUS][/FOLD]``; a lone number is a fold."""
    corpus, fold = (None, rest[0]) if len(rest) == 1 and rest[0].isdecimal() else (*rest, None, None)[:2]
    candidates = [name for name in manifest.corpora if name in EMOBOX]
    if corpus is None and len(candidates) == 1:
        corpus = candidates[0]
    if corpus is None or corpus not in EMOBOX:
        raise ProtocolError(
            f"EmoBox's folds of {corpus or ', '.join(manifest.corpora) or 'nothing'}: name one corpus that "
            f"has some ({', '.join(EMOBOX)}), as in emobox/ravdess; for others there is speaker-kfold"
        )
    numbers = emobox_folds(corpus) if fold is None else (_number("emobox", fold),)
    return tuple(
        emobox_split(manifest, number, corpus=corpus, allow_missing=allow_missing) for number in numbers
    )


def _select(splits: tuple[Split, ...], name: str | None) -> tuple[Split, ...]:
    if name is None:
        return splits
    found = tuple(split for split in splits if split.name == name)
    if not found:
        raise ProtocolError(f"there is no split {name!r}; the last one is {splits[-1].name!r}")
    return found


def _number(kind: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise _malformed(kind, [text])
    return int(text)


def _malformed(kind: str, rest: list[str]) -> ProtocolError:
    form = next(form for form in PROTOCOLS if form.startswith(kind))
    return ProtocolError(f"the protocol {'/'.join([kind, *rest])!r} is malformed; the form is {form}")


# --------------------------------------------------------------------------------------- split files

_KEYS = ("id", "path", "speaker")
"""Columns that may name clips, in the order in which they are looked for."""


def read_splits(
    manifest: Manifest,
    path: str | Path,
    *,
    allow_missing: bool = False,
    warn: Callable[[str], None] | None = None,
    validation_share: float = VALIDATION_SHARE,
    seed: int = 0,
) -> tuple[Split, ...]:
    """Read the splits that the file at ``path`` makes of ``manifest``, folds in the order of the file.

    They are called ``file/<stem>`` or ``file/<stem>/<fold>``.

    Args:
        allow_missing: skip rows whose clips the manifest does not hold.
        warn: called with a line about such rows.

    Raises:
        ProtocolError: no such file, not such a table, a clip twice in a fold, in two folds of a
            cross-validation, or not in the manifest.
    """
    source = Path(path)
    rows = _read_rows(source)
    key = next((name for name in _KEYS if name in rows[0]), None)
    if key is None or not {"part", "fold"} & rows[0].keys():
        raise ProtocolError(
            f"{str(source)!r} has the columns {', '.join(rows[0])}; expected one of {', '.join(_KEYS)}, and "
            "part or fold or both"
        )
    folds: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        value, fold = nfc(row[key]), row.get("fold", "")
        if not value or value in folds[fold]:
            raise ProtocolError(f"{str(source)!r}: {key} {value!r} is twice in a fold, or is empty")
        folds[fold][value] = row.get("part", "test")
    if "part" not in rows[0]:
        folds = _rotate_folds(folds, f"{str(source)!r}: {key}")

    ids: dict[str, list[str]] = defaultdict(list)
    for u in manifest:
        ids[nfc(getattr(u, key))].append(u.id)
    if key == "speaker":
        short = short_speakers(manifest)
        ids |= {name: ids[speaker] for name, speaker in short.items() if name not in ids}
    splits = []
    for fold, values in folds.items():
        name = f"file/{source.stem}/{fold}" if fold else f"file/{source.stem}"
        missing = [value for value in values if value not in ids]
        if missing:
            n = f"1 {key} is" if len(missing) == 1 else f"{len(missing)} {key}s are"
            found = f"{name}: {n} not in the manifest, the first is {missing[0]!r}"
            if not allow_missing:
                raise ProtocolError(
                    f"{found}; complete the corpus, or allow what is missing and report it beside the score"
                )
            if warn is not None:
                warn(f"warning: {found}: left out")
        parts = {clip: part for value, part in values.items() for clip in ids.get(value, ())}
        splits.append(split_by_parts(manifest, name, parts, validation_share=validation_share, seed=seed))
    return tuple(splits)


def write_splits(path: str | Path, splits: Sequence[Split]) -> Path:
    """Write ``fold,id,part``, which `read_splits` reads back; the file is written atomically."""
    target = Path(path)
    with open_atomic_text(target) as stream:
        table = csv.writer(stream, delimiter=_delimiter(target), lineterminator="\n")
        table.writerow(("fold", "id", "part"))
        for split in splits:
            for part in ("train", "validation", "test"):
                table.writerows((split.name, key, part) for key in getattr(split, part))
    return target


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() in {".tsv", ".tab"} else ","


def _read_rows(source: Path) -> list[dict[str, str]]:
    try:
        with source.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter=_delimiter(source), strict=True))
    except FileNotFoundError as error:
        raise ProtocolError(f"there is no protocol file {str(source)!r}") from error
    except (OSError, csv.Error) as error:
        raise ProtocolError(f"{str(source)!r} is not a table that can be read: {error}") from error
    if not rows:
        raise ProtocolError(f"{str(source)!r} has no rows; expected a header and a row per clip or speaker")
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise ProtocolError(f"{str(source)!r}, row {number}: more or fewer cells than the header")
    return [{name.strip().lower(): cell for name, cell in row.items()} for row in rows]


def _rotate_folds(folds: Mapping[str, Mapping[str, str]], where: str) -> dict[str, dict[str, str]]:
    """Each fold is the test of a split in which all others train."""
    home: dict[str, str] = {}
    for fold, keys in folds.items():
        for key in keys:
            if home.setdefault(key, fold) != fold:
                raise ProtocolError(
                    f"{where} {key!r} is in the folds {home[key]!r} and {fold!r}; expected one, or a column "
                    "part: without it each is tested in its fold and trains in all others"
                )
    return {
        tested: {key: "test" if fold == tested else "train" for fold, keys in folds.items() for key in keys}
        for tested in folds
    }
