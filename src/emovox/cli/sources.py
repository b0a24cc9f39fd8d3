"""What the PATH arguments name: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from emovox._files import find_file
from emovox.audio import AUDIO_SUFFIXES
from emovox.cli.terminal import say
from emovox.errors import EmovoxError, nearest

__all__ = ["STDIN", "AudioPath", "describe_left_out", "find_recordings"]

STDIN = "-"
"""The PATH that means standard input."""


@dataclass(frozen=True, slots=True)
class AudioPath:
    """One recording, or the reason why an argument names none."""

    name: str
    """The path as typed (or as found below the folder that was typed); ``-`` is standard input."""
    problem: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether there is a file to open (rather than a problem, or standard input)."""
        return self.problem is None and self.name != STDIN


def find_recordings(arguments: Iterable[str], *, recursive: bool = False) -> list[AudioPath]:
    """Return the recordings that ``arguments`` name, in order, each path once.

    A folder stands for the recordings in it (with ``recursive``, also below it) in natural order; a
    pattern for what it matches. An argument that names nothing is kept, with its ``problem``. Files that are
    left out because of their suffix, and folders that are not entered, are counted in one line on stderr.

    Raises:
        EmovoxError: an argument is empty.
    """
    found: dict[str, AudioPath] = {}
    left_out: Counter[str] = Counter()
    for argument in arguments:
        if not argument:  # an unset variable, which Path would take for the current folder
            raise EmovoxError("a PATH is empty; give a recording, a folder, a pattern, or . for this folder")
        try:
            for recording in _find(argument, recursive, left_out):
                found.setdefault(recording.name, recording)
        except OSError as error:  # a name too long, a folder that may not be read
            found.setdefault(argument, AudioPath(argument, error.strerror or str(error)))
    if left_out:
        say(describe_left_out(left_out))
    return list(found.values())


def describe_left_out(left_out: Counter[str]) -> str:
    """Return a line about what is not read of folders.

    Args:
        left_out: number of files by suffix (``""``: none), and of folders under ``"/"``.

    >>> describe_left_out(Counter({".txt": 2, ".csv": 1, "/": 1}))
    'left out: 3 files by their suffix (.txt, .csv), 1 folder below (--recursive enters it)'
    >>> describe_left_out(Counter({".txt": 1}))
    'left out: 1 file by its suffix (.txt)'
    """
    suffixes = [suffix for suffix, _ in left_out.most_common() if suffix != "/"]
    n_files, n_folders = left_out.total() - left_out["/"], left_out["/"]
    parts = []
    if n_files:
        names = [suffix or "without one" for suffix in suffixes]
        listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        noun = "file by its suffix" if n_files == 1 else "files by their suffix"
        parts.append(f"{n_files} {noun} ({listed})")
    if n_folders:
        noun, pronoun = ("folder", "it") if n_folders == 1 else ("folders", "them")
        parts.append(f"{n_folders} {noun} below (--recursive enters {pronoun})")
    return f"left out: {', '.join(parts)}"


def _find(argument: str, recursive: bool, left_out: Counter[str]) -> Iterator[AudioPath]:
    path = Path(find_file(argument) or argument)
    if argument == STDIN:
        yield AudioPath(STDIN)
    elif path.is_dir():
        yield from _find_in_folder(str(path), recursive, left_out)
    elif path.exists():
        yield AudioPath(argument)
    elif glob.has_magic(argument):
        matches = sorted(glob.glob(argument, recursive=True), key=_natural_key)  # noqa: PTH207 (as typed)
        if not matches:
            yield AudioPath(argument, "nothing matches this pattern")
        for match in matches:
            if not Path(match).is_dir():
                yield _make_audio_path(match)
            elif "**" not in argument:  # which matches the files of its folders, too
                yield from _find_in_folder(match, recursive, left_out)
    else:
        yield AudioPath(argument, _explain_missing(argument))


def _find_in_folder(folder: str, recursive: bool, left_out: Counter[str]) -> Iterator[AudioPath]:
    names = []
    # Path.rglob follows no symbolic links, so a circle of links ends.
    for path in Path(folder).rglob("*") if recursive else Path(folder).iterdir():
        # Such as the ._clip.wav and .Trashes/ that macOS leaves on foreign disks.
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.is_dir():
            left_out["/"] += not recursive
        elif path.suffix.lower() not in AUDIO_SUFFIXES:
            left_out[path.suffix.lower()] += 1
        elif path.is_file() or _is_dead_link(path):
            names.append(str(path))
    for name in sorted(names, key=_natural_key):
        yield _make_audio_path(name)
    if not names:
        deeper = "" if recursive else "; --recursive also reads the folders below it"
        yield AudioPath(folder, f"no recording in this folder (looked for .wav, .flac, .mp3, ...){deeper}")


def _is_dead_link(path: Path) -> bool:
    """Whether it is a link to nothing, as in a data set that is not fetched: reported, not skipped."""
    return path.is_symlink() and not path.exists()


def _make_audio_path(name: str) -> AudioPath:
    return AudioPath(name, _explain_missing(name) if _is_dead_link(Path(name)) else None)


def _explain_missing(name: str) -> str:
    path = Path(name)
    if "://" in name:
        return "a URL; `emovox batch predict` reads from URLs"
    if path.is_symlink():
        return "a link to nothing; fetch or restore what it points to"
    if not path.parent.is_dir():
        return f"no such file: there is no folder {str(path.parent)!r}"
    # Suffixes are left out: by them alone all recordings are alike.
    names = {p.stem: p.name for p in path.parent.iterdir()}
    near = nearest(path.stem, names, cutoff=0.75)
    if near is None:
        return "no such file"
    return f"no such file; did you mean {str(path.with_name(names[near]))!r}?"


def _natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which clip2 comes before clip10."""
    return [
        (0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part)
        for part in re.split(r"([0-9]+)", name)
    ]
