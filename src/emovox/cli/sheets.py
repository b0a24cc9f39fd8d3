"""Files of features: CSV, Parquet and NumPy's npz, written row by row, there whole or not at all.

A sheet has columns about a clip (texts), times (seconds), the features' own (float32) and ``error``. It is
written beside its place under another name and renamed when it is complete; of the features no more than a
few megabytes are held at once.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from emovox.errors import MissingExtraError

__all__ = ["SUFFIXES", "CsvSheet", "Layout", "NpzSheet", "ParquetSheet", "Rows", "Sheet", "opened_sheet"]

SUFFIXES = (".csv", ".npz", ".parquet")
"""What a file's name may end with; it decides the format."""

_GROUP_VALUES = 1 << 22
"""Features that Parquet keeps in one group of rows: 16 MiB."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a sheet."""

    about: tuple[str, ...]
    """Texts about a clip, such as ``file``."""
    times: tuple[str, ...]
    """Seconds in the recording."""
    features: tuple[str, ...]
    sets: Sequence[Mapping[str, Any]]
    """What the features are: ``FeatureSet.reference()`` of each; Parquet and npz hold it."""

    def note(self) -> str:
        """As JSON."""
        import emovox

        return json.dumps({"emovox": emovox.__version__, "sets": list(self.sets)}, ensure_ascii=False)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some rows, all of one clip."""

    clip: int
    """Its number, from 0."""
    about: tuple[str | None, ...]
    times: NDArray[np.float64]
    """``(n, n_times)``."""
    values: NDArray[np.float32]
    """``(n, d)``; nan is missing."""
    error: str | None = None


class Sheet(Protocol):
    """Where rows go. Left by an exception, it leaves nothing behind."""

    def add(self, rows: Rows) -> None:
        """Write the rows of a clip, or some of them; clips come in order."""

    def __enter__(self) -> Self:
        """Ready for rows."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the file in its place, unless something went wrong."""


def opened_sheet(path: Path, layout: Layout) -> Sheet:
    """The sheet for a file, by its suffix, which is one of `SUFFIXES`.

    Raises:
        MissingExtraError: Parquet needs the extra ``data``.
        OSError: the folder may not be written to.
    """
    kinds: dict[str, type[_Sheet]] = {".csv": CsvSheet, ".npz": NpzSheet, ".parquet": ParquetSheet}
    return kinds[path.suffix.lower()](path, layout)


class _Sheet:
    """A file that is written beside its place first."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._path, self._layout = path, layout
        self._half = path.with_name(f"{path.name}.{os.getpid()}.part")
        self._half.open("wb").close()  # shows now whether there may be a file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._close(whole=kind is None)
            if kind is None:
                self._half.replace(self._path)
        finally:
            self._half.unlink(missing_ok=True)

    def add(self, rows: Rows) -> None:
        raise NotImplementedError

    def _close(self, *, whole: bool) -> None:
        raise NotImplementedError


class CsvSheet(_Sheet):
    """One line a row under a header; what is missing is an empty cell. Numbers keep all of their digits."""

    def __init__(self, path: Path, layout: Layout) -> None:
        super().__init__(path, layout)
        self._stream = self._half.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        self._table = csv.writer(self._stream, lineterminator="\n")
        self._table.writerow([*layout.about, *layout.times, *layout.features, "error"])

    def add(self, rows: Rows) -> None:
        about = [_one_line(text) for text in rows.about]
        for times, values in zip(rows.times.tolist(), rows.values.tolist(), strict=True):
            self._table.writerow(
                [*about, *_cells(times, "%.6f"), *_cells(values, "%.9g"), _one_line(rows.error)]
            )

    def _close(self, *, whole: bool) -> None:
        self._stream.close()


def _one_line(text: str | None) -> str:
    # Python's csv leaves a carriage return unquoted when lines end with a newline.
    return "" if text is None else text.replace("\r", " ")


def _cells(values: Sequence[float], form: str) -> list[str]:
    """Numbers as text, nan as nothing; formatted all at once, which takes half the time."""
    return (",".join([form] * len(values)) % tuple(values)).replace("nan", "").split(",")


class ParquetSheet(_Sheet):
    """Columns of pyarrow; ``emovox`` in the file's metadata says which sets they are of."""

    def __init__(self, path: Path, layout: Layout) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise MissingExtraError("Parquet", "data") from error
        super().__init__(path, layout)
        self._arrow = pyarrow
        fields = [
            *((name, pyarrow.string()) for name in layout.about),
            *((name, pyarrow.float64()) for name in layout.times),
            *((name, pyarrow.float32()) for name in layout.features),
            ("error", pyarrow.string()),
        ]
        self._schema = pyarrow.schema(fields, metadata={"emovox": layout.note()})
        texts = [
            *layout.about,
            "error",
        ]  # numbers hardly repeat: a dictionary of them would cost time and room
        self._writer = pyarrow.parquet.ParquetWriter(self._half, self._schema, use_dictionary=texts)
        self._held: list[Rows] = []
        self._n_held = 0

    def add(self, rows: Rows) -> None:
        self._held.append(rows)
        self._n_held += max(1, rows.values.size)
        if self._n_held >= _GROUP_VALUES:
            self._write()

    def _write(self) -> None:
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

    def _close(self, *, whole: bool) -> None:
        try:
            if whole:
                self._write()
        finally:
            self._writer.close()


def _texts(held: Sequence[Rows], index: int) -> list[str | None]:
    return [_valid(rows.about[index]) for rows in held for _ in rows.values]


def _valid(text: str | None) -> str | None:
    """As Unicode, which a file name need not be."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode("utf-8")


class NpzSheet(_Sheet):
    """``numpy.load`` gives ``values (n, d)``, ``columns (d,)``, the times ``(n,)``, and ``clip (n,)``.

    ``clip`` numbers the clip of each row; texts about clips and ``error`` have one entry a clip, ``""`` being
    none. ``about`` is JSON: which sets the columns are of.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        super().__init__(path, layout)
        self._values = tempfile.TemporaryFile(dir=path.absolute().parent)  # noqa: SIM115 - closed at the end
        self._n_rows = 0
        self._times: list[NDArray[np.float64]] = []
        self._clips: list[NDArray[np.int32]] = []
        self._about: dict[int, tuple[str, ...]] = {}

    def add(self, rows: Rows) -> None:
        self._values.write(np.ascontiguousarray(rows.values, dtype="<f4").tobytes())
        self._n_rows += len(rows.values)
        self._times.append(rows.times)
        self._clips.append(np.full(len(rows.values), rows.clip, np.int32))
        self._about[rows.clip] = tuple(_valid(text) or "" for text in (*rows.about, rows.error))

    def _close(self, *, whole: bool) -> None:
        with self._values:
            if whole:
                self._write()

    def _write(self) -> None:
        with zipfile.ZipFile(self._half, "w") as file:
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
            "about": np.array(layout.note()),
            "columns": np.array(layout.features, dtype=np.str_),
            "clip": np.concatenate([np.zeros(0, np.int32), *self._clips]),
            **{name: np.array([row[i] for row in texts], dtype=np.str_) for i, name in enumerate(names)},
            **{name: times[:, i] for i, name in enumerate(layout.times)},
        }
