"""Segments in JSON, as Whisper, faster-whisper, WhisperX and emovox write it, and in CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from emovox.errors import TranscriptError
from emovox.results import Word
from emovox.transcripts.entries import Entry, make_entry, quote

__all__ = ["read_csv", "read_json"]


def read_json(text: str) -> Iterator[Entry]:
    """Yield the segments of a JSON document, of a list, or of JSON lines.

    Raises:
        TranscriptError: it is no JSON, or has no list of segments.
    """
    try:
        document = json.loads(text)
    except RecursionError:
        raise TranscriptError("its JSON is nested too deeply to be a transcript") from None
    except ValueError as error:
        rows = [line for line in text.splitlines() if line.strip()]
        if len(rows) < 2 or not rows[0].rstrip().endswith("}"):
            raise TranscriptError(f"it is no JSON: {error}") from None
        yield from _read_json_lines(rows)
        return
    if isinstance(document, Mapping):
        keys = ("segments", "predictions")  # of Whisper and WhisperX; of emovox's server
        found = next((document[key] for key in keys if isinstance(document.get(key), list)), None)
        found = [document] if found is None and {"start", "start_s"} & document.keys() else found
    else:
        found = document
    if not isinstance(found, list):
        raise TranscriptError(
            'it has no list of segments; expected {"segments": [{"start": ..., "end": ...}]}'
        )
    for n, row in enumerate(found, 1):
        yield _read_segment(f"segment {n}", row)


def _read_json_lines(rows: list[str]) -> Iterator[Entry]:
    for n, line in enumerate(rows, 1):
        try:
            yield _read_segment(f"line {n}", json.loads(line))
        except RecursionError:
            yield Entry(None, f"line {n}: its JSON is nested too deeply to be a segment")
        except ValueError as error:
            yield Entry(None, f"line {n}: it is no JSON: {error}")


def _read_segment(position: str, row: object) -> Entry:
    if not isinstance(row, Mapping):
        return Entry(None, f"{position}: {quote(str(row))}; expected an object with start and end")
    words = row.get("words")
    kept = [word for each in words if (word := _read_word(each))] if isinstance(words, list) else []
    file = row.get("file")
    return make_entry(
        position,
        row.get("start", row.get("start_s")),
        row.get("end", row.get("end_s")),
        row.get("text"),
        row.get("speaker"),
        words=kept,
        file=file if isinstance(file, str) else None,
    )


def _read_word(row: object) -> Word | None:
    """A word with its times; WhisperX gives none to numbers and signs."""
    if not isinstance(row, Mapping):
        return None
    start, end = row.get("start", row.get("start_s")), row.get("end", row.get("end_s"))
    found = make_entry("", start, end, row.get("word", row.get("text"))).segment
    if found is None or found.text is None:
        return None
    probability = row.get("probability", row.get("score"))
    known = isinstance(probability, (int, float)) and 0 <= probability <= 1
    return Word(found.start_s, found.end_s, found.text, float(probability) if known else None)


def read_csv(text: str) -> Iterator[Entry]:
    """Yield the rows of a table with a header; columns are found by their usual names.

    Raises:
        TranscriptError: it has no columns for start and end, or is no table.
    """
    from emovox.datasets.formats.columns import find_column, span_columns

    first = text.lstrip().partition("\n")[0]
    declared = len(first.strip()) == 5 and first.strip().lower().startswith("sep=")  # as Excel writes it
    delimiter = first.strip()[4] if declared else max(",;\t|", key=first.count)
    body = text.lstrip().partition("\n")[2] if declared else text.lstrip()
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        spans = span_columns(header)
        if "start" not in spans or not {"end", "duration"} & spans.keys():
            raise TranscriptError(
                f"it is no label file that is known, and as a table it has no columns start and end among "
                f"{quote(', '.join(header))}; expected SRT, WebVTT, TextGrid, ELAN, RTTM, CTM, Audacity "
                "labels, JSON of Whisper, or CSV with start, end, text and speaker"
            )
        columns = {name: find_column(header, name) for name in ("text", "speaker", "path")}
        for cells in reader:
            if any(cell.strip() for cell in cells):
                row = dict(zip(header, cells, strict=False))
                position = f"line {reader.line_num + declared}"
                yield _read_row(position, row, columns, spans)
    except csv.Error as error:
        raise TranscriptError(f"it is no table: {error}") from None


def _read_row(
    position: str, row: Mapping[str, str], columns: Mapping[str, str | None], spans: Mapping[str, str]
) -> Entry:
    from emovox.datasets.formats.columns import read_span

    cells: dict[str, Any] = {name: row.get(column or "", "").strip() for name, column in columns.items()}
    try:
        start, end = read_span(spans, row)
    except (ValueError, OverflowError):
        start = end = None
    if end is None or not row.get(spans["start"], "").strip():
        found = ", ".join(f"{name} {quote(row.get(column, ''))}" for name, column in spans.items())
        return Entry(None, f"{position}: {found}; expected seconds", cells["path"] or None)
    return make_entry(
        position, start or 0.0, end, cells["text"], cells["speaker"], file=cells["path"] or None
    )
