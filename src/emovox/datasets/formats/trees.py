"""Folders whose names say what is expressed: ``angry/x.wav``, or ``x_angry.wav``.

``folder``: the nearest folder whose name is a known emotion, from the file outwards, is the label; a file
without one takes the folder at the level where the other files have theirs, so that ``Frustrated`` beside
``Angry`` is a label, too. ``suffix``: the last words of the file's name, after ``_``, ``-`` or a space; a
word that is no known emotion is a label when several files end with it. A folder named ``train``, ``val``
or ``test`` (see `emovox.datasets.splits.part_of`) is kept as ``extra["part"]``, for the protocol ``given``.
Speakers are found by ``ReadOptions.speaker``, or not known.

Written, a tree holds the emotion and the part, and the sound is copied: ``<part>/<emotion>/<id>.wav`` or
``<part>/<id>_<emotion>.wav``. Nothing else comes back; a span of a file is left out.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from emovox._files import atomic_path
from emovox.datasets.formats.assembly import assemble, known_emotion
from emovox.datasets.formats.base import CorpusFormat, ImportReport, RawRow, ReadOptions
from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.scan import walk_audio
from emovox.datasets.splits import part_of
from emovox.errors import ManifestError

__all__ = ["FOLDER", "SUFFIX", "count_known"]


def _read_tree(
    source: Path,
    options: ReadOptions,
    *,
    name: str,
    find_labels: Callable[[Sequence[PurePosixPath], ReadOptions], list[str | None]],
) -> tuple[Manifest, ImportReport]:
    if not source.is_dir():
        raise ManifestError(f"{str(source)!r} is not a folder; give the one that holds the sound")
    found = list(walk_audio(source))
    places = [PurePosixPath(path) for path, _ in found]
    rows = []
    for (path, n_bytes), place, label in zip(found, places, find_labels(places, options), strict=True):
        if not n_bytes:
            rows.append(RawRow(path, "", {}, trouble="it has no bytes, or they cannot be reached"))
            continue
        part = next((known for folder in reversed(place.parent.parts) if (known := part_of(folder))), "")
        trouble = f"no label in {path!r}" if label is None else None
        rows.append(RawRow(path, path, {"emotion": label or "", "part": part}, trouble=trouble))
    return assemble(rows, format=name, source=source, base=source, options=options)


def _labels_by_folder(places: Sequence[PurePosixPath], options: ReadOptions) -> list[str | None]:
    folders = [[name for name in place.parent.parts if not part_of(name)] for place in places]
    nearest = [_nearest_known(names, options) for names in folders]
    levels = Counter(level for level in nearest if level is not None)
    usual = levels.most_common(1)[0][0] if levels else None
    labels: list[str | None] = []
    for names, level in zip(folders, nearest, strict=True):
        if level is None:
            level = usual if usual is not None and usual < len(names) else len(names) - 1
        labels.append(names[level] if names else None)
    return labels


def _nearest_known(names: Sequence[str], options: ReadOptions) -> int | None:
    """The level of the innermost folder that is a known emotion."""
    levels = (n for n in range(len(names) - 1, -1, -1) if known_emotion(names[n], options.labels))
    return next(levels, None)


def _labels_by_suffix(places: Sequence[PurePosixPath], options: ReadOptions) -> list[str | None]:
    """The longest run of last words that is a known emotion; else the last word."""
    known, last = [], []
    for place in places:
        words = [word for word in re.split(r"[_\-\s]+", place.stem) if word]
        tails = ("_".join(words[-n:]) for n in (3, 2, 1) if len(words) > n or n == len(words) == 1)
        known.append(next((tail for tail in tails if known_emotion(tail, options.labels)), None))
        last.append(words[-1].lower() if words else "")
    # Numbers count takes, and a word that one file alone ends with belongs to its name.
    counts = Counter(last)
    own = (word if counts[word] > 1 and word.isalpha() else None for word in last)
    return [label or word for label, word in zip(known, own, strict=True)]


def count_known(folder: Path) -> dict[str, int]:
    """How many files of a tree have a known emotion, by format."""
    places = [PurePosixPath(path) for path, n_bytes in walk_audio(folder) if n_bytes]
    options = ReadOptions()
    return {
        name: sum(bool(label and known_emotion(label, {})) for label in find_labels(places, options))
        for name, find_labels in (("folder", _labels_by_folder), ("suffix", _labels_by_suffix))
    }


def _write_tree(
    manifest: Manifest, target: Path, absolute: bool, *, place: Callable[[Utterance, str, str], str]
) -> Sequence[tuple[str, str]]:
    left_out: list[tuple[str, str]] = []
    taken: set[str] = set()
    for u in manifest:
        if u.is_span:
            left_out.append((u.id, "it is a span of its file"))
            continue
        # A name that no file system refuses, and that is not too long.
        stem = re.sub(r"[^\w.-]+", "_", u.id, flags=re.ASCII).strip("._-")[:120] or "clip"
        name, n = stem, 1
        while name.lower() in taken:
            n += 1
            name = f"{stem}-{n}"
        taken.add(name.lower())
        part = part_of(u.extra.get("part", "")) or ""
        try:
            with atomic_path(target / part / place(u, name, PurePosixPath(u.path).suffix)) as partial:
                shutil.copyfile(manifest.file(u), partial)
        except OSError as error:
            left_out.append((u.id, f"its sound could not be copied: {error.strerror or error}"))
    return left_out


def _any_file(folder: Path) -> Path:
    """Some file in ``folder``, or a name that is not there when it is empty."""
    return next(iter(sorted(folder.iterdir())), folder / "nothing") if folder.is_dir() else folder


FOLDER = CorpusFormat(
    name="folder",
    title="a folder per emotion, with or without train/ and test/",
    holds=frozenset({"emotion"}),
    read=partial(_read_tree, name="folder", find_labels=_labels_by_folder),
    write=partial(_write_tree, place=lambda u, name, suffix: f"{u.emotion}/{name}{suffix}"),
    target=_any_file,
    is_tree=True,
)
SUFFIX = CorpusFormat(
    name="suffix",
    title="file names that end with the emotion: x_happy.wav",
    holds=frozenset({"emotion"}),
    read=partial(_read_tree, name="suffix", find_labels=_labels_by_suffix),
    write=partial(_write_tree, place=lambda u, name, suffix: f"{name}_{u.emotion}{suffix}"),
    target=_any_file,
    is_tree=True,
)
