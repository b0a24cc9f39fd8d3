"""Folders that say by themselves what is expressed: ``angry/x.wav``, or ``x_angry.wav``.

``folder``: the nearest folder whose name is an emotion, from the file outwards, decides; ``suffix``: the last
words of the file's name, after ``_``, ``-`` or a space. A folder named ``train``, ``val`` or ``test`` (or by
their usual other names) is kept as ``extra["part"]``, for the protocol ``given``. Who speaks is found by
``Reading.speaker``, or not known.

Written, a tree holds the emotion and the part, and the sound is copied: ``<part>/<emotion>/<id>.wav`` or
``<part>/<id>_<emotion>.wav``. Nothing else comes back; a stretch of a file is left out.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from emovox._files import replaced
from emovox.audio import AUDIO_SUFFIXES
from emovox.datasets.formats.assembly import assemble, emotion_of, part_of
from emovox.datasets.formats.base import Draft, Format, ImportReport, Reading
from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.scan import walk
from emovox.errors import ManifestError

__all__ = ["FOLDER", "SUFFIX"]


def _read_folder(source: Path, options: Reading) -> tuple[Manifest, ImportReport]:
    return _read(source, options, "folder", _by_folder)


def _read_suffix(source: Path, options: Reading) -> tuple[Manifest, ImportReport]:
    return _read(source, options, "suffix", _by_suffix)


def _read(
    source: Path, options: Reading, name: str, emotion: Callable[[PurePosixPath, Reading], str]
) -> tuple[Manifest, ImportReport]:
    if not source.is_dir():
        raise ManifestError(f"{str(source)!r} is not a folder; give the one that holds the sound")
    drafts = [_draft(path, n_bytes, emotion, options) for path, n_bytes in _sound(source)]
    return assemble(drafts, format=name, source=source, base=source, options=options)


def _sound(root: Path) -> Iterator[tuple[str, int]]:
    for path, n_bytes in walk(root):
        name = path.rsplit("/", 1)[-1]
        if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES and not name.startswith("._"):  # noqa: PTH122
            yield path, n_bytes


def _draft(
    path: str, n_bytes: int, emotion: Callable[[PurePosixPath, Reading], str], options: Reading
) -> Draft:
    if not n_bytes:
        return Draft(path, "", {}, trouble="it has no bytes, or they cannot be reached")
    place = PurePosixPath(path)
    part = next((known for folder in reversed(place.parent.parts) if (known := part_of(folder))), "")
    return Draft(path, path, {"emotion": emotion(place, options), "part": part})


def _by_folder(path: PurePosixPath, options: Reading) -> str:
    """The nearest folder that is an emotion; else the nearest one, by which the report names the row."""
    folders = [name for name in reversed(path.parent.parts) if not part_of(name)]
    known = (name for name in folders if emotion_of(name, options.labels))
    return next(known, folders[0] if folders else "")


def _by_suffix(path: PurePosixPath, options: Reading) -> str:
    """The longest run of last words that is an emotion; else the last word."""
    words = [word for word in re.split(r"[_\-\s]+", path.stem) if word]
    for n in (3, 2, 1):
        tail = "_".join(words[-n:])
        if len(words) >= n and (len(words) > n or n == 1) and emotion_of(tail, options.labels):
            return tail
    return words[-1] if words else ""


def _write_folder(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    return _write(manifest, target, lambda u, name, suffix: f"{u.emotion}/{name}{suffix}")


def _write_suffix(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    return _write(manifest, target, lambda u, name, suffix: f"{name}_{u.emotion}{suffix}")


def _write(
    manifest: Manifest, target: Path, place: Callable[[Utterance, str, str], str]
) -> Sequence[tuple[str, str]]:
    left_out: list[tuple[str, str]] = []
    taken: set[str] = set()
    for u in manifest:
        if u.start or u.end is not None:
            left_out.append((u.id, "it is a stretch of its file"))
            continue
        part = part_of(u.extra.get("part", ""))
        name = _free(_plain(u.id), taken)
        inner = place(u, name, PurePosixPath(u.path).suffix)
        try:
            _copy(manifest.file(u), target / (part or "") / inner)
        except OSError as error:
            left_out.append((u.id, f"its sound could not be copied: {error.strerror or error}"))
    return left_out


def _plain(text: str) -> str:
    """A file name out of an id: nothing in it that some file system refuses, not too long."""
    return re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII).strip("._-")[:120] or "clip"


def _free(name: str, taken: set[str]) -> str:
    lower, n = name.lower(), 1
    while lower in taken:
        n += 1
        lower = f"{name.lower()}-{n}"
    taken.add(lower)
    return name if n == 1 else f"{name}-{n}"


def _copy(source: Path, target: Path) -> None:
    """A copy that appears whole or not at all."""
    with replaced(target) as half:
        shutil.copyfile(source, half)


def _any_file(folder: Path) -> Path:
    """Something in ``folder``, or a name that is not there when it is empty."""
    return next(iter(sorted(folder.iterdir())), folder / "nothing") if folder.is_dir() else folder


FOLDER = Format(
    name="folder",
    title="a folder an emotion, with or without train/ and test/",
    holds=frozenset({"emotion"}),
    read=_read_folder,
    write=_write_folder,
    target=_any_file,
)
SUFFIX = Format(
    name="suffix",
    title="file names that end with the emotion: x_happy.wav",
    holds=frozenset({"emotion"}),
    read=_read_suffix,
    write=_write_suffix,
    target=_any_file,
)
