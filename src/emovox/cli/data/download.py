"""``emovox data download``: a corpus from its publisher, or how to get it by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emovox.cli.data.common import FormOption, Workers, show
from emovox.cli.models import Form
from emovox.cli.terminal import Progress, say

__all__ = ["download"]

_MIB = 1 << 20


def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A corpus from `emovox data list`.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where archives and folders go.")
    ] = Path(),
    workers: Workers = 4,
    unpack: Annotated[bool, typer.Option("--unpack/--no-unpack", help="Unpack the archives too.")] = True,
    format: FormOption = Form.table,
) -> int:
    """Fetch a corpus from where its makers publish it; run it again after a cut, it goes on.

    What is published under terms, or has no stable address, is not fetched: you are told how to get it.

    Exit code: 0 when all is there, 1 when a file failed, 2 when this corpus must be got by hand.
    """
    from emovox.datasets.download import SOURCES, advice
    from emovox.errors import DownloadError

    told = advice(name)  # an unknown name is refused here
    if name not in SOURCES:
        say(f"{name} cannot be fetched by a program. {told}")
        return 2
    from emovox.datasets import download as fetch

    total = sum(remote.n_bytes or 0 for remote in SOURCES[name])
    meter = _Meter(total)
    folder = output / name
    rows = []
    for one in fetch.download(SOURCES[name], folder, workers=workers, progress=meter):
        error = one.error
        place = one.path
        if place is not None and unpack:
            try:
                place = fetch.unpack(place, folder)
            except DownloadError as problem:
                error = str(problem)
        meter.hide()
        if error:
            say(error)
        rows.append({"file": one.remote.name, "path": str(place) if place else None, "error": error})
    meter.hide()
    lines = [f"{row['file']}: {row['path']}" for row in rows if not row["error"]]
    failed = sum(bool(row["error"]) for row in rows)
    next_step = [] if failed else [f"next:  emovox data check {name} --root {folder}"]
    show([*lines, *next_step], rows, format)
    return 1 if failed else 0


class _Meter:
    """Bytes that came, as a bar in MiB."""

    def __init__(self, total: int) -> None:
        self._bar = Progress(max(1, total // _MIB), enabled=total > 0)
        self._n = 0

    def __call__(self, n_bytes: int) -> None:
        self._n += n_bytes
        self._bar.at(self._n / _MIB)

    def hide(self) -> None:
        self._bar.hide()
