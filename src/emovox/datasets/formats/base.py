"""What all formats share: options for reading, a raw row, and the reports of reading and writing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from re import Pattern
from typing import Any

from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.scan import printable
from emovox.errors import nearest
from emovox.labels import EMOTIONS

__all__ = [
    "FIELDS",
    "CorpusFormat",
    "ExportReport",
    "ImportReport",
    "RawRow",
    "ReadOptions",
    "place_manifest",
]

FIELDS: tuple[str, ...] = tuple(f.name for f in fields(Utterance))
"""The fields of an utterance, in order."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Options for reading a foreign table or tree."""

    root: Path | None = None
    """The folder that relative paths start from; default: the table's folder."""
    corpus: str | None = None
    """Name of the corpus; default: that of the file or folder. A known corpus adds what file names say."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The table's own name of an emotion -> its label here."""
    speaker: Pattern[str] | None = None
    """Finds the speaker in the path: its first group, or the whole match."""
    unlabelled: bool = False
    """Keep rows that name no emotion, with the label ``unlabelled``: their values are used."""
    audio: Path | None = None
    """Folder that sound which is embedded in the table is written to."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row of a foreign table; ``cells`` are text by the fields of an utterance (and ``part``)."""

    where: str
    """Such as ``line 7``: how a report names the row."""
    path: str
    cells: Mapping[str, str]
    extra: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False
    """Written by emovox: cells are taken as they are, empty meaning not known."""
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
    """Rows left out because no label could be recognized in them: where, and the text in its place."""
    refused: tuple[tuple[str, str], ...] = ()
    """Rows left out for another reason: where, and why."""
    noted: tuple[tuple[str, str], ...] = ()
    """Rows that are in, without a value that was not understood: where, and what."""
    absent: tuple[str, ...] = ()
    """Paths of rows that are in, though there is no such file."""
    overlapping: tuple[tuple[str, str], ...] = ()
    """Rows whose span overlaps that of an earlier row: where, and with which."""
    no_speaker: int = 0
    """Rows whose speaker is not known."""
    own_labels: Mapping[str, int] = field(default_factory=dict)
    """Labels that are no known emotion and were taken as they are -> rows."""

    @property
    def ok(self) -> bool:
        """Whether every row is in the manifest, understood, and has its file."""
        return not (self.unknown or self.refused or self.noted or self.absent or self.overlapping)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {**plain, "ok": self.ok}

    def lines(self, *, most: int = 5) -> Iterator[str]:
        """Lines for people; at most ``most`` rows of a kind, then a count of the rest."""
        yield f"{printable(self.source)} ({self.format}): {self.n_kept} of {self.n_rows} rows kept"
        if self.own_labels:
            names = ", ".join(_describe_label(name, n) for name, n in self.own_labels.items())
            yield f"  labels that are no known emotion, taken as they are: {names}"
        counts = Counter(name for _, name in self.unknown)
        first = {name: where for where, name in reversed(self.unknown)}
        unknown = [
            f"{name!r}: {n} rows, first {first[name]}; --label NAME=LABEL gives its meaning"
            for name, n in counts.most_common()
        ]
        for kind, rows in (
            ("left out, no label in", unknown),
            ("left out", [f"{where}: {why}" for where, why in self.refused]),
            ("noted", [f"{where}: {what}" for where, what in self.noted]),
            ("no such file", list(self.absent)),
            ("overlapping spans", [f"{where} overlaps {other}" for where, other in self.overlapping]),
        ):
            yield from (f"  {kind}: {printable(row)}" for row in rows[:most])
            if len(rows) > most:
                yield f"  {kind}: ... and {len(rows) - most} more"
        if self.no_speaker:
            yield (
                f"  {self.no_speaker} rows name no speaker: they count as one speaker, "
                "so that no split of them passes for strict"
            )


def _describe_label(name: str, n: int) -> str:
    near = nearest(name, EMOTIONS, cutoff=0.75)
    return f"{printable(name)} {n}" + (f" (or {near!r}?)" if near else "")


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written, and what the format could not hold."""

    format: str
    path: Path
    n_rows: int
    lost: Mapping[str, int] = field(default_factory=dict)
    """Field -> number of utterances whose value is not in the file."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Ids of utterances that are not in the file, and why."""

    def lines(self, *, most: int = 5) -> Iterator[str]:
        """Lines for people."""
        yield f"{self.n_rows} utterances written to {self.path} ({self.format})"
        for name, n in self.lost.items():
            yield f"  this format does not hold {name}: lost for {n}"
        yield from (f"  left out: {printable(key)}: {why}" for key, why in self.left_out[:most])
        if len(self.left_out) > most:
            yield f"  left out: ... and {len(self.left_out) - most} more"


@dataclass(frozen=True, kw_only=True)
class CorpusFormat:
    """A format of labelled clips."""

    name: str
    title: str
    holds: frozenset[str]
    """The fields of an utterance that come back from it."""
    read: Callable[[Path, ReadOptions], tuple[Manifest, ImportReport]]
    write: Callable[[Manifest, Path, bool], Sequence[tuple[str, str]]] | None = None
    """Writes to a path, with absolute paths or not; returns ids of what was left out, and why."""
    target: Callable[[Path], Path] = lambda path: path
    """The file whose existence means that there is something already."""
    extra: str | None = None
    """The extra that it requires."""
    is_tree: bool = False
    """Whether it is a folder of sound that says by itself what is expressed."""


def place_manifest(manifest: Manifest, target: Path) -> Manifest:
    """The manifest with paths as ``target`` should have them; ``<target>.root`` is written where needed.

    Paths start from ``target``'s folder (from itself, if it is one) when the sound is below it; else they
    start from the manifest's root, which the companion file then names.
    """
    home = Path(os.path.abspath(target if target.is_dir() else target.parent))  # noqa: PTH100
    companion = target.with_name(f"{target.name}.root")
    root = Path(os.path.abspath(manifest.root))  # noqa: PTH100 - `resolve` would follow links
    if root.is_relative_to(home):
        companion.unlink(missing_ok=True)
        inner = root.relative_to(home)
        return Manifest(home, tuple(replace(u, path=(inner / u.path).as_posix()) for u in manifest))
    companion.write_text(f"{root}\n", encoding="utf-8", errors="surrogateescape")
    return Manifest(root, manifest.utterances)
