"""Write and read the rows of shards, in Parquet or JSON lines files whose existence means they are complete.

Each row of a part begins with ``key``, which identifies its recording, and ``n``, its number among the rows
of
that recording, from 0; rows are sorted by both. The other columns are the task's (`Fields`). A recording that
failed has one row: its file, ``error``, and the number of ``attempts``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, takewhile
from typing import IO, Any, BinaryIO, Protocol, TypeAlias

from emovox.batch import storage
from emovox.batch.inputs import escape_name, public_name
from emovox.errors import ConfigError, MissingExtraError, PlaceError, PlaceNotFoundError

__all__ = [
    "FORMATS",
    "BatchRow",
    "Fields",
    "check_format",
    "encode_row",
    "list_attempts",
    "make_row_writer",
    "part_file",
    "read_failures",
    "read_part",
    "write_part",
]

BatchRow: TypeAlias = dict[str, Any]
Fields: TypeAlias = Mapping[str, Any]
"""Name -> ``text``, ``int``, ``float`` (64 bits), ``float32``, ``texts``, or a mapping of the same kind."""

FORMATS: tuple[str, ...] = ("parquet", "jsonl")
"""File formats of parts."""

_FOLDER = "parts"
_FIRST_FIELDS: Fields = {"key": "text", "n": "int"}
_LAST_FIELDS: Fields = {"error": "text", "attempts": "int"}
_FIELDS_OF_ERRORS = ("key", "n", "file", "start_s", "end_s", "error", "attempts")
_GROUP_BYTES = 1 << 25
_MAX_CELLS = 20_000
"""Python objects at a time for each open part: a merge opens many."""


def check_format(name: str) -> None:
    """Raise ConfigError for an unknown format, MissingExtraError for one that cannot be written here."""
    if name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}; expected one of {', '.join(FORMATS)}")
    if name == "parquet":
        _import_pyarrow()


def part_file(folder: str, number: int, attempt: int, format: str) -> str:
    """Return the location of the part that an attempt at a shard writes."""
    return storage.join(folder, _FOLDER, f"{number:06d}-{attempt}.{format}")


def list_attempts(folder: str, format: str) -> dict[int, list[int]]:
    """Map each shard to its attempts whose parts are complete, in order.

    A later attempt contains only what failed before, so it counts only when all earlier ones are there.
    """
    found: dict[int, set[int]] = {}
    try:
        for location in storage.list_files(
            storage.join(folder, _FOLDER), deep=False, suffixes=(f".{format}",)
        ):
            name = location.replace("\\", "/").rpartition("/")[2].partition(".")[0]
            number, _, attempt = name.partition("-")
            if number.isdecimal() and attempt.isdecimal():
                found.setdefault(int(number), set()).add(int(attempt))
    except PlaceNotFoundError:  # there are no parts
        return {}
    unbroken = {
        number: list(takewhile(attempts.__contains__, count(1))) for number, attempts in found.items()
    }
    return {number: attempts for number, attempts in unbroken.items() if attempts}


def write_part(location: str, rows: Sequence[BatchRow], fields: Fields, format: str) -> None:
    """Write all rows of a part; it appears complete. Names of recordings are written without secrets.

    Raises:
        PlaceError: it cannot be written; ``is_full`` tells whether the disk is full.
    """
    document = io.BytesIO()
    writer = make_row_writer(document, {**_FIRST_FIELDS, **fields}, format)
    for row in sorted(rows, key=lambda row: (row["key"], row["n"])):
        writer.write({**row, "file": public_name(row["file"])} if "file" in row else row)
    writer.close()
    storage.write_bytes(location, document.getvalue(), durable=True)


def read_part(location: str, format: str) -> Iterator[BatchRow]:
    """Yield the rows of a part in order, reading a few at a time.

    Raises:
        PlaceError: it cannot be read, or is damaged.
    """
    with storage.open_read(location) as stream:
        try:
            yield from map(json.loads, stream) if format == "jsonl" else _read_parquet_rows(stream)
        except (ValueError, OSError) as error:
            raise _make_damage_error(location, error) from error


def read_failures(location: str, format: str) -> dict[str, int]:
    """Return the keys of recordings that failed in a part, with their attempts. Errors as `read_part`."""
    if format == "jsonl":
        return {row["key"]: row["attempts"] for row in read_part(location, format) if "error" in row}
    with storage.open_read(location) as stream:
        try:
            table = _import_pyarrow().parquet.read_table(stream, columns=["key", "error", "attempts"])
        except (ValueError, OSError) as error:
            raise _make_damage_error(location, error) from error
    failed = table.filter(table["error"].is_valid())
    return dict(zip(failed["key"].to_pylist(), failed["attempts"].to_pylist(), strict=True))


def _make_damage_error(location: str, error: Exception) -> PlaceError:
    return PlaceError(f"{storage.redact(location)}: damaged ({error}); remove it, and run the command again")


def _read_parquet_rows(stream: BinaryIO) -> Iterator[BatchRow]:
    table = _import_pyarrow().parquet.ParquetFile(stream)
    for batch in table.iter_batches(max(1, min(256, _MAX_CELLS // table.metadata.num_columns))):
        for row in batch.to_pylist():
            if row["error"] is None:
                del row["error"], row["attempts"]
                yield row
            else:
                yield {name: row[name] for name in _FIELDS_OF_ERRORS if row.get(name) is not None}


# --- row writers ----------------------------------------------------------------------------------


class RowWriter(Protocol):
    """Writes rows to a stream; the same rows give the same bytes."""

    def write(self, row: BatchRow) -> None:
        """Write a row."""

    def close(self) -> None:
        """Write what is pending; the stream stays open."""


def make_row_writer(stream: IO[bytes], fields: Fields, format: str, *, note: str | None = None) -> RowWriter:
    """Return a writer of rows to ``stream``; the columns ``error`` and ``attempts`` come last.

    Args:
        note: a remark about the rows, in Parquet's metadata.
    """
    if format == "jsonl":
        return _JsonLinesWriter(stream)
    return _ParquetWriter(stream, {**fields, **_LAST_FIELDS}, note)


def encode_row(row: Mapping[str, Any]) -> bytes:
    """Return a row as a line of JSON."""
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode("utf-8", "backslashreplace")


class _JsonLinesWriter:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, row: BatchRow) -> None:
        self._stream.write(encode_row(row))

    def close(self) -> None:
        pass


class _ParquetWriter:
    """Writes row groups whose size depends on the fields alone."""

    def __init__(self, stream: IO[bytes], fields: Fields, note: str | None) -> None:
        self._arrow = _import_pyarrow()
        self._fields = fields
        schema = self._arrow.schema([(name, self._arrow_type(kind)) for name, kind in fields.items()])
        self._schema = schema if note is None else schema.with_metadata({"emovox": note})
        self._writer = self._arrow.parquet.ParquetWriter(stream, self._schema)
        self._rows: list[BatchRow] = []
        self._group_size = max(1, min(1 << 14, _GROUP_BYTES // (64 * len(fields))))

    def _arrow_type(self, kind: Any) -> Any:
        arrow = self._arrow
        if isinstance(kind, Mapping):
            return arrow.struct([(name, self._arrow_type(inner)) for name, inner in kind.items()])
        return {
            "text": arrow.string(),
            "texts": arrow.list_(arrow.string()),
            "int": arrow.int32(),
            "float": arrow.float64(),
            "float32": arrow.float32(),
        }[kind]

    def write(self, row: BatchRow) -> None:
        self._rows.append(row)
        if len(self._rows) >= self._group_size:
            self._flush()

    def _flush(self) -> None:
        columns = []
        for name, kind in self._fields.items():
            cells = [row.get(name) for row in self._rows]
            if kind == "text":
                cells = [None if cell is None else escape_name(cell) for cell in cells]
            columns.append(self._arrow.array(cells, self._schema.field(name).type))
        self._writer.write_table(self._arrow.Table.from_arrays(columns, schema=self._schema))
        self._rows = []

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()


def _import_pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("Parquet (or use --format jsonl, which needs nothing)", "data") from None
    return pyarrow
