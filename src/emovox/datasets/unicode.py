"""Unicode forms of names: composed (NFC) for comparison, either form in the file system."""

from __future__ import annotations

import os
import unicodedata

__all__ = ["find_file", "nfc"]


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
