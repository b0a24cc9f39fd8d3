"""List the recordings that a PLAN names: a folder, a pattern, a table, a list or a recording, read as a
stream.

Relative names in a table start at the table's folder (or where its companion ``.root`` points), those in a
plain list, and those typed by the user, at the current folder. All of them may be URLs.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, count, islice
from typing import Any, BinaryIO, NamedTuple

from emovox._files import find_file
from emovox.audio import AUDIO_SUFFIXES
from emovox.batch import storage
from emovox.errors import ConfigError, EmovoxError, ManifestError, MissingExtraError

__all__ = ["BatchItem", "escape_name", "list_items", "public_name"]

_LIST_SUFFIXES = (".txt", ".lst", ".list")
# Lines of a table among which its header is looked for.
_N_PREAMBLE = 20
_TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl")

# What a signed URL of S3, Google, CloudFront or Azure consists of.
_SIGNED = re.compile(r"[?&](?:x-(?:amz|goog)-)?sig(?:nature)?=", re.I)
_SIGNATURE_TIMES = re.compile(
    r"([?&](?:x-(?:amz|goog)-(?:date|expires)|expires|policy|s[te]|sk[te])=)[^&#]*",
    re.I,
)
_SIGNATURE = re.compile(
    r"([?&](?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|sig"
    r"|awsaccesskeyid|googleaccessid|key-pair-id)=)[^&#]*",
    re.I,
)


class BatchItem(NamedTuple):
    """A recording, or a part of one: what a row is about."""

    file: str
    """As typed, found or listed; with any secret in its URL."""
    start_s: float | None = None
    """``None``: from its beginning."""
    end_s: float | None = None
    """``None``: to its end."""
    problem: str | None = None
    """Why it cannot be processed, if that is known already."""

    @property
    def key(self) -> str:
        """Unique text without secrets, by which rows are sorted."""
        name = escape_name(_identify(self.file))
        if self.problem is not None:
            return f"{name}#{self.problem}"
        if self.start_s is None and self.end_s is None:
            return name
        until = "" if self.end_s is None else f",{self.end_s!r}"
        return f"{name}#t={self.start_s or 0.0!r}{until}"  # as in W3C Media Fragments


def escape_name(name: str) -> str:
    """Return a file name as valid text: invalid bytes become escapes."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode("utf-8")


def public_name(file: str) -> str:
    """Return a recording's name as rows show it: URLs without passwords, signatures and their times."""
    return _hide_signature_times(storage.redact(file)) if storage.is_url(file) else file


def _hide_signature_times(url: str) -> str:
    return _SIGNATURE_TIMES.sub(r"\1***", url) if _SIGNED.search(url) else url


def _identify(file: str) -> str:
    """The public name; with a hash where a hidden parameter may name the recording (``?key=1.wav``)."""
    name = public_name(file)
    if name == file:
        return file
    address, mark, query = file.partition("?")
    unsigned = _SIGNATURE.sub(r"\1***", _hide_signature_times(f"{public_name(address)}{mark}{query}"))
    if public_name(unsigned) == unsigned:
        return name
    return f"{name}#{hashlib.blake2b(escape_name(unsigned).encode(), digest_size=8).hexdigest()}"


def list_items(
    plan: str, *, column: str | None = None, recursive: bool = False, left_out: Counter[str] | None = None
) -> Iterator[BatchItem]:
    """Yield the recordings that ``plan`` names, in its own order, including duplicates.

    Args:
        plan: a folder (the recordings in it), a pattern, a table (.csv, .tsv, .parquet, .jsonl), a
            list (.txt, one path per line) or one recording; a path or a URL.
        column: of a table, the column that names recordings; found by the usual names unless given.
        recursive: of a folder, also the recordings in the folders below it.
        left_out: of folders, counts files that are left out by their suffix, and folders that are not
            entered under ``"/"``.

    Raises:
        ConfigError: at once: nothing has that name, or ``column`` is given without a table.
        ManifestError: while iterating: the table cannot be read, lacks the column, or a row has no name.
        PlaceError, MissingExtraError: while iterating: a file cannot be read, or needs an extra.
    """
    if not plan:
        raise ConfigError("PLAN is empty; expected a folder, a pattern, a table, a list or a recording")
    suffix = os.path.splitext(plan)[1].lower()  # noqa: PTH122 - of URLs too
    if column is not None and suffix not in _TABLE_SUFFIXES:
        raise ConfigError(
            f"--column {column!r} requires a table ({', '.join(_TABLE_SUFFIXES)}); "
            f"got {storage.redact(plan)!r}"
        )
    if storage.has_pattern(plan) and not storage.exists(plan):
        return _list_matches(plan, recursive, left_out)
    if storage.is_folder(plan):
        return _list_folder(plan, recursive, left_out)
    if not storage.exists(plan):
        raise ConfigError(f"PLAN {storage.redact(plan)!r}: there is no such file, folder or pattern")
    if suffix in _TABLE_SUFFIXES:
        return _read_table(plan, suffix, column)
    if suffix in _LIST_SUFFIXES:
        return _read_list(plan)
    if suffix in AUDIO_SUFFIXES:
        return iter([BatchItem(plan)])
    raise ConfigError(
        f"PLAN {storage.redact(plan)!r}: expected a folder, a pattern, a recording, a table "
        f"({', '.join(_TABLE_SUFFIXES)}) or a list of paths (.txt)"
    )


def _list_folder(folder: str, recursive: bool, left_out: Counter[str] | None) -> Iterator[BatchItem]:
    return map(
        BatchItem,
        storage.list_files(folder, deep=recursive, suffixes=AUDIO_SUFFIXES, left_out=left_out),
    )


def _list_matches(pattern: str, recursive: bool, left_out: Counter[str] | None) -> Iterator[BatchItem]:
    for name in storage.find_files(pattern):
        if not name.endswith(("/", os.sep)):
            yield BatchItem(name)
        elif "**" not in pattern:  # which matches the files of its folders, too
            yield from _list_folder(name, recursive, left_out)


def _read_list(plan: str) -> Iterator[BatchItem]:
    with storage.open_read(plan) as stream, _decode(stream) as lines:
        for line in lines:
            if name := line.rstrip("\r\n"):
                yield BatchItem(_repair_name(name))


def _repair_name(name: str) -> str:
    """The name under which a file exists that is listed in Windows-1252, or with Windows' separators."""
    other = name
    if any("\udc80" <= char <= "\udcff" for char in name):
        other = name.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    if os.sep == "/":
        other = other.replace("\\", "/")
    unlike = other != name and not storage.is_url(name) and not os.path.exists(name)  # noqa: PTH110
    return other if unlike and find_file(other) else name


def _decode(stream: BinaryIO) -> io.TextIOWrapper:
    mark = stream.read(2)
    stream.seek(0)
    if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):  # as Excel saves "Unicode text"
        return io.TextIOWrapper(stream, encoding="utf-16", errors="replace", newline="")
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


# --- tables ---------------------------------------------------------------------------------------


class _Cells(NamedTuple):
    position: str
    name: str
    columns: Mapping[str, str]
    """Of the time span, by what they give: start, end or duration."""
    times: Mapping[str, Any]
    """Column -> cell."""


def _read_table(plan: str, suffix: str, column: str | None) -> Iterator[BatchItem]:
    readers: Mapping[str, Callable[[BinaryIO, str, str | None], Iterator[_Cells]]] = {
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".jsonl": _read_jsonl,
        ".parquet": _read_parquet,
    }
    if storage.is_local(plan):
        from emovox.datasets.manifest import root_of

        base = str(root_of(storage.local_path(plan)))
    else:
        base = plan.rpartition("/")[0]
    with storage.open_read(plan) as stream:
        try:
            for cells in readers[suffix](stream, storage.redact(plan), column):
                if not cells.name:
                    raise ManifestError(
                        f"{storage.redact(plan)!r}, {cells.position}: no recording is named; fill in the "
                        "name, or remove the row"
                    )
                absolute = storage.is_url(cells.name) or os.path.isabs(cells.name)  # noqa: PTH117
                name = cells.name if absolute else storage.join(base, cells.name)
                yield _make_item(_repair_name(name), cells)
        except EmovoxError:
            raise
        except (ValueError, OSError, csv.Error) as error:
            raise ManifestError(f"{storage.redact(plan)!r} cannot be read: {error}") from error


def _make_item(file: str, cells: _Cells) -> BatchItem:
    from emovox.datasets.formats.columns import read_span

    times = {name: "" if cell is None else str(cell) for name, cell in cells.times.items()}
    try:
        start_s, end_s = read_span(cells.columns, times)
        if any(time_s is not None and not 0 <= time_s < float("inf") for time_s in (start_s, end_s)):
            raise ValueError("outside of every recording")
    except ValueError:
        found = ", ".join(f"{field} {times[name]!r}" for field, name in cells.columns.items())
        return BatchItem(file, problem=f"{found} is not a valid time span; expected seconds")
    if end_s is None:
        return BatchItem(file, start_s)  # from 0 s to the end is the whole recording
    start_s = start_s or 0.0  # -0 and 0 have one form
    if end_s <= start_s:
        return BatchItem(file, start_s, end_s, f"the time span from {start_s:g} s to {end_s:g} s is empty")
    return BatchItem(file, start_s, end_s)


def _find_columns(plan: str, names: Iterable[str], column: str | None) -> tuple[str, dict[str, str]]:
    """Return the column of names, and those of the time span."""
    from emovox.datasets.formats.columns import find_column, span_columns

    header = list(names)
    found = find_column(header, "path") if column is None else column if column in header else None
    if found is None:
        missing = "for recordings" if column is None else repr(column)
        raise ManifestError(
            f"{plan} has no column {missing}; name one of {', '.join(header[:20])} with --column"
        )
    return found, span_columns(header)


def _read_csv(stream: BinaryIO, plan: str, column: str | None) -> Iterator[_Cells]:
    with _decode(stream) as text:
        head = list(islice(text, _N_PREAMBLE))
        n_skipped, delimiter = _find_header(head, column)
        lines = chain(head[n_skipped:], text)
        rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        header = [name.strip() for name in next(rows, [])]
        name, columns = _find_columns(repr(plan), header, column)
        for row in rows:
            if any(row):  # skips empty lines
                cells = dict(zip(header, row, strict=False))
                times = {column: cells.get(column) for column in columns.values()}
                yield _Cells(f"line {rows.line_num + n_skipped}", cells.get(name, ""), columns, times)


def _find_header(head: list[str], column: str | None) -> tuple[int, str]:
    """How many lines precede the header of a table (``sep=;``, comments, a title), and its delimiter."""
    from emovox.datasets.formats.columns import find_column

    declared = head[0].strip() if head and head[0].strip().lower().startswith("sep=") else ""
    first, most = bool(declared), 0
    for n, line in enumerate(head[first:], first):
        delimiter = declared[4:5] or max(",;\t|", key=line.count)
        (cells,) = csv.reader([line], delimiter=delimiter, skipinitialspace=True) if line.strip() else ([],)
        names = [name.strip() for name in cells]
        has_column = find_column(names, "path") is not None if column is None else column in names
        # Rows are as wide as their header; a title is not.
        if has_column and (len(names) > most or not most):
            return n, delimiter
        most = max(most, len(names))
    line = head[first] if len(head) > first else ""
    return int(first), declared[4:5] or max(",;\t|", key=line.count)


def _read_jsonl(stream: BinaryIO, plan: str, column: str | None) -> Iterator[_Cells]:
    names: list[str] | None = None
    with _decode(stream) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            position = f"{plan!r}, line {number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ManifestError(
                    f"{position}: invalid JSON ({error.msg}, column {error.colno})"
                ) from error
            if not isinstance(row, dict):
                raise ManifestError(f"{position}: expected an object, {{...}}")
            if names != list(row):  # rows may have different keys
                names, (key, columns) = list(row), _find_columns(position, row, column)
            name = row[key]
            if name is not None and not isinstance(name, str):
                raise ManifestError(f"{position}: {key!r} is not text")
            times = {column: row[column] for column in columns.values()}
            yield _Cells(f"line {number}", name or "", columns, times)


def _read_parquet(stream: BinaryIO, plan: str, column: str | None) -> Iterator[_Cells]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("reading Parquet", "data") from None
    try:
        table = pyarrow.parquet.ParquetFile(stream)
        name, columns = _find_columns(repr(plan), table.schema_arrow.names, column)
        kind, types = table.schema_arrow.field(name).type, pyarrow.types
        if types.is_dictionary(kind):
            kind = kind.value_type
        if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
            raise ManifestError(f"{plan!r}: the column {name!r} is not text; see --column")
        number = count(1)
        for rows in table.iter_batches(4096, columns=[name, *columns.values()]):
            for row in rows.to_pylist():
                times = {column: row[column] for column in columns.values()}
                yield _Cells(f"row {next(number)}", row[name] or "", columns, times)
    except pyarrow.ArrowException as error:
        raise ManifestError(f"{plan!r} is not a Parquet table: {error}") from error
