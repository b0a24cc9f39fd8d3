"""From foreign rows to utterances: names are translated, paths settled, ids made.

A reader yields drafts, rows in which everything is still text. ``assemble`` turns them into a
manifest and says of each row that is not in it why. Nothing is dropped silently.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emovox.datasets.corpora import CORPORA
from emovox.datasets.formats.base import FIELDS, Draft, ImportReport, Reading
from emovox.datasets.manifest import SEXES, UNKNOWN_SPEAKER, Manifest, Utterance
from emovox.datasets.splits import PARTS
from emovox.errors import LabelError, ManifestError
from emovox.labels import canonical

__all__ = ["assemble", "emotion_of", "part_of", "seconds"]

_NOTHING = frozenset({"", "nan", "none", "null", "<na>", "nat"})
_SEX = {
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
_TIMEDELTA = re.compile(r"(?:(\d+) days? ?\+?)?(\d+):(\d\d):(\d\d(?:\.\d+)?)", re.ASCII)


def emotion_of(text: str, labels: Mapping[str, str]) -> str | None:
    """Our name of an emotion that a table calls ``text``; ``None`` if nobody knows."""
    told = labels.get(text, labels.get(text.strip().lower(), text))
    try:
        return canonical(told)
    except LabelError:
        return None


def part_of(text: str) -> str | None:
    """``train``, ``validation`` or ``test`` when ``text`` is a name of it."""
    return PARTS.get(text.strip().lower())


def seconds(text: str) -> float:
    """Seconds out of ``1.25`` or ``0 days 00:00:01.250000``.

    Raises:
        ValueError: it is neither.
    """
    clock = _TIMEDELTA.fullmatch(text.strip())
    if clock is None:
        return float(text)
    days, hours, minutes, rest = clock.groups()
    whole_s = ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60
    return round(whole_s + float(rest), 9)  # these clocks count nanoseconds


# --- from drafts to a manifest ----------------------------------------------------------------------


class _RefusedError(Exception):
    """This row may not be in the manifest."""


class _UnknownError(Exception):
    """This row's emotion is none of ours."""


def assemble(
    drafts: Iterable[Draft], *, format: str, source: Path, base: Path, options: Reading
) -> tuple[Manifest, ImportReport]:
    """The manifest out of all rows that can be understood, and the report on all others.

    Args:
        base: the folder that relative paths start from, unless ``options.root`` says otherwise.
    """
    rows = list(drafts)
    start = Path(os.path.abspath(options.root or base))  # noqa: PTH100 - `resolve` would follow links
    paths = [_absolute(row.path, start) for row in rows]
    usable = [not row.trouble and bool(row.cells.get("emotion")) for row in rows]
    root = _root(start, [path for path, good in zip(paths, usable, strict=True) if path is not None and good])
    work = _Assembly(options, root, options.corpus or _name_of(source), _names(rows, options))
    stems = Counter(os.path.splitext(path)[0] for path in set(paths) if path is not None)  # noqa: PTH122
    for row, path in zip(rows, paths, strict=True):
        work.add(row, path, lone=path is not None and stems[os.path.splitext(path)[0]] == 1)  # noqa: PTH122
    kept = tuple(work.kept.values())
    return Manifest(root, kept), ImportReport(
        format=format,
        source=str(source),
        n_rows=len(rows),
        n_kept=len(kept),
        unknown=tuple(work.unknown),
        refused=tuple(work.refused),
        noted=tuple(work.noted),
        absent=tuple(u.path for u in kept if not os.path.exists(root / u.path)),  # noqa: PTH110 - never raises
        no_speaker=sum(u.speaker == f"{u.corpus}-{UNKNOWN_SPEAKER}" for u in kept),
    )


def _absolute(path: str, start: Path) -> str | None:
    if not path or "\0" in path:
        return None
    found = os.path.normpath(os.path.join(start, path))  # noqa: PTH118
    if "\\" in path and not os.path.exists(found):  # noqa: PTH110 - a table from another system
        other = os.path.normpath(os.path.join(start, path.replace("\\", "/")))  # noqa: PTH118
        found = other if os.path.exists(other) else found  # noqa: PTH110
    return found


def _root(start: Path, paths: Sequence[str]) -> Path:
    """``start`` if everything lies below it, else the deepest folder above it that everything lies below."""
    inside = f"{start}{os.sep}" if str(start) != os.sep else os.sep
    outside = {os.path.dirname(path) for path in paths if not path.startswith(inside)}  # noqa: PTH120
    return Path(os.path.commonpath([start, *outside])) if outside else start


def _name_of(source: Path) -> str:
    name = source.stem if source.suffix and not source.is_dir() else Path(os.path.abspath(source)).name  # noqa: PTH100
    return " ".join(name.encode("utf-8", "replace").decode().split()) or "corpus"


def _names(rows: Sequence[Draft], options: Reading) -> bool:
    """Whether the speakers of this table are named as emovox names them, ``<corpus>-<speaker>``.

    Decided for the table as a whole: else ``1`` and ``mine-1`` of one corpus could become one person.
    """
    owners = tuple(f"{corpus.owner}-" for corpus in CORPORA.values())
    told = {(name, _cell(row, "corpus")) for row in rows if (name := _cell(row, "speaker"))}
    return all(name.startswith((*owners, f"{options.corpus or corpus}-")) for name, corpus in told)


def _cell(row: Draft, name: str) -> str | None:
    text = row.cells.get(name, "")
    if row.whole:
        return text or None
    text = _one_line(text.strip())
    return None if text.lower() in _NOTHING else text


@dataclass
class _Assembly:
    """Rows on their way into one manifest."""

    options: Reading
    root: Path
    corpus: str
    own_names: bool
    kept: dict[str, Utterance] = field(default_factory=dict)
    unknown: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    noted: list[tuple[str, str]] = field(default_factory=list)

    def add(self, row: Draft, path: str | None, *, lone: bool) -> None:
        """Put one row where it belongs; ``lone``: no other file of the table has its name less the suffix."""
        notes: list[str] = []
        try:
            if row.trouble is not None:
                raise _RefusedError(row.trouble)
            made = self._whole(row, path) if row.whole else self._foreign(row, path, notes, lone=lone)
            if made.id in self.kept:
                raise _RefusedError(f"the id {made.id!r} stands in an earlier row")
        except _UnknownError as error:
            self.unknown.append((row.where, str(error)))
        except (_RefusedError, ManifestError) as error:
            self.refused.append((row.where, str(error)))
        else:
            self.kept[made.id] = made
            self.noted.extend((row.where, note) for note in notes)

    def _path(self, row: Draft, path: str | None) -> str:
        if path is None:
            raise _RefusedError("it names no file")
        inner = os.path.relpath(path, self.root).replace(os.sep, "/")
        if inner == ".":
            raise _RefusedError(f"{row.path!r} is a folder")
        return inner

    def _whole(self, row: Draft, path: str | None) -> Utterance:
        """A row that emovox wrote: taken as it stands."""
        told = [name for name in FIELDS if name not in ("path", "extra") and row.cells.get(name)]
        cells: dict[str, Any] = {name: row.cells[name] for name in told}
        emotion = emotion_of(cells.get("emotion", ""), self.options.labels)
        if emotion is None:
            raise _UnknownError(cells.get("emotion", ""))
        if missing := [name for name in ("id", "corpus", "speaker", "original") if name not in cells]:
            raise _RefusedError(f"it has no {missing[0]}")
        try:
            for name in ("start", "end", "age"):
                if name in cells:
                    cells[name] = int(cells[name]) if name == "age" else seconds(cells[name])
        except ValueError as error:
            raise _RefusedError(str(error)) from error
        return Utterance(**{**cells, "emotion": emotion}, path=self._path(row, path), extra=dict(row.extra))

    def _foreign(self, row: Draft, path: str | None, notes: list[str], *, lone: bool) -> Utterance:
        place = self._path(row, path)
        corpus = self.options.corpus or _cell(row, "corpus") or self.corpus
        start, end = self._times(row)
        known = self._known(corpus, place) if start is None and end is None else None
        emotion = self._emotion(row, known, notes)
        facts: dict[str, Any] = {
            "original": _cell(row, "original") or _cell(row, "emotion") or emotion,
            "sex": _translated(row, "sex", _SEX, notes),
            "age": _age(row, notes),
            "language": _translated(row, "language", _LANGUAGES, None),
            "text": _cell(row, "text"),
            "intensity": _cell(row, "intensity"),
        }
        extra = {k: v for k, v in row.extra.items() if v.strip()}
        if part := _cell(row, "part"):
            extra["part"] = part_of(part) or part
        if known is not None:
            lent = {name: getattr(known, name) for name in facts if name != "original"}
            facts |= {name: value for name, value in lent.items() if value is not None}
            return replace(known, **facts, emotion=emotion, extra={**extra, **known.extra})
        stem = os.path.splitext(place)[0] if lone else place  # noqa: PTH122
        span = "" if start is None and end is None else f"#{start or 0:g}-{'' if end is None else f'{end:g}'}"
        return Utterance(
            id=row.cells.get("id") or _one_line(f"{corpus}/{stem}{span}"),
            path=place,
            corpus=corpus,
            speaker=self._speaker(row, corpus, place),
            emotion=emotion,
            start=start,
            end=end,
            extra=extra,
            **facts,
        )

    def _times(self, row: Draft) -> tuple[float | None, float | None]:
        try:
            start, end = (
                None if (text := _cell(row, name)) is None else seconds(text) for name in ("start", "end")
            )
        except ValueError as error:
            raise _RefusedError(f"start or end is no time in seconds: {error}") from error
        return start or None, end

    def _known(self, corpus: str, place: str) -> Utterance | None:
        """What the corpus's own adapter reads in the place and the name."""
        adapter = CORPORA.get(corpus)
        found = adapter.parse(place) if adapter else None
        return adapter.utterance(place, found) if adapter and found else None

    def _emotion(self, row: Draft, known: Utterance | None, notes: list[str]) -> str:
        text = _cell(row, "emotion")
        emotion = emotion_of(text, self.options.labels) if text else None
        if known is None:
            if not text:
                raise _RefusedError("it names no emotion")
            if emotion is None:
                raise _UnknownError(text)
            return emotion
        if emotion is not None and emotion != known.emotion:
            notes.append(f"{text!r} here, but the name of the file means {known.emotion!r}")
        return emotion or known.emotion

    def _speaker(self, row: Draft, corpus: str, place: str) -> str:
        told = _cell(row, "speaker")
        if told is None and self.options.speaker is not None:
            found = self.options.speaker.search(place)
            told = _one_line((found[1] if found.re.groups else found[0]) or "") if found else None
            return f"{corpus}-{told}" if told else f"{corpus}-{UNKNOWN_SPEAKER}"
        if told is None:
            return f"{corpus}-{UNKNOWN_SPEAKER}"
        return told if self.own_names else f"{corpus}-{told}"


def _translated(row: Draft, name: str, words: Mapping[str, str], notes: list[str] | None) -> str | None:
    """A cell by a table of words; what it lacks stays (``notes`` is ``None``) or is noted and dropped."""
    text = _cell(row, name)
    if text is None or text.lower() in words:
        return None if text is None else words[text.lower()]
    if notes is None:
        return text
    notes.append(f"{name} {text!r} was not understood; expected one of {', '.join(SEXES)}")
    return None


def _age(row: Draft, notes: list[str]) -> int | None:
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


def _one_line(text: str) -> str:
    return "".join("_" if c in "\0\r\n" else c for c in text)
