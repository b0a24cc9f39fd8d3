"""Writers of result rows: a table for people; JSON, JSON lines and CSV for programs.

A row is what ``Prediction.to_dict()`` and ``Segment.to_dict()`` return, or ``{"file", "error"}``. But for the
table's footer, the output is the same in a pipe, in a file and on a terminal. Every row is written before the
next recording is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from emovox.cli.terminal import LABEL_COLOURS, bar, clean, has_colours, pad, paint, width
from emovox.disclaimer import SHORT
from emovox.results import csv_header, csv_line

__all__ = [
    "AudformatWriter",
    "CsvWriter",
    "JsonLinesWriter",
    "JsonWriter",
    "LabelWriter",
    "ResultRow",
    "ResultTableWriter",
    "Writer",
    "keep_top",
]

ResultRow = Mapping[str, Any]


class Writer(Protocol):
    """Where rows go, one at a time; ``end`` is called once, also after an interruption."""

    def row(self, row: ResultRow) -> None:
        """Write one row."""

    def end(self) -> None:
        """Write what closes the document."""


def keep_top(row: ResultRow, n: int | None) -> ResultRow:
    """Return ``row`` with the ``n`` most likely scores, the likeliest first; all scores for ``None``."""
    if n is None or not row.get("scores"):
        return row
    return {**row, "scores": dict(_rank(row["scores"])[:n])}


def _rank(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(scores.items(), key=lambda pair: -pair[1])


class JsonLinesWriter:
    """One JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def row(self, row: ResultRow) -> None:
        self._stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        self._stream.flush()

    def end(self) -> None:
        pass


class JsonWriter:
    """One JSON list of all rows; closed, hence valid, even after an interruption."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._before = "[\n  "

    def row(self, row: ResultRow) -> None:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, indent=2).replace("\n", "\n  ")
        self._stream.write(self._before + text)
        self._stream.flush()
        self._before = ",\n  "

    def end(self) -> None:
        self._stream.write("[]\n" if self._before.startswith("[") else "\n]\n")


class CsvWriter:
    """One line a row under a header; a cell that is not known is empty.

    Args:
        stream: where the lines go.
        labels: of the columns of probabilities.
        targets: of the columns of values.
        transcript: whether there are columns for speaker and text.
    """

    def __init__(
        self,
        stream: TextIO,
        labels: Sequence[str],
        targets: Sequence[str] = (),
        *,
        transcript: bool = False,
    ) -> None:
        self._stream, self._labels, self._targets = stream, labels, targets
        self._transcript = transcript
        self._write(csv_header(labels, targets, transcript=transcript))

    def row(self, row: ResultRow) -> None:
        self._write(csv_line(row, self._labels, self._targets, transcript=self._transcript))

    def _write(self, line: str) -> None:
        self._stream.write(line)
        self._stream.flush()

    def end(self) -> None:
        pass


class LabelWriter:
    """A subtitle or label file of all rows, written at the end: most formats begin with what ends last.

    Args:
        stream: where the file goes.
        name: one of `emovox.transcripts.LABEL_FORMATS`.
        duration_s: of the recording; ``None``: not known.
    """

    def __init__(self, stream: TextIO, name: str, duration_s: float | None = None) -> None:
        self._stream, self._name, self._duration_s = stream, name, duration_s
        self._rows: list[ResultRow] = []

    def row(self, row: ResultRow) -> None:
        self._rows.append(row)

    def end(self) -> None:
        from emovox.transcripts.writing import format_rows

        self._stream.writelines(format_rows(self._name, self._rows, duration_s=self._duration_s))
        self._stream.flush()


class AudformatWriter:
    """A folder with an audformat database of all rows, written at the end."""

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self._folder, self._labels = folder, labels
        self._rows: list[ResultRow] = []

    def row(self, row: ResultRow) -> None:
        self._rows.append(row)

    def end(self) -> None:
        from emovox.transcripts.audformat_database import write_database

        write_database(self._folder, self._rows, self._labels)


class ResultTableWriter:
    """Aligned columns for people, written row by row: the widths are known beforehand.

    Args:
        stream: where the table goes; colours and the footer only when it is a terminal.
        files: the names that rows may have (a column for them is left out when ``None``).
        labels: the labels that rows may have; without any there are only values.
        targets: the targets whose values rows have.
        top: how many labels a row names, the likeliest included.
        channels: whether there is a column for the channel.
        spans: whether rows are stretches of a recording rather than whole ones.
        speakers: the speakers that rows may have; with it, there are columns for speaker and text.
    """

    FILE_COLUMNS = 44
    SPEAKER_COLUMNS = 20
    BAR_COLUMNS = 10
    VALUE_COLUMNS = 9

    def __init__(
        self,
        stream: TextIO,
        *,
        files: Sequence[str],
        labels: Sequence[str],
        targets: Sequence[str] = (),
        top: int = 3,
        channels: bool = False,
        spans: bool = False,
        speakers: Sequence[str] | None = None,
    ) -> None:
        self._stream = stream
        self._colours = has_colours(stream)
        self._top, self._channels, self._spans = top, channels, spans
        longest = max((width(clean(name)) for name in files), default=0)
        self._file_columns = max(len("file"), min(longest, self.FILE_COLUMNS))
        self._speaker_columns = None
        if speakers is not None:
            longest = max((width(clean(name)) for name in speakers), default=0)
            self._speaker_columns = max(len("speaker"), min(longest, self.SPEAKER_COLUMNS))
        self._has_labels, self._targets = bool(labels), tuple(targets)
        self._label_columns = max(map(len, (*labels, "(no speech)")))
        self._line(self._heads())

    def row(self, row: ResultRow) -> None:
        file = pad(_shorten(clean(str(row["file"])), self._file_columns), self._file_columns)
        if "error" in row:
            self._line([file, paint("error", "1;31", colours=self._colours), clean(row["error"])])
            return
        label = self._label_and_confidence(row) if self._has_labels else []
        cells = [*self._time(row), *self._speaker(row), *label, *self._values(row)]
        self._line([file, *cells, *self._notes(row), *self._text(row)])

    def end(self) -> None:
        if self._stream.isatty():
            self._line([paint(SHORT, "2", colours=self._colours)])

    def _heads(self) -> list[str]:
        heads = [pad("file", self._file_columns)]
        heads += ["channel"] if self._channels else []
        heads += ["   start", "     end"] if self._spans else ["  length"]
        heads += [] if self._speaker_columns is None else [pad("speaker", self._speaker_columns)]
        if self._has_labels:
            heads += [pad("expressed", self._label_columns), pad("confidence", self.BAR_COLUMNS + 5)]
        heads += [" " * (self.VALUE_COLUMNS - width(name)) + name for name in self._targets]
        heads += ["then"] if self._top > 1 and self._has_labels else []
        return [paint("  ".join(heads), "1", colours=self._colours)]

    def _time(self, row: ResultRow) -> list[str]:
        channel = ["mix" if row["channel"] is None else str(row["channel"])] if self._channels else []
        times = [row["start_s"], row["end_s"]] if self._spans else [row["end_s"]]
        return [f"{c:>7}" for c in channel] + [f"{'' if t is None else f'{t:.2f} s':>8}" for t in times]

    def _speaker(self, row: ResultRow) -> list[str]:
        if self._speaker_columns is None:
            return []
        return [pad(_shorten(clean(row["speaker"] or ""), self._speaker_columns), self._speaker_columns)]

    def _text(self, row: ResultRow) -> list[str]:
        return [f'"{clean(row["text"])}"'] if row.get("text") else []

    def _label_and_confidence(self, row: ResultRow) -> list[str]:
        label = row["label"] or f"({str(row['reason'] or 'none').replace('_', ' ')})"
        code = LABEL_COLOURS.get(label, "2" if row["label"] is None else "")
        cells = [paint(pad(label, self._label_columns), code, colours=self._colours)]
        confidence = row["confidence"]
        if confidence is None:
            return [*cells, " " * (self.BAR_COLUMNS + 5)]
        gauge = paint(bar(confidence, self.BAR_COLUMNS, self._stream), code, colours=self._colours)
        return [*cells, f"{gauge} {confidence:.2f}"]

    def _values(self, row: ResultRow) -> list[str]:
        values = row.get("values") or {}
        return [
            f"{values[name]:.3f}".rjust(max(self.VALUE_COLUMNS, width(name)))
            if name in values
            else " " * max(self.VALUE_COLUMNS, width(name))
            for name in self._targets
        ]

    def _notes(self, row: ResultRow) -> list[str]:
        if not self._has_labels:
            why = f"({str(row['reason']).replace('_', ' ')})" if row["reason"] else ""
            return [why, *self._warnings(row)]
        ranked = _rank(row["scores"])[: self._top]
        rest = [pair for pair in ranked if pair[0] != row["label"]]
        return ["  ".join(f"{label} {p:.2f}" for label, p in rest), *self._warnings(row)]

    def _warnings(self, row: ResultRow) -> list[str]:
        warnings = (row.get("quality") or {}).get("warnings", ())
        shown = [w.replace("_", " ") for w in warnings if w != row["reason"]]
        return [paint(f"[{', '.join(shown)}]", "33", colours=self._colours)] if shown else []

    def _line(self, cells: Sequence[str]) -> None:
        self._stream.write("  ".join(cells).rstrip() + "\n")
        self._stream.flush()


def _shorten(text: str, columns: int) -> str:
    """Return ``text`` in at most ``columns``, without its beginning: names of files differ at the end."""
    if width(text) <= columns:
        return text
    while width(text) > columns - 3:
        text = text[1:]
    return "..." + text
