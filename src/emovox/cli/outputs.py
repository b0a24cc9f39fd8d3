"""Check, before the work starts, that an output file or folder can be written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import typer

__all__ = ["check_new", "check_writable"]


def check_new(path: Path | None, *, force: bool, option: str = "-o", read: Iterable[str | Path] = ()) -> None:
    """Refuse an output file that cannot be written or would replace another.

    Args:
        path: the file; ``None`` if nothing is written.
        force: allow it to replace an existing file.
        option: the option that named it, for the message.
        read: input files of the command, which are never replaced.

    Raises:
        typer.BadParameter: the file cannot be written; the message says why.
    """
    if path is None:
        return
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"{option} {str(path)!r}: expected a file in a folder that exists")
    check_writable(path, option=option)
    if not path.exists():
        return
    if any(path.samefile(one) for one in read if Path(one).exists()):
        raise typer.BadParameter(f"{option} {str(path)!r} is read by this command; name another file")
    if not force:
        raise typer.BadParameter(
            f"{option} {str(path)!r} exists; name another file, or add --force to replace it"
        )


def check_writable(path: Path, *, option: str = "-o") -> None:
    """Refuse an output file or folder in a folder that is not writable.

    Raises:
        typer.BadParameter: the message names the folder.
    """
    above = (one for one in path.absolute().parents if os.path.lexists(one))
    near = path if path.is_dir() else next(above)
    if not near.is_dir() or not os.access(near, os.W_OK | os.X_OK):
        what = "is not writable" if near.is_dir() else "is not a folder"
        raise typer.BadParameter(f"{option} {str(path)!r}: {str(near)!r} {what}; name another place")
