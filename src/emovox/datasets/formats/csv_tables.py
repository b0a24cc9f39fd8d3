"""CSV tables with one line per utterance: any dialect, and nkululeko's columns.

``csv``: any table with a column for the file and one for the emotion, under one of their usual names
(`emovox.datasets.formats.columns`) and with any usual delimiter and encoding, or two columns ``path,emotion``
without a header. Columns without a meaning go to ``extra``. As written by emovox it has ``path,emotion`` and
nothing else.

``nkululeko``: ``file,speaker,gender,emotion``, then ``age``, ``language``, and ``start,end`` as pandas writes
times, each where an utterance has one. It does not hold the id, the corpus, the original label, the text, the
intensity and the extras; times are held to the nanosecond, and a start of 0 is the same as none.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from emovox._files import open_atomic_text
from emovox.audio import AUDIO_SUFFIXES
from emovox.datasets.corpora import CORPORA
from emovox.datasets.formats.assembly import assemble
from emovox.datasets.formats.base import CorpusFormat, ImportReport, RawRow, ReadOptions
from emovox.datasets.formats.columns import COLUMN_NAMES, find_column, make_row
from emovox.datasets.manifest import Manifest, Utterance, root_of
from emovox.errors import ManifestError
from emovox.labels import is_known

__all__ = ["CSV", "NKULULEKO", "decode_table", "read_csv_rows", "split_table"]

_N_PREAMBLE = 20
"""Lines among which the header is looked for."""


def decode_table(content: bytes) -> str:
    """The text of a table: UTF-8 or UTF-16 with or without a byte order mark, else Windows-1252.

    Raises:
        ManifestError: it is no text; the message says what it is.
    """
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            return content.decode(encoding, "replace" if encoding == "utf-16" else "surrogateescape")
    if content.startswith(b"PK\x03\x04"):
        raise ManifestError("it is an Excel workbook or another archive; save it as CSV")
    head = content[:1024]
    if head[1::2].count(0) > 0.4 * len(head) / 2 or head[::2].count(0) > 0.4 * len(head) / 2:
        return content.decode(
            "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be", "replace"
        )
    if b"\0" in content:
        raise ManifestError("it holds NUL bytes, so it is no text; save it as CSV in UTF-8")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        # File names on disk may be invalid UTF-8 as well; those keep their bytes if such files exist.
        return content.decode("utf-8", "surrogateescape")


def _undecoded(text: str) -> bool:
    return any("\udc80" <= c <= "\udcff" for c in text)


def split_table(text: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header of a table and its rows with their line numbers.

    A line ``sep=;``, as Excel writes it, gives the delimiter; lines before the header are skipped. A table
    without a header gets the columns ``path, emotion, speaker``.

    Raises:
        ManifestError: it is empty, has no column for the file, or is no CSV.
    """
    lines = text.splitlines(keepends=True)
    first, delimiter = 0, None
    if lines and lines[0].strip().lower().startswith("sep=") and len(lines[0].strip()) == 5:
        first, delimiter = 1, lines[0].strip()[4]
    if not any(line.strip() for line in lines[first:]):
        raise ManifestError("it is empty")
    heads = [line for line in lines[first : first + _N_PREAMBLE] if line.strip()]
    delimiters = [delimiter] if delimiter else sorted(",;\t|", key=heads[0].count, reverse=True)
    header: list[str] = []
    problem: csv.Error | None = None
    for mark in delimiters:
        body = io.StringIO("".join(lines[first:]), newline="")
        try:
            reader = csv.reader(body, delimiter=mark, skipinitialspace=True)
            rows = [(reader.line_num + first, cells) for cells in reader]
        except csv.Error as error:
            problem = error
            continue
        for n, (_, cells) in enumerate(rows[:_N_PREAMBLE]):
            has_emotion = find_column(cells, "emotion") is not None
            if find_column(cells, "path") is not None and (n == 0 or has_emotion):
                return [name.strip() for name in cells], rows[n + 1 :]
        names = [name.strip() for name in rows[0][1]]
        if len(names) >= 2 and os.path.splitext(names[0])[1].lower() in AUDIO_SUFFIXES:  # noqa: PTH122
            return ["path", "emotion", "speaker"], rows
        header = header or names
    if not header and problem is not None:
        raise ManifestError(f"it is no CSV: {problem}")
    raise ManifestError(
        f"it has no column for the file among {header[:12]}; expected one named "
        f"{', '.join(COLUMN_NAMES['path'][:6])}, ..., and one {', '.join(COLUMN_NAMES['emotion'][:3])}, ..."
    )


def read_csv_rows(source: Path, *, need_emotion: bool = True) -> list[RawRow]:
    """The rows of a CSV.

    Raises:
        ManifestError: it cannot be read, or lacks a column; the message says why.
    """
    try:
        text = decode_table(source.read_bytes())
        header, body = split_table(text)
        if _undecoded(text) and not _exist_as_bytes(source, header, body):
            header, body = split_table(text.encode("utf-8", "surrogateescape").decode("cp1252", "replace"))
        has_labels = find_column(header, "emotion") or sum(map(is_known, header)) > 1
        if need_emotion and not has_labels and find_column(header, "corpus") is None:
            raise ManifestError(
                f"it has no column for the emotion among {header[:12]}; expected one named "
                f"{', '.join(COLUMN_NAMES['emotion'][:6])}, ..."
            )
    except (OSError, csv.Error, UnicodeError, ManifestError) as error:
        raise ManifestError(f"{str(source)!r} cannot be read: {error}") from error
    return [make_row(f"line {n}", dict(zip(header, cells, strict=False))) for n, cells in body if any(cells)]


def _exist_as_bytes(source: Path, header: Sequence[str], body: Sequence[tuple[int, list[str]]]) -> bool:
    """Whether a file whose name is no valid UTF-8 exists under exactly these bytes."""
    column = find_column(header, "path")
    at = header.index(column) if column in header else 0
    names = [cells[at] for _, cells in body if len(cells) > at and _undecoded(cells[at])]
    return any(os.path.exists(root_of(source) / name) for name in names)  # noqa: PTH110 - never raises


def _read_csv(source: Path, options: ReadOptions, name: str = "csv") -> tuple[Manifest, ImportReport]:
    rows = read_csv_rows(source, need_emotion=not options.unlabelled and options.corpus not in CORPORA)
    return assemble(rows, format=name, source=source, base=root_of(source), options=options)


def _write_csv(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    rows = [u for u in manifest if not u.is_span]
    _write_rows(target, manifest, rows, {"path": None, "emotion": lambda u: u.emotion}, absolute)
    return [(u.id, "it is a span of its file") for u in manifest if u.is_span]


def _write_nkululeko(manifest: Manifest, target: Path, absolute: bool) -> Sequence[tuple[str, str]]:
    columns: dict[str, Callable[[Utterance], str] | None] = {
        "file": None,
        "speaker": lambda u: u.speaker,
        "gender": lambda u: u.sex or "",
        "emotion": lambda u: u.emotion,
    }
    if any(u.age is not None for u in manifest):
        columns["age"] = lambda u: "" if u.age is None else str(u.age)
    if any(u.language for u in manifest):
        columns["language"] = lambda u: u.language or ""
    if any(u.is_span for u in manifest):
        columns["start"] = lambda u: _as_timedelta(u.start or 0.0)
        columns["end"] = lambda u: "" if u.end is None else _as_timedelta(u.end)
    _write_rows(target, manifest, manifest.utterances, columns, absolute)
    return ()


def _write_rows(
    target: Path,
    manifest: Manifest,
    rows: Sequence[Utterance],
    columns: Mapping[str, Callable[[Utterance], str] | None],
    absolute: bool,
) -> None:
    """One line per utterance; a column without a function is the path."""
    with open_atomic_text(target) as stream:
        table = csv.writer(stream)
        table.writerow(columns)
        for u in rows:
            path = str(manifest.root / u.path) if absolute else u.path
            table.writerow([path if make is None else make(u) for make in columns.values()])


def _as_timedelta(time_s: float) -> str:
    """As pandas writes a time: ``0 days 00:00:01.250000000``."""
    whole_s, rest_ns = divmod(round(time_s * 1e9), 10**9)
    days, rest_s = divmod(whole_s, 86_400)
    return f"{days} days {rest_s // 3600:02}:{rest_s // 60 % 60:02}:{rest_s % 60:02}.{rest_ns:09}"


CSV = CorpusFormat(
    name="csv",
    title="any table with a file and an emotion per row",
    holds=frozenset({"path", "emotion"}),
    read=_read_csv,
    write=_write_csv,
)
NKULULEKO = CorpusFormat(
    name="nkululeko",
    title="nkululeko's CSV: file,speaker,gender,emotion",
    holds=frozenset({"path", "speaker", "sex", "emotion", "age", "language", "start", "end"}),
    read=partial(_read_csv, name="nkululeko"),
    write=_write_nkululeko,
)
