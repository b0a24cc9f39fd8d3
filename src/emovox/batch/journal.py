"""What a worker has in hand: so that a recording that kills its process is known to the next one.

One file a shard that is being done, to which lines are added; it goes when the part is there. It also holds
the rows so far, and a shard of long recordings that was cut off goes on where it was. A line that is only
half there, the last one of a process that was killed, counts as none. The first line names the run: what
another run left, perhaps with another model, is nothing to this one.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from emovox.batch.parts import Row

__all__ = ["STRIKES", "Journal"]

STRIKES = 2
"""A recording in whose hands so many processes died is not tried again: once may be anybody's fault."""


class Journal:
    """The journal of one shard.

    Args:
        file: where it lies; made where it is missing.
        session: that of the command which runs now. An earlier one may have been stopped at what it left
            unfinished; what one of this command left, ended its process.
        run: which run it is of. A journal of another one is replaced.

    Raises:
        OSError: it cannot be read or written, also while it is used.
    """

    def __init__(self, file: Path, *, session: str, run: str) -> None:
        self._file, self._session = file, session
        self._done: dict[str, tuple[list[Row], float]] = {}
        self._strikes: Counter[str] = Counter()
        file.parent.mkdir(parents=True, exist_ok=True)
        head = json.dumps(["run", run]).encode()
        first, *lines = file.read_bytes().split(b"\n") if file.exists() else [b""]
        is_ours = first == head and bool(lines)
        for line in lines[:-1] if is_ours else ():
            self._read(line)
        self._stream = file.open("ab" if is_ours else "wb", buffering=0)
        if not is_ours:
            self._write(head)
        elif lines[-1]:
            self._write(b"")  # ends a line that is half there

    def _read(self, line: bytes) -> None:
        try:
            kind, key, *rest = json.loads(line)
        except (ValueError, TypeError):
            return
        if kind == "begun":
            self._strikes[key] += rest == [self._session]
        elif kind == "done":
            rows, audio_s = rest
            self._done[key] = rows, audio_s
            del self._strikes[key]

    def done(self, key: str) -> tuple[list[Row], float] | None:
        """The rows of a recording that was judged before, and its seconds."""
        return self._done.get(key)

    def is_deadly(self, key: str) -> bool:
        """Whether too many processes died at it."""
        return self._strikes[key] >= STRIKES

    def begin(self, key: str) -> None:
        """A recording is about to be opened."""
        self._write(json.dumps(["begun", key, self._session]).encode())

    def end(self, key: str, rows: list[Row], audio_s: float) -> None:
        """It was judged."""
        self._write(json.dumps(["done", key, rows, audio_s]).encode())

    def _write(self, line: bytes) -> None:
        left = memoryview(line + b"\n")
        while left:  # a disk that is nearly full takes only a part
            left = left[os.write(self._stream.fileno(), left) :]

    def remove(self) -> None:
        """The part is there: nothing of this is needed any more, and nothing is written to it."""
        self._stream.close()  # Windows removes no open file
        with suppress(PermissionError):  # somebody looks at it just now; the next command removes it
            self._file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
