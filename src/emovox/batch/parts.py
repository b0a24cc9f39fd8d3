"""Parts: the rows of one shard, in a Parquet or JSON lines file whose existence means that it is complete.

In a part each row begins with ``key``, what its recording is, and ``n``, its number among the rows of that
recording, from 0; rows are sorted by both. What else stands in a row is the task's (``Fields``). A recording
that failed has one row: its file, ``error``, and how many ``attempts`` were made.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, takewhile
from typing import IO, Any, BinaryIO, TypeAlias

from emovox.batch import places
from emovox.batch.listing import printable, shown
from emovox.errors import ConfigError, MissingExtraError, PlaceError, PlaceNotFoundError

__all__ = [
    "FORMS",
    "Fields",
    "Row",
    "attempts_of",
    "check_form",
    "encoded",
    "failures",
    "opened_writer",
    "part_file",
    "read_part",
    "write_part",
]

Row: TypeAlias = dict[str, Any]
Fields: TypeAlias = Mapping[str, Any]
"""Name -> ``text``, ``int``, ``float`` (64 bits), ``float32``, ``texts``, or a mapping of the same kind."""

FORMS: tuple[str, ...] = ("parquet", "jsonl")
"""What parts may be."""

_FOLDER = "parts"
_HEAD: Fields = {"key": "text", "n": "int"}
_TAIL: Fields = {"error": "text", "attempts": "int"}
_SAID_OF_ERRORS = ("key", "n", "file", "start_s", "end_s", "error", "attempts")
_GROUP_BYTES = 1 << 25
_CELLS = 20_000
"""That are Python objects at once, of each part that is read: many are open in a merge."""


def check_form(form: str) -> None:
    """Refuse a form that is unknown, or cannot be written here.

    Raises:
        ConfigError: it is unknown.
        MissingExtraError: it needs an extra that is not installed.
    """
    if form not in FORMS:
        raise ConfigError(f"unknown format {form!r}; expected one of {', '.join(FORMS)}")
    if form == "parquet":
        _pyarrow()


def part_file(folder: str, number: int, attempt: int, form: str) -> str:
    """Where the part of a shard's attempt is."""
    return places.joined(folder, _FOLDER, f"{number:06d}-{attempt}.{form}")


def attempts_of(folder: str, form: str) -> dict[int, list[int]]:
    """Shard -> its attempts whose parts are complete, in order.

    A later attempt holds only what failed before, so one counts when all before it are there: a shard whose
    first part was lost is to be done, whatever else there is of it.
    """
    found: dict[int, set[int]] = {}
    try:
        for place in places.walk(places.joined(folder, _FOLDER), deep=False, suffixes=(f".{form}",)):
            number, _, attempt = place.replace("\\", "/").rpartition("/")[2].partition(".")[0].partition("-")
            if number.isdecimal() and attempt.isdecimal():
                found.setdefault(int(number), set()).add(int(attempt))
    except PlaceNotFoundError:  # no part at all
        return {}
    unbroken = {
        number: list(takewhile(attempts.__contains__, count(1))) for number, attempts in found.items()
    }
    return {number: attempts for number, attempts in unbroken.items() if attempts}


def write_part(place: str, rows: Sequence[Row], fields: Fields, form: str) -> None:
    """Write all rows of a part; it appears whole. Names of recordings go out ``shown``, without secrets.

    Raises:
        PlaceError: it cannot be written; its ``is_full`` says whether for want of room.
    """
    document = io.BytesIO()
    write, end = opened_writer(document, {**_HEAD, **fields}, form)
    for row in sorted(rows, key=lambda row: (row["key"], row["n"])):
        write({**row, "file": shown(row["file"])} if "file" in row else row)
    end()
    places.write(place, document.getvalue(), durable=True)


def read_part(place: str, form: str) -> Iterator[Row]:
    """The rows of a part in their order, a few at a time.

    Raises:
        PlaceError: it cannot be read, or is damaged.
    """
    with places.opened(place) as stream:
        try:
            yield from _json_rows(stream) if form == "jsonl" else _parquet_rows(stream)
        except (ValueError, OSError) as error:
            raise PlaceError(
                f"{places.veiled(place)}: damaged ({error}); remove it, and run the command again"
            ) from error


def failures(place: str, form: str) -> dict[str, int]:
    """The keys of recordings that failed in a part, and how often each was tried. Errors as `read_part`."""
    if form == "jsonl":
        return {row["key"]: row["attempts"] for row in read_part(place, form) if "error" in row}
    with places.opened(place) as stream:
        try:
            table = _pyarrow().parquet.read_table(stream, columns=["key", "error", "attempts"])
        except (ValueError, OSError) as error:
            raise PlaceError(
                f"{places.veiled(place)}: damaged ({error}); remove it, and run the command again"
            ) from error
    lost = table.filter(table["error"].is_valid())
    return dict(zip(lost["key"].to_pylist(), lost["attempts"].to_pylist(), strict=True))


def encoded(row: Mapping[str, Any]) -> bytes:
    """A row as a line of JSON."""
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode("utf-8", "backslashreplace")


# --- writing rows -----------------------------------------------------------------------------------


def opened_writer(
    stream: IO[bytes], fields: Fields, form: str, *, note: str | None = None
) -> tuple[Callable[[Row], None], Callable[[], None]]:
    """What writes a row to ``stream``, and what ends the document; ``error`` and ``attempts`` come last.

    The same rows are the same bytes, whoever writes them and whenever.

    Args:
        note: about the rows, in Parquet's metadata.
    """
    if form == "jsonl":
        return (lambda row: _nothing(stream.write(encoded(row)))), lambda: None
    writer = _ParquetRows(stream, {**fields, **_TAIL}, note)
    return writer.add, writer.end


def _nothing(_: object) -> None:
    return None


class _ParquetRows:
    """Rows go out in groups whose size depends on the fields alone."""

    def __init__(self, stream: IO[bytes], fields: Fields, note: str | None) -> None:
        self._arrow = _pyarrow()
        self._fields = fields
        schema = self._arrow.schema([(name, _type(self._arrow, kind)) for name, kind in fields.items()])
        self._schema = schema if note is None else schema.with_metadata({"emovox": note})
        self._writer = self._arrow.parquet.ParquetWriter(stream, self._schema)
        self._rows: list[Row] = []
        self._most = max(1, min(1 << 14, _GROUP_BYTES // (64 * len(fields))))

    def add(self, row: Row) -> None:
        """One more."""
        self._rows.append(row)
        if len(self._rows) >= self._most:
            self._flush()

    def _flush(self) -> None:
        columns = [
            self._arrow.array(_column(self._rows, name, self._fields[name]), self._schema.field(name).type)
            for name in self._fields
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(columns, schema=self._schema))
        self._rows = []

    def end(self) -> None:
        """Write what is left, and the footer."""
        if self._rows:
            self._flush()
        self._writer.close()


def _column(rows: Sequence[Row], name: str, kind: Any) -> list[Any]:
    cells = [row.get(name) for row in rows]
    return [None if cell is None else printable(cell) for cell in cells] if kind == "text" else cells


def _type(arrow: Any, kind: Any) -> Any:
    if isinstance(kind, Mapping):
        return arrow.struct([(name, _type(arrow, inner)) for name, inner in kind.items()])
    return {
        "text": arrow.string(),
        "texts": arrow.list_(arrow.string()),
        "int": arrow.int32(),
        "float": arrow.float64(),
        "float32": arrow.float32(),
    }[kind]


# --- reading rows -----------------------------------------------------------------------------------


def _json_rows(stream: BinaryIO) -> Iterator[Row]:
    for line in stream:
        yield json.loads(line)


def _parquet_rows(stream: BinaryIO) -> Iterator[Row]:
    table = _pyarrow().parquet.ParquetFile(stream)
    for batch in table.iter_batches(max(1, min(256, _CELLS // table.metadata.num_columns))):
        for row in batch.to_pylist():
            if row["error"] is None:
                del row["error"], row["attempts"]
                yield row
            else:
                yield {name: row[name] for name in _SAID_OF_ERRORS if row.get(name) is not None}


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("Parquet (or take --format jsonl, which needs nothing)", "data") from None
    return pyarrow
