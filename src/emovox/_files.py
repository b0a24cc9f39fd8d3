"""Write files atomically, under a temporary name that is renamed at the end; find them in any form."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

__all__ = ["atomic_path", "find_file", "nfc", "open_atomic_text", "write_json", "write_text"]


@contextmanager
def atomic_path(file: Path, *, by: str | None = None, durable: bool = False) -> Iterator[Path]:
    """Yield a path beside ``file`` to write to; it becomes ``file`` at the end, and is removed on failure.

    ::

        with atomic_path(Path("rows.npy")) as partial, partial.open("wb") as stream:
            np.save(stream, rows)

    The folder is created if necessary. When several processes write one file, one of them wins, whole.

    Args:
        file: the file to write or replace.
        by: who writes, as part of the temporary name; the process's number unless given.
        durable: sync the file and its name to the disk, so that they survive a power cut.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{by or os.getpid()}.part")
    try:
        yield partial
        if durable:
            _sync(partial)
        partial.replace(file)
        if durable and os.name == "posix":  # elsewhere a folder cannot be opened
            _sync(file.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def open_atomic_text(file: Path) -> Iterator[TextIO]:
    """Yield a UTF-8 stream that becomes ``file``; line ends and undecodable bytes of file names are kept."""
    with (
        atomic_path(file) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        yield stream


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(file: Path, text: str) -> None:
    """Write UTF-8 with line ends as they are; undecodable bytes of file names become escapes, ``\\udcff``."""
    with atomic_path(file) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def write_json(file: Path, document: Any) -> None:
    """Write plain JSON types.

    Raises:
        ValueError: nan or infinity, which JSON does not have.
        TypeError: another type.
    """
    write_text(file, json.dumps(document, ensure_ascii=True, indent=1, allow_nan=False) + "\n")


# --- Unicode ------------------------------------------------------------------------------------------


def nfc(text: str) -> str:
    """``text`` in composed form, in which names are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def find_file(path: str) -> str | None:
    """The path under which a file exists, whatever the Unicode form of its names; ``None``: it does not."""
    if os.path.exists(path):  # noqa: PTH110
        return path
    if path.isascii():
        return None
    folder, name = os.path.split(path)
    parent = folder if folder == path else find_file(folder)
    if parent is None:
        return None
    try:
        with os.scandir(parent) as entries:
            return next((entry.path for entry in entries if nfc(entry.name) == nfc(name)), None)
    except OSError:
        return None
