"""Which clips are to be judged: a manifest, or the folder of a corpus; and under which names of emotions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emovox.datasets import CORPORA, Manifest, formats, scan
from emovox.errors import ManifestError
from emovox.labels import LabelMap

__all__ = ["Folded", "Opened", "folded", "open_data"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A manifest, and what could not be taken into it."""

    manifest: Manifest
    n_not_read: int = 0
    """Files or rows that are missing in the manifest."""
    notes: tuple[str, ...] = ()
    """Lines for people; none when all is as it should be."""


def open_data(path: str | Path, *, corpus: str | None = None) -> Opened:
    """The utterances at ``path``.

    Args:
        path: a manifest or another table (see `emovox.datasets.formats`), a folder that holds
            ``manifest.csv``, or the folder of a corpus.
        corpus: of a folder, the corpus that it holds, if its name does not say so; of a table, the corpus to
            keep, or the one it is of, if its format names none.

    Raises:
        ManifestError: nothing there, or nothing of that corpus; the message says what to do.
        MissingExtraError: the table's format needs an extra that is not installed.
    """
    place = Path(path)
    if place.is_dir() and (place / "manifest.csv").is_file():
        place = place / "manifest.csv"
    name = (corpus or _named_by(place)) if place.is_dir() else None
    if name is not None:
        return _corpus(name, place)
    manifest, report = _table(place)
    if corpus is not None and "corpus" not in formats.FORMATS[report.format].holds:
        manifest, report = formats.read(place, format=report.format, options=formats.Reading(corpus=corpus))
    if corpus is not None:
        if corpus not in manifest.corpora:
            there = ", ".join(manifest.corpora) or "nothing"
            raise ManifestError(f"{str(path)!r} holds no clip of {corpus!r}, only of {there}")
        manifest = manifest.where(corpus=corpus)
    notes = () if report.ok else tuple(report.lines())
    return Opened(manifest, len(report.unknown) + len(report.refused), notes)


def _corpus(name: str, folder: Path) -> Opened:
    manifest, report = scan(name, folder)
    lost = len(report.missing) + len(report.unread) + len(report.empty) + len(report.outside)
    return Opened(manifest, lost, () if report.ok else tuple(report.lines()))


def _table(place: Path) -> tuple[Manifest, formats.ImportReport]:
    try:
        return formats.read(place)
    except ManifestError as error:
        if not place.is_dir():
            raise
        raise ManifestError(
            f"{error}; if it is a corpus, name it (--corpus): {', '.join(CORPORA)}"
        ) from error


def _named_by(folder: Path) -> str | None:
    """The corpus that the folder's name gives away, whatever its punctuation."""
    resolved = folder.resolve()
    for name in (resolved.name, resolved.parent.name):
        plain = "".join(c for c in name.lower() if c.isalnum())
        for corpus in CORPORA:
            if plain == corpus.replace("_", ""):
                return corpus
    return None


@dataclass(frozen=True, slots=True)
class Folded:
    """A manifest whose emotions fit a question, and what did not."""

    manifest: Manifest
    merged: Mapping[str, tuple[str, ...]]
    """New label -> the several old ones that became it."""
    left_out: Mapping[str, int]
    """Emotion -> clips that are not asked about."""


def folded(
    manifest: Manifest, *, labels: Sequence[str] | None = None, mapping: LabelMap | None = None
) -> Folded:
    """Fold the emotions by ``mapping``, and keep the clips whose emotion is among ``labels``.

    Raises:
        ManifestError: no clip is left.
    """
    report = mapping.report([u.emotion for u in manifest]) if mapping else None
    if mapping:
        rows = ((u, mapping(u.emotion)) for u in manifest)
        manifest = replace(
            manifest, utterances=tuple(replace(u, emotion=new) for u, new in rows if new is not None)
        )
    lost = {} if report is None else dict(report.dropped)
    if labels is not None:
        for u in manifest:
            if u.emotion not in labels:
                lost[u.emotion] = lost.get(u.emotion, 0) + 1
        manifest = manifest.where(emotion=tuple(labels))
    if not len(manifest):
        raise ManifestError(f"no clip is left to judge: their emotions are {', '.join(lost) or 'none'}")
    return Folded(manifest, {} if report is None else report.merged, dict(sorted(lost.items())))
