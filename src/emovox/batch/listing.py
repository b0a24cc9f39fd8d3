"""What a PLAN names: a folder, a pattern, a table, a list, a recording; read as a stream, however long.

Relative paths in a table start from where the table lies (or where its companion ``.root`` says), those in a
plain list, and those that are typed, from the current folder. Any of them may be URLs.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import count
from typing import Any, BinaryIO, NamedTuple

from emovox.audio import AUDIO_SUFFIXES
from emovox.batch import places
from emovox.errors import ConfigError, EmovoxError, ManifestError, MissingExtraError

__all__ = ["Item", "listed", "printable", "shown"]

_LISTS = (".txt", ".lst", ".list")
_TABLES = (".csv", ".tsv", ".parquet", ".jsonl")
_SIGNED = re.compile(r"[?&](?:x-(?:amz|goog)-)?sig(?:nature)?=", re.I)
_TIMES = re.compile(
    r"([?&](?:x-(?:amz|goog)-(?:date|expires)|expires|policy|s[te]|sk[te])=)[^&#]*",
    re.I,
)
"""What a signature of S3, Google, CloudFront or Azure says of the time it is good for."""
_SIGNATURE = re.compile(
    r"([?&](?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|sig"
    r"|awsaccesskeyid|googleaccessid|key-pair-id)=)[^&#]*",
    re.I,
)
"""What of a web address says who asks, and not what for."""


class Item(NamedTuple):
    """A recording, or a stretch of one: what a row is about."""

    file: str
    """As it was typed, found or listed; with any secret that its URL has."""
    start_s: float | None = None
    """``None``: from its beginning."""
    end_s: float | None = None
    """``None``: to its end."""
    problem: str | None = None
    """Why it cannot even be tried."""

    @property
    def key(self) -> str:
        """What tells it from all others, and what rows are sorted by; valid text without secrets."""
        name = printable(_identity(self.file))
        if self.problem is not None:
            return f"{name}#{self.problem}"
        if self.start_s is None and self.end_s is None:
            return name
        until = "" if self.end_s is None else f",{self.end_s!r}"
        return f"{name}#t={self.start_s or 0.0!r}{until}"  # as in W3C Media Fragments


def printable(name: str) -> str:
    """A file name as valid text: bytes that are none become escapes."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(file: str) -> str:
    """A recording's name as rows have it: a URL without its passwords, signatures and their times."""
    return _timeless(places.veiled(file)) if places.is_url(file) else file


def _timeless(url: str) -> str:
    return _TIMES.sub(r"\1***", url) if _SIGNED.search(url) else url


def _identity(file: str) -> str:
    """What is shown. Where what was veiled may say which recording it is (``?key=1.wav``), also its hash."""
    name = shown(file)
    if name == file:
        return file
    address, mark, query = file.partition("?")
    unsigned = _SIGNATURE.sub(r"\1***", _timeless(f"{shown(address)}{mark}{query}"))
    if shown(unsigned) == unsigned:
        return name
    return f"{name}#{hashlib.blake2b(printable(unsigned).encode(), digest_size=8).hexdigest()}"


def listed(plan: str, *, column: str | None = None) -> Iterator[Item]:
    """The recordings that ``plan`` names, in its own order, also those that are named twice.

    Args:
        plan: a folder (all recordings in it and below), a pattern, a table (.csv, .tsv, .parquet, .jsonl), a
            list (.txt: a path a line) or one recording; a path or a URL.
        column: of a table, the column that names recordings; found by the usual names unless given.

    Raises:
        ConfigError: at once; it names nothing, or ``column`` goes with a table alone.
        ManifestError: while iterating: the table cannot be read, has no such column, or a row names nothing.
        PlaceError, MissingExtraError: while iterating: a place cannot be read, or needs an extra.
    """
    if not plan:
        raise ConfigError("PLAN is empty; expected a folder, a pattern, a table, a list or a recording")
    suffix = os.path.splitext(plan)[1].lower()  # noqa: PTH122 - of URLs too
    if column is not None and suffix not in _TABLES:
        raise ConfigError(f"--column {column!r} goes with a table ({', '.join(_TABLES)}); got {plan!r}")
    if places.has_magic(plan) and not places.exists(plan):
        return map(Item, places.glob(plan))
    if places.is_folder(plan):
        return map(Item, places.walk(plan, suffixes=AUDIO_SUFFIXES))
    if not places.exists(plan):
        raise ConfigError(f"PLAN {places.veiled(plan)!r}: there is no such file, folder or pattern")
    if suffix in _TABLES:
        return _table(plan, suffix, column)
    if suffix in _LISTS:
        return _lines(plan)
    if suffix in AUDIO_SUFFIXES:
        return iter([Item(plan)])
    raise ConfigError(
        f"PLAN {places.veiled(plan)!r}: expected a folder, a pattern, a recording, a table "
        f"({', '.join(_TABLES)}) or a list of paths (.txt)"
    )


# --- lists and tables -------------------------------------------------------------------------------


def _lines(plan: str) -> Iterator[Item]:
    with places.opened(plan) as stream:
        for line in _text(stream):
            if name := line.rstrip("\r\n"):
                yield Item(name)


def _text(stream: BinaryIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _table(plan: str, suffix: str, column: str | None) -> Iterator[Item]:
    read: Mapping[str, Callable[[BinaryIO, str, str | None], Iterator[_Cells]]] = {
        ".csv": _csv_cells,
        ".tsv": _csv_cells,
        ".jsonl": _json_cells,
        ".parquet": _parquet_cells,
    }
    placed = partial(_placed, base=_base(plan))
    with places.opened(plan) as stream:
        try:
            for cells in read[suffix](stream, plan, column):
                if not cells.name:
                    raise ManifestError(
                        f"{places.veiled(plan)!r}, {cells.where}: names no recording; fill in the name, or "
                        "remove the row"
                    )
                yield _item(placed(cells.name), cells)
        except EmovoxError:
            raise
        except (ValueError, OSError, csv.Error) as error:
            raise ManifestError(f"{places.veiled(plan)!r} cannot be read: {error}") from error


class _Cells(NamedTuple):
    where: str
    name: str
    start: Any = None
    end: Any = None


def _base(plan: str) -> str:
    """What relative names in a table start from."""
    if not places.is_local(plan):
        return plan.rpartition("/")[0]
    from emovox.datasets.manifest import root_of

    return str(root_of(places.local_path(plan)))


def _placed(name: str, *, base: str) -> str:
    return name if places.is_url(name) or os.path.isabs(name) else places.joined(base, name)  # noqa: PTH117


def _item(file: str, cells: _Cells) -> Item:
    try:
        start_s, end_s = _seconds(cells.start), _seconds(cells.end)
    except ValueError:
        return Item(file, problem=f"from {cells.start!r} to {cells.end!r} is no stretch of time; expected s")
    if end_s is None:
        return Item(file, start_s or None)  # from 0 s to the end is the recording
    start_s = start_s or 0.0  # one stretch has one form, also when it begins at -0
    if end_s <= start_s:
        return Item(file, start_s, end_s, f"a stretch from {start_s:g} s to {end_s:g} s is none")
    return Item(file, start_s, end_s)


def _seconds(cell: Any) -> float | None:
    """``None`` where nothing is said; raises ValueError for what is no time."""
    from emovox.datasets.formats.columns import parse_seconds

    text = "" if cell is None else str(cell).strip()
    if text.lower() in ("", "nan", "none", "null", "nat", "<na>"):
        return None
    found = parse_seconds(text)
    if not 0 <= found < float("inf"):
        raise ValueError(f"{text} s")
    return found


def _columns(where: str, names: Iterable[str], column: str | None) -> tuple[str, str | None, str | None]:
    """The columns of names, starts and ends."""
    from emovox.datasets.formats.columns import find_column

    header = list(names)
    found = find_column(header, "path") if column is None else column if column in header else None
    if found is None:
        lacks = "for recordings" if column is None else repr(column)
        raise ManifestError(
            f"{where} has no column {lacks}; name one of {', '.join(header[:20])} with --column"
        )
    return found, find_column(header, "start"), find_column(header, "end")


def _csv_cells(stream: BinaryIO, plan: str, column: str | None) -> Iterator[_Cells]:
    text = _text(stream)
    first = text.readline(1 << 16)
    text.seek(0)
    rows = csv.reader(text, delimiter=max(",;\t|", key=first.count))
    where = repr(places.veiled(plan))
    header = [name.strip() for name in next(rows, [])]
    at = [None if name is None else header.index(name) for name in _columns(where, header, column)]
    for row in rows:
        if any(row):  # an empty line is no row
            cells = (row[i] if i is not None and i < len(row) else "" for i in at)
            yield _Cells(f"line {rows.line_num}", *cells)


def _json_cells(stream: BinaryIO, plan: str, column: str | None) -> Iterator[_Cells]:
    known: list[str] | None = None
    for number, line in enumerate(_text(stream), 1):
        if not line.strip():
            continue
        where = f"{places.veiled(plan)!r}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ManifestError(f"{where}: no JSON ({error.msg}, column {error.colno})") from error
        if not isinstance(row, dict):
            raise ManifestError(f"{where}: expected an object, {{...}}")
        if known != list(row):  # rows may differ in what they say
            known, columns = list(row), _columns(where, row, column)
        name = row[columns[0]]
        if name is not None and not isinstance(name, str):
            raise ManifestError(f"{where}: {columns[0]!r} is no text")
        yield _Cells(f"line {number}", name or "", *(one and row[one] for one in columns[1:]))


def _parquet_cells(stream: BinaryIO, plan: str, column: str | None) -> Iterator[_Cells]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("reading Parquet", "data") from None
    try:
        table = pyarrow.parquet.ParquetFile(stream)
        columns = _columns(repr(places.veiled(plan)), table.schema_arrow.names, column)
        wanted = [name for name in columns if name is not None]
        if not _is_text(pyarrow, table.schema_arrow.field(columns[0]).type):
            raise ManifestError(
                f"{places.veiled(plan)!r}: the column {columns[0]!r} is no text; see --column"
            )
        number = count(1)
        for rows in table.iter_batches(4096, columns=wanted):
            cells = {name: rows.column(name).to_pylist() for name in wanted}
            nothing = [None] * rows.num_rows
            for row in zip(*(nothing if one is None else cells[one] for one in columns), strict=True):
                yield _Cells(f"row {next(number)}", row[0] or "", *row[1:])
    except pyarrow.ArrowException as error:
        raise ManifestError(f"{places.veiled(plan)!r} is no Parquet table: {error}") from error


def _is_text(pyarrow: Any, kind: Any) -> bool:
    types = pyarrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
