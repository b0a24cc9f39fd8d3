"""Which clips are to be judged: a manifest, or the folder of a corpus; and under which names of emotions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emovox.corpora import CORPORA, Manifest, scan
from emovox.errors import ManifestError
from emovox.labels import LabelMap

__all__ = ["Folded", "folded", "open_data"]


def open_data(path: str | Path, *, corpus: str | None = None) -> Manifest:
    """The utterances at ``path``.

    Args:
        path: a manifest (CSV), a folder that holds ``manifest.csv``, or the folder of a corpus.
        corpus: of a folder, the corpus that it holds, if its name does not say so; of a manifest, the corpus
            to keep.

    Raises:
        ManifestError: nothing there, or nothing of that corpus; the message says what to do.
    """
    place = Path(path)
    if place.is_dir() and (place / "manifest.csv").is_file():
        place = place / "manifest.csv"
    if place.is_dir():
        return scan(corpus or _named_by(place), place)[0]
    if not place.exists():
        raise ManifestError(f"there is no {str(path)!r}; give a manifest (CSV) or the folder of a corpus")
    manifest = Manifest.read_csv(place)
    if corpus is None:
        return manifest
    if corpus not in manifest.corpora:
        raise ManifestError(
            f"{str(path)!r} holds no clip of {corpus!r}, only of {', '.join(manifest.corpora) or 'nothing'}"
        )
    return manifest.where(corpus=corpus)


def _named_by(folder: Path) -> str:
    """The corpus that the folder's name gives away, whatever its punctuation."""
    resolved = folder.resolve()
    for name in (resolved.name, resolved.parent.name):
        plain = "".join(c for c in name.lower() if c.isalnum())
        for corpus in CORPORA:
            if plain == corpus.replace("_", ""):
                return corpus
    raise ManifestError(
        f"which corpus lies in {str(folder)!r}? Name it (--corpus), one of {', '.join(CORPORA)}; "
        "or give a manifest"
    )


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
