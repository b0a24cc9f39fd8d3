"""Find a corpus in a folder: walk it, read the file names, and report what is not as it should be.

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
from emovox.datasets.corpora import CORPORA, find_corpus
from emovox.datasets.corpora.corpus import Corpus, Fields
from emovox.datasets.emobox import official_keys
from emovox.datasets.manifest import Manifest
from emovox.errors import ManifestError

__all__ = ["ScanReport", "printable", "scan", "walk", "walk_audio"]

# How far the corpus's folder may be below, or above, the one that is given.
_MAX_DOWN = 2
_MAX_UP = 2


@dataclass(frozen=True, slots=True)
class ScanReport:
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
    """Files with valid names that are not among the official clips; they are in the manifest."""
    misnamed: tuple[tuple[str, str], ...] = ()
    """Files whose name or place is wrong but could be read, and what is wrong; in the manifest."""
    unread: tuple[str, ...] = ()
    """Audio files whose names do not fit the corpus; not in the manifest."""
    duplicates: tuple[tuple[str, str], ...] = ()
    """Files that are a second copy of a clip by name, and the file that was kept."""
    empty: tuple[str, ...] = ()
    """Audio files without bytes, or whose bytes cannot be reached; not in the manifest."""
    outside: tuple[str, ...] = ()
    """Clips outside the folder that was chosen as ``root``; not in the manifest."""
    n_other: int = 0
    """Files that are not audio: tables, pictures, licences."""
    known_defects: tuple[str, ...] = ()
    """Known errors of the published corpus itself."""

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
        """Lines for people; at most ``most`` names of a kind, then a count of the rest."""
        yield (
            f"{self.corpus}: {self.n_clips} of {self.expected_clips} clips, "
            f"{self.n_speakers} of {self.expected_speakers} speakers in {printable(self.root)}"
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
            yield from (f"  {kind}: {printable(name)}" for name in names[:most])
            if len(names) > most:
                yield f"  {kind}: ... and {len(names) - most} more"
        yield from (f"  known defect: {text}" for text in self.known_defects)


def scan(name: str, root: str | Path) -> tuple[Manifest, ScanReport]:
    """Read the corpus ``name`` in the folder ``root``: its clips, and what is not as it should be.

    The corpus's own folder is found a level or two below ``root``, or above it when ``root`` is one of its
    inner folders. Any audio suffix is accepted. Files in a folder that is called like another corpus are not
    reported as clips outside, even where the names look alike.

    Raises:
        ManifestError: unknown corpus, no such folder, or no clip of the corpus in it.
    """
    corpus = find_corpus(name)
    if not Path(root).is_dir():
        raise ManifestError(
            f"{str(root)!r} is not a folder; give the one that holds {corpus.title} ({corpus.url})"
        )
    top = _climb(Path(root), corpus)
    everything = list(walk(top))
    audio = [(path, n_bytes) for path, n_bytes in everything if _is_audio(path)]
    prefix, outside = _choose_prefix(corpus, [path for path, _ in audio])
    inside = [(path.removeprefix(prefix), n_bytes) for path, n_bytes in audio if path.startswith(prefix)]
    place = top / prefix if prefix else top

    kept: dict[str, tuple[str, Fields]] = {}
    unread, empty, duplicates = [], [], []
    for path, n_bytes in inside:
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
            f"its layout is described in emovox.datasets.corpora.{corpus.owner}, get it from {corpus.url}"
        )
    paths, fields = [path for path, _ in kept.values()], [found for _, found in kept.values()]
    fields = list(corpus.enrich(place, fields)) if corpus.enrich else fields
    clips = list(zip(paths, fields, strict=True))
    manifest = Manifest(place, tuple(corpus.utterance(path, found) for path, found in clips))
    official = official_keys(name)
    return manifest, ScanReport(
        corpus=corpus.name,
        root=str(place),
        n_clips=len(manifest),
        n_speakers=len(manifest.speakers),
        expected_clips=corpus.n_clips,
        expected_speakers=corpus.n_speakers,
        missing=tuple(sorted(official - kept.keys())) if official else (),
        extra=tuple(path for path, found in clips if found.key not in official)
        if official and corpus.complete
        else (),
        misnamed=tuple((path, found.note) for path, found in clips if found.note),
        unread=tuple(unread),
        duplicates=tuple(duplicates),
        empty=tuple(empty),
        outside=tuple(path for path in outside if not _is_in_other_corpus(path, name)),
        n_other=sum(path.startswith(prefix) for path, _ in everything) - len(inside),
        known_defects=corpus.known_defects,
    )


def walk(root: Path) -> Iterator[tuple[str, int]]:
    """Every file under ``root`` with its size: ``(POSIX path relative to root, n_bytes)``.

    Folders are visited once even where links form a circle; a broken link has size 0, and a folder that may
    not be opened is skipped. Order is by name, shallow folders first.
    """
    seen: set[tuple[int, int]] = set()
    waiting: list[tuple[Path, str]] = [(root, "")]
    while waiting:
        folders: list[tuple[Path, str]] = []
        for folder, prefix in waiting:
            try:
                info = folder.stat()
                if (info.st_dev, info.st_ino) in seen:
                    continue
                seen.add((info.st_dev, info.st_ino))
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in listed:
                try:
                    is_folder = entry.is_dir()
                    n_bytes = entry.stat().st_size if not is_folder and entry.is_file() else 0
                except OSError:
                    is_folder, n_bytes = False, 0
                if is_folder:
                    folders.append((Path(entry.path), f"{prefix}{entry.name}/"))
                else:
                    yield prefix + entry.name, n_bytes
        waiting = folders


def walk_audio(root: Path) -> Iterator[tuple[str, int]]:
    """As `walk`, files with an audio suffix alone."""
    return ((path, n_bytes) for path, n_bytes in walk(root) if _is_audio(path))


def _is_audio(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    # macOS leaves "._x.wav" beside files in archives: metadata without sound.
    return not name.startswith("._") and os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES  # noqa: PTH122


def _climb(folder: Path, corpus: Corpus) -> Path:
    """Leave the folders that are inside the corpus (``Actor_07``, ``wav``, ...)."""
    for _ in range(_MAX_UP):
        if not re.fullmatch(corpus.inner, folder.resolve().name):
            break
        folder = folder.parent if folder.name else folder.resolve().parent
    return folder


def _choose_prefix(corpus: Corpus, paths: Sequence[str]) -> tuple[str, list[str]]:
    """The folder, at most two levels down, that holds this corpus and little else, and the clips outside it.

    A folder's score is the number of different clips below it less the number of foreign audio files; of
    equals the one with more copies wins, and then the deepest. Folders inside the corpus are never chosen.
    """
    clips: dict[str, dict[str, str]] = {"": {}}
    foreign: Counter[str] = Counter()
    copies: Counter[str] = Counter()
    for path in paths:
        prefixes = [""]  # a/b/c/x.wav -> "", "a/", "a/b/"
        for folder in path.split("/")[:-1][:_MAX_DOWN]:
            if re.fullmatch(corpus.inner, folder):
                break
            prefixes.append(f"{prefixes[-1]}{folder}/")
        for prefix in prefixes:
            found = corpus.parse(path.removeprefix(prefix))
            if found is None:
                foreign[prefix] += 1
            else:
                clips.setdefault(prefix, {}).setdefault(found.key, path)
                copies[prefix] += 1
    best = max(clips, key=lambda p: (len(clips[p]) - foreign[p], copies[p], p.count("/")))
    return best, [path for key, path in clips[""].items() if key not in clips[best]]


def _is_in_other_corpus(path: str, name: str) -> bool:
    folders = {"".join(c for c in part.lower() if c.isalnum()) for part in path.split("/")[:-1]}
    return any(other.replace("_", "") in folders for other in CORPORA if other != name)


def printable(name: str) -> str:
    """``name`` as valid text: bytes that are not become escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
