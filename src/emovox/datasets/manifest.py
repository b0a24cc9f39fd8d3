"""Manifests: who said what, with which expression, in which file; one row per utterance.

A ``Manifest`` is a root folder and a tuple of ``Utterance``. Paths are POSIX and relative to the root, so
that a manifest can travel. A missing value is ``None``, never an empty string and never 0.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from emovox import audio
from emovox._arrays import Floats
from emovox._files import find_file, nfc, open_atomic_text
from emovox.datasets.cells import (
    KEY,
    find_top_label,
    format_shares,
    is_soft,
    parse_shares,
    parse_value,
)
from emovox.errors import LabelError, ManifestError, nearest
from emovox.labels import normalize_label

__all__ = ["REQUIRED_COLUMNS", "SEXES", "UNKNOWN_SPEAKER", "UNLABELLED", "Manifest", "Utterance", "root_of"]

SEXES: tuple[str, ...] = ("female", "male", "other")
"""Values of ``Utterance.sex``; ``None`` = not known."""

UNKNOWN_SPEAKER = "unknown"
"""Speaker of clips that name none. They count as one person, so that no split of them passes for
speaker-independent."""

UNLABELLED = "unlabelled"
"""Emotion of clips that name none, where only their values are used (``labels: none``)."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A spoken clip: a file, or a span of one.

    Raises:
        ManifestError: a field has the wrong type or an impossible value.
    """

    id: str
    """Unique among all corpora: ``<corpus>/<key>``. Does not depend on where the files are."""
    path: str
    """POSIX, relative to the manifest's root."""
    corpus: str
    speaker: str
    """Unique among all corpora; the same person has the same id everywhere."""
    emotion: str
    """Canonical name, or a label of its own data in one spelling: see ``emovox.labels.normalize_label``."""
    original: str
    """The corpus's own name of the emotion."""
    start: float | None = None
    """Seconds from the start of the file; ``None`` = its beginning."""
    end: float | None = None
    """Seconds from the start of the file; ``None`` = its end."""
    sex: str | None = None
    age: int | None = None
    """Years."""
    language: str | None = None
    """ISO 639-1 code, such as ``en``."""
    text: str | None = None
    """Id of the sentence: two clips with the same id have the same words."""
    intensity: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Facts that only this corpus has."""

    def __post_init__(self) -> None:
        for name in ("id", "corpus", "speaker", "emotion", "original", "language", "text", "intensity"):
            value = getattr(self, name)
            if value is None and name in ("language", "text", "intensity"):
                continue
            if not isinstance(value, str) or not value.strip() or any(c in value for c in "\0\r\n"):
                raise self._invalid(name, "text on one line, not blank")
            # Names in composed and decomposed Unicode are the same name.
            object.__setattr__(self, name, nfc(value))
        if not isinstance(self.path, str) or not self.path or "\0" in self.path:
            raise self._invalid("path", "a plain POSIX path relative to the manifest's root")
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts or str(path) != self.path or self.path == ".":
            raise self._invalid("path", "a plain POSIX path relative to the manifest's root")
        try:
            label = normalize_label(self.emotion)
        except LabelError as error:
            raise ManifestError(f"utterance {self.id!r}: {error}") from error
        if label != self.emotion:
            raise self._invalid("emotion", f"the spelling {label!r} (keep the other in `original`)")
        for name in ("start", "end"):
            if (value := getattr(self, name)) is not None and not _is_time(value):
                raise self._invalid(name, "seconds from the start of the file, 0 or more, or None")
        if self.end is not None and self.end <= (self.start or 0.0):
            raise self._invalid("end", f"a time after the start, {self.start or 0.0} s")
        if self.sex is not None and self.sex not in SEXES:
            raise self._invalid("sex", f"one of {', '.join(SEXES)}, or None")
        if self.age is not None and not (
            isinstance(self.age, int) and not isinstance(self.age, bool) and 0 <= self.age <= 120
        ):
            raise self._invalid("age", "whole years from 0 to 120, or None")
        if not isinstance(self.extra, Mapping) or not all(
            isinstance(k, str) and isinstance(v, str) for k, v in self.extra.items()
        ):
            raise self._invalid("extra", "a mapping of text to text")

    def _invalid(self, name: str, expected: str) -> ManifestError:
        return ManifestError(
            f"utterance {self.id!r}: {name} is {getattr(self, name)!r}; expected {expected}; correct this row"
        )

    @property
    def is_span(self) -> bool:
        """Whether the utterance is a part of its file."""
        return bool(self.start) or self.end is not None

    @property
    def known_speaker(self) -> str | None:
        """The speaker, or ``None`` for clips that name none."""
        return None if self.speaker == f"{self.corpus}-{UNKNOWN_SPEAKER}" else self.speaker


def _is_time(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    )


@dataclass(frozen=True)
class Manifest:
    """Utterances below one folder. Iterating gives them in order.

    Raises:
        ManifestError: an id occurs twice.
    """

    root: Path
    utterances: tuple[Utterance, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))
        object.__setattr__(self, "utterances", tuple(self.utterances))
        if len(self.by_id) != len(self.utterances):
            twice = [k for k, n in Counter(u.id for u in self.utterances).items() if n > 1]
            raise ManifestError(
                f"{len(twice)} ids occur more than once, the first is {twice[0]!r}; an id names one "
                "utterance: drop or rename the others"
            )

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def __getitem__(self, key: str) -> Utterance:
        """The utterance with that id (``KeyError`` if there is none)."""
        return self.by_id[key]

    @cached_property
    def by_id(self) -> Mapping[str, Utterance]:
        """id -> utterance, in order."""
        return {u.id: u for u in self.utterances}

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id, in order."""
        return tuple(self.by_id)

    @property
    def corpora(self) -> tuple[str, ...]:
        """Names of the corpora, sorted."""
        return tuple(sorted({u.corpus for u in self.utterances}))

    @property
    def speakers(self) -> tuple[str, ...]:
        """Ids of the speakers, sorted."""
        return tuple(sorted({u.speaker for u in self.utterances}))

    @property
    def n_known_speakers(self) -> int | None:
        """Number of named speakers; ``None`` where no clip names its speaker."""
        return len({u.known_speaker for u in self.utterances} - {None}) or None

    @property
    def emotions(self) -> tuple[str, ...]:
        """Emotions that occur, sorted by name."""
        return tuple(sorted({u.emotion for u in self.utterances}))

    def file(self, utterance: Utterance) -> Path:
        """Path of the utterance's sound file, in the Unicode form that exists."""
        path = self.root / utterance.path
        if utterance.path.isascii():
            return path
        return Path(find_file(str(path)) or path)

    def clips(self) -> Iterator[tuple[str, Path, float | None, float | None]]:
        """Yield ``(id, file, start_s, end_s)`` of each utterance, as `emovox.extract` takes them."""
        for utterance in self:
            yield utterance.id, self.file(utterance), utterance.start, utterance.end

    def read(self, utterance: Utterance) -> Floats:
        """Decode one clip as mono float32 ``(n_samples,)`` at 16 kHz; a segment is cut out of its file.

        Raises:
            AudioError: the file cannot be read, or the span is outside of it.
        """
        return np.concatenate(list(audio.span_blocks(self.file(utterance), utterance.start, utterance.end)))

    def counts(self, name: str) -> dict[str | int | None, int]:
        """Number of utterances with each value of the field ``name``, most frequent first."""
        _check_field(name)
        return dict(Counter(getattr(u, name) for u in self.utterances).most_common())

    def where(self, **wanted: object) -> Manifest:
        """Keep the utterances whose fields have the wanted values; a collection means any of them.

        >>> Manifest(Path("."), ()).where(corpus="ravdess", emotion=("angry", "sad")).utterances
        ()
        """
        allowed: dict[str, Collection[object]] = {}
        for name, value in wanted.items():
            _check_field(name)
            is_collection = isinstance(value, Collection) and not isinstance(value, str)
            allowed[name] = value if is_collection else (value,)  # type: ignore[assignment]
        return self.keep(lambda u: all(getattr(u, name) in some for name, some in allowed.items()))

    def keep(self, wanted: Callable[[Utterance], bool]) -> Manifest:
        """Keep the utterances for which ``wanted`` is true."""
        return replace(self, utterances=tuple(u for u in self.utterances if wanted(u)))

    def select(self, ids: Iterable[str]) -> Manifest:
        """The utterances with these ids, in the order of ``ids``.

        Raises:
            ManifestError: an id is not in this manifest.
        """
        ids = list(ids)
        for key in ids:
            if key not in self.by_id:
                raise ManifestError(
                    f"no utterance has the id {key!r} among {len(self)}; was the whole corpus scanned?"
                )
        return replace(self, utterances=tuple(self.by_id[key] for key in ids))

    @classmethod
    def merged(cls, manifests: Iterable[Manifest]) -> Manifest:
        """Merge manifests; the root is the deepest folder that contains every root.

        Raises:
            ManifestError: no manifest was given, or two of them share an id.
        """
        parts = list(manifests)
        if not parts:
            raise ManifestError("no manifest was given; expected at least one")
        try:
            root = Path(os.path.commonpath([os.path.abspath(m.root) for m in parts]))  # noqa: PTH100
        except ValueError as error:
            raise ManifestError(f"the manifests share no folder ({error}); put them on one drive") from error
        rows = []
        for part in parts:
            # `resolve` would follow links
            inner = PurePosixPath(*Path(os.path.abspath(part.root)).relative_to(root).parts)  # noqa: PTH100
            rows += [replace(u, path=(inner / u.path).as_posix()) for u in part]
        return cls(root, tuple(rows))

    def write_csv(self, path: str | Path) -> Path:
        """Write one row per utterance, as UTF-8; the file is written atomically.

        Paths stay relative to ``root``, which is not in the file: see ``read_csv``.
        """
        target = Path(path)
        with open_atomic_text(target) as stream:
            table = csv.writer(stream)
            table.writerow(_COLUMNS)
            table.writerows([_to_cell(getattr(u, name)) for name in _COLUMNS] for u in self.utterances)
        return target

    @classmethod
    def read_csv(cls, path: str | Path, *, root: str | Path | None = None) -> Manifest:
        """Read a file of ``write_csv``; ``root`` is ``root_of(path)`` unless given.

        Further columns may hold numbers, such as ``arousal``: they go to ``extra``.

        Raises:
            ManifestError: no such file, not UTF-8, an unknown or missing column, an impossible value.
        """
        source = Path(path)
        try:
            with source.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
                table = csv.DictReader(stream, strict=True)
                rows, header = list(table), table.fieldnames or []
        except FileNotFoundError as error:
            raise ManifestError(
                f"there is no manifest {str(source)!r}; write one with Manifest.write_csv"
            ) from error
        except (OSError, csv.Error) as error:
            raise ManifestError(f"{str(source)!r} is not a CSV that can be read: {error}") from error
        _check_columns(source, header)
        return cls(
            root_of(source) if root is None else Path(root),
            tuple(_from_row(row, f"{source}, row {number}") for number, row in enumerate(rows, 1)),
        )


def root_of(source: Path) -> Path:
    """The folder that relative paths in a table, or in a folder with tables, start from.

    It is the table's folder, unless a companion file ``<name>.root`` names another: one is written beside a
    manifest that is not in a folder above its sound.
    """
    note = source.with_name(f"{source.name}.root")
    try:
        root = note.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n")
    except OSError:
        root = ""
    return Path(root) if root else source if source.is_dir() else source.parent


_COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(Utterance))
REQUIRED_COLUMNS = ("id", "path", "corpus", "speaker", "emotion", "original")


def _check_field(name: str) -> None:
    if name not in _COLUMNS or name == "extra":
        raise ManifestError(
            f"an utterance has no field {name!r} to choose by; it has {', '.join(_COLUMNS[:-1])}"
        )


def _to_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return json.dumps(dict(value), ensure_ascii=False, sort_keys=True) if value else ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def _check_columns(source: Path, names: Collection[str]) -> None:
    if missing := [name for name in REQUIRED_COLUMNS if name not in names]:
        raise ManifestError(
            f"{str(source)!r} has no column {missing[0]!r}; it has {list(names)}; see Manifest.write_csv"
        )
    for name in names:
        if name not in _COLUMNS and (near := nearest(name, _COLUMNS, cutoff=0.75)):
            raise ManifestError(
                f"{str(source)!r} has the unknown column {name!r}; did you mean {near!r}? A column of "
                "numbers of its own needs another name"
            )


def _from_row(row: Mapping[str, str], where: str) -> Utterance:
    cells = {name: value for name, value in row.items() if value}
    if None in row or None in row.values():
        raise ManifestError(
            f"{where}: got more or fewer cells than the header has columns; quote commas in cells"
        )
    numbers = {name: cells.pop(name).strip() for name in [*cells] if name not in _COLUMNS}
    for name, text in numbers.items():
        try:
            parse_value(text)
        except ValueError:
            raise ManifestError(
                f"{where}: {text!r} in the unknown column {name!r} is no number; expected numbers in columns "
                f"other than {', '.join(_COLUMNS)}"
            ) from None
    try:
        values: dict[str, object] = {name: _PARSERS.get(name, str)(value) for name, value in cells.items()}
        if numbers:
            values["extra"] = {**values.get("extra", {}), **numbers}  # type: ignore[dict-item]
    except (TypeError, ValueError, RecursionError) as error:
        raise ManifestError(
            f"{where}: {error}; expected numbers in start, end and age, JSON in extra"
        ) from error
    if is_soft(cells.get("emotion", "")):
        try:
            shares = parse_shares(cells["emotion"], normalize_label)
        except ValueError as error:
            raise ManifestError(f"{where}: {error}") from error
        values["emotion"] = find_top_label(shares)
        if len(shares) > 1:
            values["extra"] = {**values.get("extra", {}), KEY: format_shares(shares)}  # type: ignore[dict-item]
    if missing := [name for name in REQUIRED_COLUMNS if name not in values]:
        raise ManifestError(f"{where}: the cell {missing[0]!r} is empty; fill it in")
    try:
        return Utterance(**values)  # type: ignore[arg-type]
    except ManifestError as error:
        raise ManifestError(f"{where}: {error}") from error


_PARSERS: Mapping[str, Callable[[str], object]] = {
    "start": float,
    "end": float,
    "age": int,
    "extra": json.loads,
}
