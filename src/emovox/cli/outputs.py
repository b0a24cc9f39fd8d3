"""May this file or folder be written? Asked before the work, for every command that writes one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import typer

__all__ = ["check_new", "check_writable"]


def check_new(path: Path | None, *, force: bool, option: str = "-o", read: Iterable[str | Path] = ()) -> None:
    """Refuse a file that cannot be made or would be destroyed.

    Args:
        path: ``None``: nothing is written.
        force: let it replace one that is there.
        option: how it was given, for the message.
        read: what the command reads: that is never replaced.

    Raises:
        typer.BadParameter: it says what is in the way.
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
    """Refuse a file or folder that cannot be made where it is wanted.

    Raises:
        typer.BadParameter: it says which folder does not take it.
    """
    above = (one for one in path.absolute().parents if os.path.lexists(one))
    near = path if path.is_dir() else next(above)
    if not near.is_dir() or not os.access(near, os.W_OK | os.X_OK):
        what = "may not be written to" if near.is_dir() else "is no folder"
        raise typer.BadParameter(f"{option} {str(path)!r}: {str(near)!r} {what}; name another place")
