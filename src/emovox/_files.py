"""Files that are found whole or not at all: written under another name, then renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

__all__ = ["replaced", "replaced_text", "write_json", "write_text"]


@contextmanager
def replaced(file: Path, *, by: str | None = None, durable: bool = False) -> Iterator[Path]:
    """A path beside ``file`` to write to; it becomes ``file`` at the end, and goes when anything fails.

    ::

        with replaced(Path("rows.npy")) as half, half.open("wb") as stream:
            np.save(stream, rows)

    The folder is made where it is missing. Of several processes that write one file, one wins, whole.

    Args:
        by: who writes, in the name of the path; the process's number unless given.
        durable: it survives a power cut: the disk has it, and its name, before this ends.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(f"{file.name}.{by or os.getpid()}.part")
    try:
        yield half
        if durable:
            _synced(half)
        half.replace(file)
        if durable and os.name == "posix":  # elsewhere a folder cannot be opened
            _synced(file.parent)
    finally:
        half.unlink(missing_ok=True)


@contextmanager
def replaced_text(file: Path) -> Iterator[TextIO]:
    """A stream of UTF-8 that becomes ``file``: line ends stay as they are, odd bytes of file names too."""
    with (
        replaced(file) as half,
        half.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        yield stream


def _synced(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(file: Path, text: str) -> None:
    """Write UTF-8, line ends as they are; bytes of a file name that are none become escapes, ``\\udcff``."""
    with replaced(file) as half:
        half.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def write_json(file: Path, document: Any) -> None:
    """Write plain JSON types.

    Raises:
        ValueError: nan or infinity, which JSON has no word for.
        TypeError: another type.
    """
    write_text(file, json.dumps(document, ensure_ascii=True, indent=1, allow_nan=False) + "\n")
