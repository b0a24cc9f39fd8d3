"""From raw rows to utterances: labels are translated, paths resolved, ids made.

A reader yields `RawRow`, in which everything is still text. ``assemble`` turns rows into a manifest and
reports why others are not in it. Nothing is dropped silently.
"""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emovox._files import find_file, nfc
from emovox.datasets.cells import (
    KEY,
    average_shares,
    find_top_label,
    format_shares,
    is_soft,
    normalize_shares,
    parse_shares,
    parse_value,
)
from emovox.datasets.corpora import CORPORA
from emovox.datasets.formats.base import FIELDS, ImportReport, RawRow, ReadOptions
from emovox.datasets.formats.columns import parse_seconds
from emovox.datasets.manifest import SEXES, UNKNOWN_SPEAKER, UNLABELLED, Manifest, Utterance
from emovox.datasets.soft_labels import set_shares, shares_of
from emovox.datasets.splits import part_of
from emovox.errors import LabelError, ManifestError
from emovox.labels import is_known, normalize_label

__all__ = ["assemble", "known_emotion", "translate_label"]

_EMPTY = frozenset({"", "nan", "none", "null", "<na>", "nat"})
_SEXES = {
    **dict.fromkeys(("f", "female", "w", "woman", "feminine"), "female"),
    **dict.fromkeys(("m", "male", "man", "masculine"), "male"),
    **dict.fromkeys(("o", "other", "d", "x", "diverse", "non-binary", "nonbinary"), "other"),
}
_LANGUAGES = {
    **dict.fromkeys(("eng", "english"), "en"),
    **dict.fromkeys(("deu", "ger", "german", "deutsch"), "de"),
    **dict.fromkeys(("pol", "polish"), "pl"),
    **dict.fromkeys(("ben", "bengali", "bangla"), "bn"),
    **dict.fromkeys(("ita", "italian"), "it"),
    **dict.fromkeys(("urd", "urdu"), "ur"),
    **dict.fromkeys(("zho", "chi", "cmn", "chinese", "mandarin"), "zh"),
    **dict.fromkeys(("fra", "fre", "french"), "fr"),
    **dict.fromkeys(("spa", "spanish"), "es"),
    **dict.fromkeys(("jpn", "japanese"), "ja"),
}


def translate_label(text: str, labels: Mapping[str, str]) -> str | None:
    """The label that a table calls ``text``: by ``labels``, else the canonical name, else its own.

    ``None`` where the text cannot be a label.
    """
    key = nfc(text.strip())
    try:
        return normalize_label(labels.get(key, labels.get(key.lower(), key)))
    except LabelError:
        return None


def known_emotion(text: str, labels: Mapping[str, str]) -> str | None:
    """As `translate_label`, for known emotions and the keys of ``labels`` alone."""
    label = translate_label(text, labels)
    translated = {nfc(name).strip().lower() for name in labels}
    return label if label and (is_known(label) or nfc(text).strip().lower() in translated) else None


class _RefusedError(Exception):
    """This row may not be in the manifest."""


class _UnknownError(Exception):
    """No label was recognized in this row."""


def assemble(
    rows: Iterable[RawRow], *, format: str, source: Path, base: Path, options: ReadOptions
) -> tuple[Manifest, ImportReport]:
    """The manifest of all rows that can be understood, and the report on all others.

    Args:
        base: the folder that relative paths start from, unless ``options.root`` is given.
    """
    rows = list(rows)
    start = Path(os.path.abspath(options.root or base))  # noqa: PTH100 - `resolve` would follow links
    paths = [_absolute_path(row.path, start) for row in rows]
    usable = [
        not row.trouble
        and (options.unlabelled or bool(row.cells.get("emotion")) or len(_list_label_columns(row)) > 1)
        for row in rows
    ]
    root = _find_root(
        start, [path for path, good in zip(paths, usable, strict=True) if path is not None and good]
    )
    name = source.stem if source.suffix and not source.is_dir() else Path(os.path.abspath(source)).name  # noqa: PTH100
    corpus = options.corpus or nfc(" ".join(name.encode("utf-8", "replace").decode().split())) or "corpus"
    # Where other rows have several labels with weights, "keen:1" is one with its weight, and no own label.
    soft = any("," in cell and is_soft(cell) for cell in (row.cells.get("emotion", "") for row in rows))
    builder = _ManifestBuilder(options, root, corpus, _has_own_speakers(rows, options), soft)
    stems = Counter(os.path.splitext(path)[0] for path in set(paths) if path is not None)  # noqa: PTH122
    for row, path in zip(rows, paths, strict=True):
        unique = path is not None and stems[os.path.splitext(path)[0]] == 1  # noqa: PTH122
        builder.add(row, path, unique_stem=unique)
    kept = tuple(builder.kept.values())
    own = Counter(u.emotion for u in kept if not is_known(u.emotion) and u.emotion != UNLABELLED)
    return Manifest(root, kept), ImportReport(
        format=format,
        source=str(source),
        n_rows=len(rows),
        n_kept=len(kept),
        unknown=tuple(builder.unknown),
        refused=tuple(builder.refused),
        noted=tuple(builder.noted),
        absent=tuple(u.path for u in kept if not os.path.exists(root / u.path)),  # noqa: PTH110 - never raises
        overlapping=_find_overlaps(builder),
        no_speaker=sum(u.known_speaker is None for u in kept),
        own_labels=dict(own.most_common()),
    )


def _absolute_path(path: str, start: Path) -> str | None:
    """The path of a file, in the form that exists: of another system, with blanks, or other Unicode."""
    if not path or "\0" in path:
        return None
    found = os.path.normpath(os.path.join(start, path))  # noqa: PTH118
    if os.path.exists(found):  # noqa: PTH110
        return found
    for form in (path.replace("\\", "/"), path.strip(), path.strip().replace("\\", "/")):
        other = find_file(os.path.normpath(os.path.join(start, form)))  # noqa: PTH118
        if other is not None:
            return other
    return found


def _find_root(start: Path, paths: Sequence[str]) -> Path:
    """``start`` if everything is below it, else the deepest folder above it that everything is below."""
    inside = f"{start}{os.sep}" if str(start) != os.sep else os.sep
    outside = {os.path.dirname(path) for path in paths if not path.startswith(inside)}  # noqa: PTH120
    return Path(os.path.commonpath([start, *outside])) if outside else start


def _has_own_speakers(rows: Sequence[RawRow], options: ReadOptions) -> bool:
    """Whether the speakers of this table are named as emovox names them, ``<corpus>-<speaker>``.

    Decided for the table as a whole: else ``1`` and ``mine-1`` of one corpus could become one person.
    """
    owners = tuple(f"{corpus.owner}-" for corpus in CORPORA.values())
    named = {(name, _cell(row, "corpus")) for row in rows if (name := _cell(row, "speaker"))}
    return all(name.startswith((*owners, f"{options.corpus or corpus}-")) for name, corpus in named)


def _cell(row: RawRow, name: str) -> str | None:
    text = row.cells.get(name, "")
    if row.whole:
        return text or None
    text = nfc(_on_one_line(text.strip()))
    return None if text.lower() in _EMPTY else text


@dataclass
class _ManifestBuilder:
    """Collects the rows of one manifest."""

    options: ReadOptions
    root: Path
    corpus: str
    own_speakers: bool
    soft: bool
    kept: dict[str, Utterance] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    unknown: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    noted: list[tuple[str, str]] = field(default_factory=list)
    ratings: dict[str, dict[str, Utterance]] = field(default_factory=dict)
    """Id -> annotator -> the clip as this annotator labelled it."""

    def add(self, row: RawRow, path: str | None, *, unique_stem: bool) -> None:
        """Add one row, or report it; ``unique_stem``: no other file has its name less the suffix."""
        notes: list[str] = []
        annotator = None if row.whole else _cell(row, "annotator")
        try:
            if row.trouble is not None:
                raise _RefusedError(row.trouble)
            made = self._own(row, path) if row.whole else self._foreign(row, path, notes, unique_stem)
            if annotator is not None and annotator not in self.ratings.get(made.id, {}):
                self.ratings.setdefault(made.id, {})[annotator] = made
            elif made.id in self.kept:
                raise _RefusedError(f"the id {made.id!r} is that of an earlier row, {self.places[made.id]}")
        except _UnknownError as error:
            self.unknown.append((row.where, str(error)))
        except (_RefusedError, ManifestError) as error:
            self.refused.append((row.where, str(error)))
        else:
            ratings = list(self.ratings.get(made.id, {}).values())
            self.kept[made.id] = _average_ratings(ratings) if len(ratings) > 1 else made
            self.places[made.id] = row.where
            self.noted.extend((row.where, note) for note in notes)

    def _path(self, row: RawRow, path: str | None) -> str:
        if path is None:
            raise _RefusedError("it names no file")
        inner = os.path.relpath(path, self.root).replace(os.sep, "/")
        if inner == ".":
            raise _RefusedError(f"{row.path!r} is a folder")
        return inner

    def _own(self, row: RawRow, path: str | None) -> Utterance:
        """A row that emovox wrote: taken as it is."""
        names = [name for name in FIELDS if name not in ("path", "extra") and row.cells.get(name)]
        cells: dict[str, Any] = {name: row.cells[name] for name in names}
        emotion = translate_label(cells.get("emotion", ""), self.options.labels)
        if emotion is None:
            raise _UnknownError(cells.get("emotion", ""))
        if missing := [name for name in ("id", "corpus", "speaker", "original") if name not in cells]:
            raise _RefusedError(f"it has no {missing[0]}")
        try:
            for name in ("start", "end", "age"):
                if name in cells:
                    cells[name] = int(cells[name]) if name == "age" else parse_seconds(cells[name])
        except ValueError as error:
            raise _RefusedError(str(error)) from error
        return Utterance(**{**cells, "emotion": emotion}, path=self._path(row, path), extra=dict(row.extra))

    def _foreign(self, row: RawRow, path: str | None, notes: list[str], unique_stem: bool) -> Utterance:
        place = self._path(row, path)
        corpus = self.options.corpus or _cell(row, "corpus") or self.corpus
        try:
            start, end = (
                None if (text := _cell(row, name)) is None else parse_seconds(text)
                for name in ("start", "end")
            )
        except ValueError as error:
            raise _RefusedError(f"start or end is no time in seconds: {error}") from error
        start = start or None
        known = self._known_clip(corpus, place) if start is None and end is None else None
        emotion = self._emotion(row, known, notes)
        facts: dict[str, Any] = {
            "original": _cell(row, "original") or _cell(row, "emotion") or emotion,
            "sex": _translate(row, "sex", _SEXES, notes),
            "age": _age(row, notes),
            "language": _translate(row, "language", _LANGUAGES, None),
            "text": _cell(row, "text"),
            "intensity": _cell(row, "intensity"),
        }
        shares = self._shares(row, _cell(row, "emotion"))
        extra = {name: text for name, text in row.extra.items() if text.strip()}
        if len(shares) > 1:
            extra[KEY] = format_shares(shares)
        if part := _cell(row, "part"):
            extra["part"] = part_of(part) or part
        if known is not None:
            read = {name: getattr(known, name) for name in facts if name != "original"}
            facts |= {name: value for name, value in read.items() if value is not None}
            return replace(known, **facts, emotion=emotion, extra={**extra, **known.extra})
        stem = os.path.splitext(place)[0] if unique_stem else place  # noqa: PTH122
        span = "" if start is None and end is None else f"#{start or 0:g}-{'' if end is None else f'{end:g}'}"
        return Utterance(
            id=row.cells.get("id") or nfc(_on_one_line(f"{corpus}/{stem}{span}")),
            path=place,
            corpus=corpus,
            speaker=self._speaker(row, corpus, place),
            emotion=emotion,
            start=start,
            end=end,
            extra=extra,
            **facts,
        )

    def _known_clip(self, corpus: str, place: str) -> Utterance | None:
        """What the corpus's own adapter reads in the place and the name."""
        adapter = CORPORA.get(corpus)
        found = adapter.parse(place) if adapter else None
        return adapter.utterance(place, found) if adapter and found else None

    def _emotion(self, row: RawRow, known: Utterance | None, notes: list[str]) -> str:
        text = _cell(row, "emotion")
        emotion = translate_label(text, self.options.labels) if text else None
        if shares := self._shares(row, text):
            return find_top_label(shares)
        if known is None and self.options.unlabelled:
            return emotion or UNLABELLED
        if known is None:
            if not text:
                raise _RefusedError("it names no emotion")
            if emotion is None:
                raise _UnknownError(text)
            return emotion
        # Codes of a known corpus, such as the letter W, are no labels of their own.
        if emotion is None or (not is_known(emotion) and text not in self.options.labels):
            return known.emotion
        if emotion != known.emotion:
            notes.append(f"{text!r} here, but the name of the file means {known.emotion!r}")
        return emotion

    def _shares(self, row: RawRow, text: str | None) -> dict[str, float]:
        """The shares of soft labels in a cell, or without one in columns of known emotions; else empty."""
        try:
            if text is not None and (is_soft(text) or (self.soft and ":" in text)):
                return parse_shares(text, lambda word: translate_label(word, self.options.labels))
            columns = {} if text is not None else _list_label_columns(row)
            if len(columns) < 2:
                return {}
            weights: dict[str, float] = {}
            for name, (label, cell) in columns.items():
                try:
                    weight = parse_value(cell)
                except ValueError:
                    raise ValueError(
                        f"column {name!r}: {cell!r} is not a number; expected a weight"
                    ) from None
                weights[label] = weights.get(label, 0.0) + (0.0 if math.isnan(weight) else weight)
            if not any(weights.values()) and self.options.unlabelled:
                return {}
            return normalize_shares(
                weights, ", ".join(f"{name} {cell}" for name, (_, cell) in columns.items())
            )
        except ValueError as error:
            raise _RefusedError(str(error)) from error

    def _speaker(self, row: RawRow, corpus: str, place: str) -> str:
        name = _cell(row, "speaker")
        if name is None and self.options.speaker is not None:
            found = self.options.speaker.search(place)
            name = nfc(_on_one_line((found[1] if found.re.groups else found[0]) or "")) if found else None
            return f"{corpus}-{name or UNKNOWN_SPEAKER}"
        if name is None:
            return f"{corpus}-{UNKNOWN_SPEAKER}"
        return name if self.own_speakers else f"{corpus}-{name}"


def _list_label_columns(row: RawRow) -> dict[str, tuple[str, str]]:
    """Columns that are named by a known emotion -> its label, and the cell."""
    found = {}
    for name, cell in row.extra.items():
        label = known_emotion(name, {})
        if label is not None:
            found[name] = label, cell
    return found


def _average_ratings(ratings: Sequence[Utterance]) -> Utterance:
    """One clip as its annotators labelled it on average: shares of labels, and means of numbers."""
    first = ratings[0]
    extra = dict(first.extra)
    for name in dict.fromkeys(name for one in ratings for name in one.extra if name != KEY):
        try:
            values = [parse_value(one.extra.get(name, "")) for one in ratings]
        except ValueError:  # words: those of the first annotator
            continue
        known = [value for value in values if not math.isnan(value)]
        if known:
            extra[name] = f"{sum(known) / len(known):.9g}"
    # An annotator who gave no label, only values, has no share.
    labelled = [one for one in ratings if one.emotion != UNLABELLED]
    made = replace(first, extra=extra)
    return set_shares(made, average_shares([shares_of(one) for one in labelled])) if labelled else made


def _translate(row: RawRow, name: str, words: Mapping[str, str], notes: list[str] | None) -> str | None:
    """A cell by a table of words; an unknown one stays (``notes`` is ``None``) or is noted and dropped."""
    text = _cell(row, name)
    if text is None or text.lower() in words:
        return None if text is None else words[text.lower()]
    if notes is None:
        return text
    notes.append(f"{name} {text!r} was not understood; expected one of {', '.join(SEXES)}")
    return None


def _age(row: RawRow, notes: list[str]) -> int | None:
    text = _cell(row, "age")
    if text is None:
        return None
    try:
        age = float(text)
        if 0 <= age <= 120:
            return int(age)
    except ValueError:
        pass
    notes.append(f"age {text!r} was not understood; expected years from 0 to 120")
    return None


def _on_one_line(text: str) -> str:
    return "".join("_" if c in "\0\r\n" else c for c in text)


def _find_overlaps(builder: _ManifestBuilder) -> tuple[tuple[str, str], ...]:
    """Rows of one file whose spans overlap, each with the earlier row of the pair."""
    by_file: dict[str, list[Utterance]] = defaultdict(list)
    for u in builder.kept.values():
        by_file[u.path].append(u)
    found = []
    for rows in by_file.values():
        if len(rows) < 2:
            continue
        rows.sort(key=lambda u: (u.start or 0.0, u.end or float("inf")))
        last = rows[0]
        for u in rows[1:]:
            if (u.start or 0.0) < (last.end if last.end is not None else float("inf")):
                found.append((builder.places[u.id], f"{builder.places[last.id]} ({u.path})"))
            if u.end is None or (last.end is not None and u.end > last.end):
                last = u
    return tuple(found)
