"""What all formats share: what a reader may be told, a foreign row, and both reports."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from re import Pattern
from typing import Any

from emovox.datasets.manifest import Manifest, Utterance

__all__ = ["FIELDS", "Draft", "Format", "ImportReport", "Reading", "Written", "placed"]

FIELDS: tuple[str, ...] = tuple(f.name for f in fields(Utterance))
"""The fields of an utterance, in order."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the reader of a foreign table may be told."""

    root: Path | None = None
    """The folder that relative paths start from; default: where the table lies."""
    corpus: str | None = None
    """Name of the corpus; default: that of the file or folder. A known one lends its adapter."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What emotions of this table mean: its own name -> one of ours."""
    speaker: Pattern[str] | None = None
    """Finds the speaker in the path: its first group, or the whole match."""
    audio: Path | None = None
    """Where sound that is embedded in the table is written to."""


@dataclass(frozen=True, slots=True)
class Draft:
    """One foreign row; ``cells`` are text, by the names of an utterance's fields (and ``part``)."""

    where: str
    """Such as ``line 7``: how a report names the row."""
    path: str
    cells: Mapping[str, str]
    extra: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False
    """Written by emovox: cells are taken as they stand, empty meaning not known."""
    trouble: str | None = None
    """Why the row cannot be used at all."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the rows of a foreign table. Each is in the manifest or named here."""

    format: str
    source: str
    n_rows: int
    n_kept: int
    unknown: tuple[tuple[str, str], ...] = ()
    """Rows kept out because their emotion is none of ours: where, and the emotion."""
    refused: tuple[tuple[str, str], ...] = ()
    """Rows kept out for another reason: where, and why."""
    noted: tuple[tuple[str, str], ...] = ()
    """Rows that are in, less something that was not understood: where, and what."""
    absent: tuple[str, ...] = ()
    """Paths of rows that are in, though there is no such file."""
    no_speaker: int = 0
    """Rows whose speaker is not known."""

    @property
    def ok(self) -> bool:
        """Whether every row is in the manifest, understood, and has its file."""
        return not (self.unknown or self.refused or self.noted or self.absent)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {**plain, "ok": self.ok}

    def lines(self, *, most: int = 5) -> Iterator[str]:
        """The report for people; at most ``most`` rows of a kind, then a count of the rest."""
        yield from map(_printable, self._lines(most))

    def _lines(self, most: int) -> Iterator[str]:
        yield f"{self.source} ({self.format}): {self.n_kept} of {self.n_rows} rows kept"
        emotions = Counter(name for _, name in self.unknown)
        yield from (
            f"  unknown emotion {name!r}: {n} rows kept out, first {where}; say what it means, or leave it"
            for name, n in emotions.most_common(most)
            for where in [next(w for w, other in self.unknown if other == name)]
        )
        if len(emotions) > most:
            yield f"  unknown emotions: ... and {len(emotions) - most} more"
        for kind, rows in (
            ("kept out", [f"{where}: {why}" for where, why in self.refused]),
            ("noted", [f"{where}: {what}" for where, what in self.noted]),
            ("no such file", list(self.absent)),
        ):
            yield from (f"  {kind}: {row}" for row in rows[:most])
            if len(rows) > most:
                yield f"  {kind}: ... and {len(rows) - most} more"
        if self.no_speaker:
            yield (
                f"  {self.no_speaker} rows do not say who speaks: they count as one speaker, "
                "so that no split of them passes for strict"
            )


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, and what the format could not hold."""

    format: str
    path: Path
    n_rows: int
    lost: Mapping[str, int] = field(default_factory=dict)
    """Field -> number of utterances whose value is not in the file."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Ids of utterances that are not in the file, and why."""

    def lines(self, *, most: int = 5) -> Iterator[str]:
        """The report for people."""
        yield f"{self.n_rows} utterances written to {self.path} ({self.format})"
        for name, n in self.lost.items():
            yield f"  this format does not hold {name}: lost for {n}"
        yield from (f"  left out: {_printable(key)}: {why}" for key, why in self.left_out[:most])
        if len(self.left_out) > most:
            yield f"  left out: ... and {len(self.left_out) - most} more"


@dataclass(frozen=True, kw_only=True)
class Format:
    """One way to write down who said what, with which expression."""

    name: str
    title: str
    holds: frozenset[str]
    """The fields of an utterance that come back from it."""
    read: Callable[[Path, Reading], tuple[Manifest, ImportReport]]
    write: Callable[[Manifest, Path, bool], Sequence[tuple[str, str]]] | None = None
    """Writes to a path, absolute paths inside or not; returns whom it left out, and why."""
    target: Callable[[Path], Path] = lambda path: path
    """The file whose existence means that something is there already."""
    extra: str | None = None
    """The extra that it needs."""


def placed(manifest: Manifest, target: Path) -> Manifest:
    """The manifest with paths as ``target`` should have them, ``<target>.root`` written where it is needed.

    Paths start from ``target``'s folder (from itself, if it is one) when the sound lies below it; else they
    start from the manifest's root, which the companion file then names.
    """
    home = Path(os.path.abspath(target if target.is_dir() else target.parent))  # noqa: PTH100
    note = target.with_name(f"{target.name}.root")
    root = Path(os.path.abspath(manifest.root))  # noqa: PTH100 - `resolve` would follow links
    if root.is_relative_to(home):
        note.unlink(missing_ok=True)
        inner = root.relative_to(home)
        return Manifest(home, tuple(replace(u, path=(inner / u.path).as_posix()) for u in manifest))
    note.write_text(f"{root}\n", encoding="utf-8", errors="surrogateescape")
    return Manifest(root, manifest.utterances)


def _printable(name: str) -> str:
    """Names that are not valid text must still print."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
