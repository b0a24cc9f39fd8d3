"""Tables of features: CSV, Parquet and NumPy's npz, written in blocks of rows, complete or not at all.

A table has columns about a clip (texts), times (seconds), features (float32) and ``error``. It is written
under a temporary name and renamed when it is complete; a few megabytes of features are in memory at a time.
"""

from __future__ import annotations

import csv
import glob
import json
import os
import shutil
import socket
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emovox._arrays import Doubles, Floats
from emovox._files import atomic_path
from emovox.errors import MissingExtraError

__all__ = [
    "SUFFIXES",
    "CsvTable",
    "NpzTable",
    "ParquetTable",
    "RowBlock",
    "TableLayout",
    "TableWriter",
    "open_table",
]

SUFFIXES = (".csv", ".npz", ".parquet")
"""Suffixes of the formats."""

# Values in a row group of Parquet: 16 MiB.
_GROUP_VALUES = 1 << 22


@dataclass(frozen=True, slots=True)
class TableLayout:
    """The columns of a table."""

    about: tuple[str, ...]
    """Texts about a clip, such as ``file``."""
    times: tuple[str, ...]
    """Seconds in the recording."""
    features: tuple[str, ...]
    sets: Sequence[Mapping[str, Any]]
    """``FeatureSet.reference()`` of each; stored in Parquet and npz."""

    def metadata(self) -> str:
        """Return the version and the sets as JSON."""
        import emovox

        return json.dumps({"emovox": emovox.__version__, "sets": list(self.sets)}, ensure_ascii=False)


@dataclass(frozen=True, slots=True, eq=False)
class RowBlock:
    """RowBlock of one clip."""

    clip: int
    """Number of the clip, from 0."""
    about: tuple[str | None, ...]
    times: Doubles
    """``(n, n_times)``."""
    values: Floats
    """``(n, d)``; nan is missing."""
    error: str | None = None


class TableWriter(Protocol):
    """A table that is being written."""

    def add(self, rows: RowBlock) -> None:
        """Write rows; clips come in order."""

    def end(self) -> None:
        """Write what is left after all rows."""

    def close(self) -> None:
        """Close open files, also after an error."""


@contextmanager
def open_table(path: Path, layout: TableLayout) -> Iterator[TableWriter]:
    """Open a table by the suffix of its file, one of `SUFFIXES`; after an exception there is no file.

    Raises:
        MissingExtraError: Parquet requires the extra ``data``.
        OSError: the folder is not writable, or the disk is full.
    """
    kinds: dict[str, Callable[[Path, TableLayout], TableWriter]] = {
        ".csv": CsvTable,
        ".npz": NpzTable,
        ".parquet": ParquetTable,
    }
    _remove_leftovers(path)
    with atomic_path(path, by=f"{socket.gethostname()}-{os.getpid()}") as temporary:
        temporary.touch()  # fails before the work if the file cannot be written
        with closing(kinds[path.suffix.lower()](temporary, layout)) as table:
            yield table
            table.end()


def _remove_leftovers(path: Path) -> None:
    """Delete temporary files of ``path`` from runs that were killed on this machine."""
    start = f"{path.name}.{socket.gethostname()}-"
    for left in path.parent.glob(f"{glob.escape(start)}*.part"):
        number = left.name.removeprefix(start).removesuffix(".part")
        if number.isdecimal() and not _is_running(int(number)):
            with suppress(OSError):
                left.unlink()


def _is_running(pid: int) -> bool:
    """Whether the process exists; outside of POSIX there is no harmless way to find out."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # a process of another user, or not a process number
        return True
    return True


class CsvTable:
    """A line for each row after a header; missing values are empty cells. Numbers keep all their digits."""

    def __init__(self, path: Path, layout: TableLayout) -> None:
        self._stream = path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        self._table = csv.writer(self._stream, lineterminator="\n")
        self._header: list[str] | None = [*layout.about, *layout.times, *layout.features, "error"]

    def add(self, rows: RowBlock) -> None:
        """Write a line for each row."""
        self._begin()
        about = [_one_line(text) for text in rows.about]
        for times, values in zip(rows.times.tolist(), rows.values.tolist(), strict=True):
            self._table.writerow(
                [*about, *_cells(times, "%.6f"), *_cells(values, "%.9g"), _one_line(rows.error)]
            )

    def _begin(self) -> None:
        if self._header is not None:
            self._table.writerow(self._header)
            self._header = None

    def end(self) -> None:
        """Write the header, if there were no rows."""
        self._begin()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _one_line(text: str | None) -> str:
    # Python's csv leaves a carriage return unquoted when lines end with a newline.
    return "" if text is None else text.replace("\r", " ")


def _cells(values: Sequence[float], form: str) -> list[str]:
    """Numbers as text, nan as an empty cell; formatting all at once takes half the time."""
    return (",".join([form] * len(values)) % tuple(values)).replace("nan", "").split(",")


class ParquetTable:
    """Columns of pyarrow; ``emovox`` in the file's metadata says which sets they are of."""

    def __init__(self, path: Path, layout: TableLayout) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise MissingExtraError("Parquet", "data") from error
        self._arrow, self._layout = pyarrow, layout
        fields = [
            *((name, pyarrow.string()) for name in layout.about),
            *((name, pyarrow.float64()) for name in layout.times),
            *((name, pyarrow.float32()) for name in layout.features),
            ("error", pyarrow.string()),
        ]
        self._schema = pyarrow.schema(fields, metadata={"emovox": layout.metadata()})
        texts = [
            *layout.about,
            "error",
        ]  # numbers hardly repeat: a dictionary of them would cost time and room
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema, use_dictionary=texts)
        self._held: list[RowBlock] = []
        self._n_held = 0

    def add(self, rows: RowBlock) -> None:
        """Hold them until there is a group of rows worth writing."""
        self._held.append(rows)
        self._n_held += max(1, rows.values.size)
        if self._n_held >= _GROUP_VALUES:
            self.end()

    def end(self) -> None:
        """Write the rows that are held."""
        held, self._held, self._n_held = self._held, [], 0
        if not held:
            return
        texts = [_texts(held, i) for i in range(len(self._layout.about))]
        times = np.concatenate([rows.times for rows in held]).T
        values = np.ascontiguousarray(np.concatenate([rows.values for rows in held]).T)
        errors = [_valid(rows.error) for rows in held for _ in rows.values]
        array, string = self._arrow.array, self._arrow.string()
        columns = [
            *(array(text, type=string) for text in texts),
            *(array(time, from_pandas=True) for time in times),  # nan becomes null
            *(array(value) for value in values),
            array(errors, type=string),
        ]
        self._writer.write_batch(self._arrow.record_batch(columns, schema=self._schema))

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def _texts(held: Sequence[RowBlock], index: int) -> list[str | None]:
    return [_valid(rows.about[index]) for rows in held for _ in rows.values]


def _valid(text: str | None) -> str | None:
    """As Unicode, which a file name need not be."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode("utf-8")


class NpzTable:
    """``numpy.load`` gives ``values (n, d)``, ``columns (d,)``, the times ``(n,)``, and ``clip (n,)``.

    ``clip`` numbers the clip of each row; texts about clips and ``error`` have one entry a clip, ``""`` being
    none. ``about`` is JSON: which sets the columns are of.
    """

    def __init__(self, path: Path, layout: TableLayout) -> None:
        self._path, self._layout = path, layout
        self._values = tempfile.TemporaryFile(dir=path.absolute().parent)  # noqa: SIM115 - closed at the end
        self._n_rows = 0
        self._times: list[Doubles] = []
        self._clips: list[NDArray[np.int32]] = []
        self._about: dict[int, tuple[str, ...]] = {}

    def add(self, rows: RowBlock) -> None:
        """Keep their values in a file without a name until their number is known."""
        self._values.write(np.ascontiguousarray(rows.values, dtype="<f4").tobytes())
        self._n_rows += len(rows.values)
        self._times.append(rows.times)
        self._clips.append(np.full(len(rows.values), rows.clip, np.int32))
        self._about[rows.clip] = tuple(_valid(text) or "" for text in (*rows.about, rows.error))

    def close(self) -> None:
        """Close the file of values."""
        self._values.close()

    def end(self) -> None:
        """Write it all."""
        with zipfile.ZipFile(self._path, "w") as file:
            for name, array in self._arrays().items():
                with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
            shape = (self._n_rows, len(self._layout.features))
            with file.open("values.npy", "w", force_zip64=True) as member:
                head = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(member, head)
                self._values.seek(0)
                shutil.copyfileobj(self._values, member)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        layout, n_times = self._layout, len(self._layout.times)
        times = np.concatenate([np.zeros((0, n_times)), *self._times])
        texts = [self._about[clip] for clip in sorted(self._about)]
        names = (*layout.about, "error")
        return {
            "about": np.array(layout.metadata()),
            "columns": np.array(layout.features, dtype=np.str_),
            "clip": np.concatenate([np.zeros(0, np.int32), *self._clips]),
            **{name: np.array([row[i] for row in texts], dtype=np.str_) for i, name in enumerate(names)},
            **{name: times[:, i] for i, name in enumerate(layout.times)},
        }
