"""What the PATH arguments name: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from emovox.audio import AUDIO_SUFFIXES
from emovox.errors import EmovoxError, nearest

__all__ = ["STDIN", "Source", "expand"]

STDIN = "-"
"""The PATH that means standard input."""


@dataclass(frozen=True, slots=True)
class Source:
    """One recording to judge, or the reason why an argument names none."""

    name: str
    """The path as typed (or as found below the folder that was typed); ``-`` is standard input."""
    problem: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether there is a file to open (rather than a problem, or standard input)."""
        return self.problem is None and self.name != STDIN


def expand(arguments: Iterable[str], *, recursive: bool = False) -> list[Source]:
    """The recordings that ``arguments`` name, in order, each path once.

    A folder stands for the recordings in it (with ``recursive``, also below it) in natural order; a
    pattern for what it matches. An argument that names nothing is kept, with its ``problem``.

    Raises:
        EmovoxError: an argument is empty.
    """
    found: dict[str, Source] = {}
    for argument in arguments:
        for source in _expand(argument, recursive):
            found.setdefault(source.name, source)
    return list(found.values())


def _expand(argument: str, recursive: bool) -> Iterator[Source]:
    try:
        yield from _named(argument, recursive)
    except OSError as error:  # a name too long, a folder that may not be read
        yield Source(argument, error.strerror or str(error))


def _named(argument: str, recursive: bool) -> Iterator[Source]:
    if not argument:  # an unset variable, which Path would take for the current folder
        raise EmovoxError("a PATH is empty; give a recording, a folder, a pattern, or . for this folder")
    path = Path(argument)
    if argument == STDIN:
        yield Source(STDIN)
    elif path.is_dir():
        yield from _folder(argument, recursive)
    elif path.exists():
        yield Source(argument)
    elif glob.has_magic(argument):
        yield from _pattern(argument, recursive)
    else:
        yield Source(argument, _missing(argument))


def _folder(argument: str, recursive: bool) -> Iterator[Source]:
    names = sorted(map(str, _recordings(Path(argument), recursive)), key=_natural)
    if names:
        yield from map(_found, names)
        return
    deeper = "" if recursive else "; --recursive looks in the folders below it"
    yield Source(argument, f"no recording in this folder (looked for .wav, .flac, .mp3, ...){deeper}")


def _recordings(folder: Path, recursive: bool) -> Iterator[Path]:
    # Path.rglob follows no symbolic links, so a circle of links ends.
    for path in folder.rglob("*") if recursive else folder.iterdir():
        hidden = path.name.startswith(".")  # such as the ._clip.wav that macOS leaves on foreign disks
        if path.suffix.lower() in AUDIO_SUFFIXES and not hidden and (path.is_file() or _is_dead(path)):
            yield path


def _is_dead(path: Path) -> bool:
    """Whether it is a link that leads nowhere, as in a data set that is not fetched: said, not skipped."""
    return path.is_symlink() and not path.exists()


def _found(name: str) -> Source:
    return Source(name, _missing(name) if _is_dead(Path(name)) else None)


def _pattern(argument: str, recursive: bool) -> Iterator[Source]:
    matches = sorted(glob.glob(argument, recursive=True), key=_natural)  # noqa: PTH207 (as typed)
    if not matches:
        yield Source(argument, "nothing matches this pattern")
    for match in matches:
        yield from _folder(match, recursive) if Path(match).is_dir() else (_found(match),)


def _missing(name: str) -> str:
    path = Path(name)
    if "://" in name:
        return "a URL; `emovox batch predict` judges what lies elsewhere"
    if path.is_symlink():
        return "a link that leads nowhere; fetch or restore what it points to"
    if not path.parent.is_dir():
        return f"no such file: there is no folder {str(path.parent)!r}"
    near = nearest(path.name, (p.name for p in path.parent.iterdir()))
    return f"no such file; did you mean {str(path.with_name(near))!r}?" if near else "no such file"


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which clip2 comes before clip10."""
    return [
        (0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part)
        for part in re.split(r"([0-9]+)", name)
    ]
