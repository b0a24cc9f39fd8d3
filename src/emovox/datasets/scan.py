"""From a folder to a manifest: walk, read the names, and report whatever is not as it should be.

No audio file is dropped silently: each one becomes an utterance or a line of the report.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emovox.audio import AUDIO_SUFFIXES
from emovox.datasets.corpora.corpus import Corpus, Fields
from emovox.datasets.manifest import Manifest
from emovox.errors import ManifestError

__all__ = ["Report", "scan_corpus", "walk"]

_DEPTH_DOWN = 2
_DEPTH_UP = 2


@dataclass(frozen=True, slots=True)
class Report:
    """What ``scan`` found beside the good clips. Paths are relative to ``root``, keys to the corpus."""

    corpus: str
    root: str
    n_clips: int
    n_speakers: int
    expected_clips: int
    expected_speakers: int
    missing: tuple[str, ...] = ()
    """Keys of official clips that are not there."""
    extra: tuple[str, ...] = ()
    """Files that are named well, yet are not among the official clips; they are in the manifest."""
    misnamed: tuple[tuple[str, str], ...] = ()
    """Files whose name or place is wrong but could still be read, and what is wrong; in the manifest."""
    unread: tuple[str, ...] = ()
    """Audio files whose names say nothing here; not in the manifest."""
    duplicates: tuple[tuple[str, str], ...] = ()
    """Files that are a second copy of a clip by name, and the file that was kept."""
    empty: tuple[str, ...] = ()
    """Audio files of no bytes, or whose bytes cannot be reached; not in the manifest."""
    outside: tuple[str, ...] = ()
    """Clips that lie beside ``root``, in a place that holds too many strangers; not in the manifest."""
    n_other: int = 0
    """Files that are not sound: tables, pictures, licences."""
    known_defects: tuple[str, ...] = ()
    """What the published corpus itself is known to have wrong."""

    @property
    def ok(self) -> bool:
        """Whether every official clip is there, once, under a name that can be read."""
        return (
            self.n_clips == self.expected_clips
            and self.n_speakers == self.expected_speakers
            and not (self.missing or self.unread or self.duplicates or self.empty or self.outside)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {**plain, "ok": self.ok}

    def lines(self, *, most: int = 5) -> Iterator[str]:
        """The report for people; at most ``most`` names of a kind, then a count of the rest."""
        yield (
            f"{self.corpus}: {self.n_clips} of {self.expected_clips} clips, "
            f"{self.n_speakers} of {self.expected_speakers} speakers in {_printable(self.root)}"
        )
        kinds: tuple[tuple[str, Sequence[str]], ...] = (
            ("missing", self.missing),
            ("extra", self.extra),
            ("misnamed", [f"{path}: {why}" for path, why in self.misnamed]),
            ("not understood", self.unread),
            ("duplicate", [f"{path} repeats {kept}" for path, kept in self.duplicates]),
            ("empty", self.empty),
            ("outside", self.outside),
        )
        for kind, names in kinds:
            yield from (f"  {kind}: {_printable(name)}" for name in names[:most])
            if len(names) > most:
                yield f"  {kind}: ... and {len(names) - most} more"
        yield from (f"  known defect: {text}" for text in self.known_defects)


def scan_corpus(
    corpus: Corpus, root: str | Path, *, keys: frozenset[str] | None = None
) -> tuple[Manifest, Report]:
    """Find the clips of ``corpus`` under (or, from an inner folder, above) ``root``.

    Args:
        keys: the official clips, if they are known; else ``corpus.keys`` decides.

    Raises:
        ManifestError: no such folder, or it holds no clip of this corpus.
    """
    given = Path(root)
    if not given.is_dir():
        raise ManifestError(
            f"{str(root)!r} is not a folder; give the one that holds {corpus.title} ({corpus.url})"
        )
    place = _settled(corpus, _outermost(given, corpus))
    official = keys if keys is not None else corpus.keys() if corpus.keys else None
    kept: dict[str, tuple[str, Fields]] = {}
    unread, empty, duplicates = [], [], []
    for path, n_bytes in place.files:
        found = corpus.parse(path)
        if found is None:
            unread.append(path)
        elif not n_bytes:
            empty.append(path)
        elif found.key in kept:
            duplicates.append((path, kept[found.key][0]))
        else:
            kept[found.key] = (path, found)
    if not kept:
        raise ManifestError(
            f"no clip of {corpus.title} under {str(root)!r} ({len(unread)} audio files with other names); "
            f"its layout is described in emovox.datasets.{corpus.owner}, get it from {corpus.url}"
        )
    paths, fields = [path for path, _ in kept.values()], [found for _, found in kept.values()]
    fields = list(corpus.enrich(place.root, fields)) if corpus.enrich else fields
    manifest = Manifest(
        place.root, tuple(corpus.utterance(path, found) for path, found in zip(paths, fields, strict=True))
    )
    return manifest, Report(
        corpus=corpus.name,
        root=str(place.root),
        n_clips=len(manifest),
        n_speakers=len(manifest.speakers),
        expected_clips=corpus.n_clips,
        expected_speakers=corpus.n_speakers,
        missing=tuple(sorted(official - kept.keys())) if official else (),
        extra=tuple(p for p, f in zip(paths, fields, strict=True) if f.key not in official)
        if official and corpus.complete
        else (),
        misnamed=tuple((path, f.note) for path, f in zip(paths, fields, strict=True) if f.note),
        unread=tuple(unread),
        duplicates=tuple(duplicates),
        empty=tuple(empty),
        outside=tuple(place.outside),
        n_other=place.n_other,
        known_defects=corpus.known_defects,
    )


def walk(root: Path) -> Iterator[tuple[str, int]]:
    """Every file under ``root`` with its size in bytes: ``(posix path relative to root, n_bytes)``.

    Folders are visited once even where links run in a circle; a link to nothing has size 0, and a
    folder that may not be opened is passed over. Order is by name, shallow folders first.
    """
    seen: set[tuple[int, int]] = set()
    waiting: list[tuple[Path, str]] = [(root, "")]
    while waiting:
        folders: list[tuple[Path, str]] = []
        for folder, prefix in waiting:
            for entry in _entries(folder, seen):
                if _is_folder(entry):
                    folders.append((Path(entry.path), f"{prefix}{entry.name}/"))
                else:
                    yield prefix + entry.name, _size_of(entry)
        waiting = folders


def _entries(folder: Path, seen: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    try:
        info = folder.stat()
        if (info.st_dev, info.st_ino) in seen:
            return []
        seen.add((info.st_dev, info.st_ino))
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda e: e.name)
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size if entry.is_file() else 0
    except OSError:
        return 0


def _is_audio(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    # "._x.wav" are the shadows that one operating system leaves in archives: no sound.
    return not name.startswith("._") and os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES  # noqa: PTH122


def _outermost(folder: Path, corpus: Corpus) -> Path:
    """Climb out of the folders that lie inside the corpus (``Actor_07``, ``wav``, ...)."""
    for _ in range(_DEPTH_UP):
        name = folder.resolve().name
        if not re.fullmatch(corpus.inner, name):
            break
        folder = folder.parent if folder.name else folder.resolve().parent
    return folder


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the corpus lies: its folder and the sound below it."""

    root: Path
    files: list[tuple[str, int]]
    outside: list[str]
    n_other: int


def _settled(corpus: Corpus, top: Path) -> _Place:
    """Descend to the folder, at most two levels down, that holds this corpus and little else.

    A folder's worth is the number of different clips below it less the number of strange audio files; of
    equals the one with more copies wins, and then the deepest. Folders inside the corpus are never chosen.
    """
    everything = list(walk(top))
    sound = [(path, n_bytes) for path, n_bytes in everything if _is_audio(path)]
    prefix, outside = _best_prefix(corpus, [path for path, _ in sound])
    inner = [(path.removeprefix(prefix), n_bytes) for path, n_bytes in sound if path.startswith(prefix)]
    n_other = sum(path.startswith(prefix) for path, _ in everything) - len(inner)
    return _Place(top / prefix if prefix else top, inner, outside, n_other)


def _best_prefix(corpus: Corpus, paths: Sequence[str]) -> tuple[str, list[str]]:
    """The prefix, and the paths of clips that are only to be had outside of it."""
    clips: dict[str, dict[str, str]] = {"": {}}
    strangers: Counter[str] = Counter()
    copies: Counter[str] = Counter()
    for path in paths:
        for prefix in _prefixes(path, corpus):
            found = corpus.parse(path.removeprefix(prefix))
            if found is None:
                strangers[prefix] += 1
            else:
                clips.setdefault(prefix, {}).setdefault(found.key, path)
                copies[prefix] += 1
    best = max(clips, key=lambda p: (len(clips[p]) - strangers[p], copies[p], p.count("/")))
    return best, [path for key, path in clips[""].items() if key not in clips[best]]


def _prefixes(path: str, corpus: Corpus) -> list[str]:
    """``a/b/c/x.wav`` -> ``"", "a/", "a/b/"``, as far as the corpus's own folders."""
    prefixes = [""]
    for folder in path.split("/")[:-1][:_DEPTH_DOWN]:
        if re.fullmatch(corpus.inner, folder):
            break
        prefixes.append(f"{prefixes[-1]}{folder}/")
    return prefixes


def _printable(name: str) -> str:
    """Names that are not valid text must still print."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
