"""Write rows of results as subtitles and label files.

A row is what ``Segment.to_dict()`` or ``SegmentPrediction.to_dict()`` returns. All formats have its times to
the millisecond; rows of errors are in none, for they may have no times.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from emovox.disclaimer import SHORT
from emovox.errors import ConfigError
from emovox.transcripts import LABEL_FORMATS
from emovox.transcripts.elan import format_eaf
from emovox.transcripts.entries import clean_text
from emovox.transcripts.textgrid import format_textgrid
from emovox.transcripts.tiers import NO_SPEAKER, Span, make_lanes

__all__ = ["format_rows"]


def format_rows(
    name: str, rows: Iterable[Mapping[str, Any]], *, duration_s: float | None = None
) -> Iterator[str]:
    """Yield the text of a label file, piece by piece.

    Args:
        name: one of `emovox.transcripts.LABEL_FORMATS`.
        rows: of one recording (of several for ``rttm``), in any order.
        duration_s: of the recording, for TextGrids; the end of the last segment unless given.

    Raises:
        ConfigError: an unknown format, or rows of several recordings.
    """
    if name not in LABEL_FORMATS:
        raise ConfigError(f"format {name!r}: expected one of {', '.join(LABEL_FORMATS)}")
    usable = sorted((row for row in rows if "error" not in row), key=_times_ms)
    files = {row.get("file") for row in usable}
    if len(files) > 1 and name != "rttm":
        raise ConfigError(f"rows of {len(files)} recordings; a {name} file is of one (rttm takes several)")
    if name in ("textgrid", "eaf"):
        lanes = make_lanes(
            (_lane_name(row), clean_text(row.get("speaker")), _make_span(row)) for row in usable
        )
        if name == "eaf":
            file = next(iter(files), None)
            return format_eaf(lanes, None if file is None else _base_name(file))
        ends = [span.end_ms for lane in lanes for span in lane.spans]
        return format_textgrid(lanes, max([round((duration_s or 0) * 1000), 1, *ends]))
    return {"srt": _format_srt, "vtt": _format_vtt, "audacity": _format_audacity, "rttm": _format_rttm}[name](
        usable
    )


def _times_ms(row: Mapping[str, Any]) -> tuple[int, int]:
    """Start and end; a label file holds nothing before 0 and nothing without a length."""
    start = max(0, round(row["start_s"] * 1000))
    return start, max(start + 1, round((row["end_s"] or 0.0) * 1000))


def _make_span(row: Mapping[str, Any]) -> Span:
    return Span(*_times_ms(row), _describe_label(row), clean_text(row.get("text")))


def _lane_name(row: Mapping[str, Any]) -> str:
    speaker = clean_text(row.get("speaker"))
    channel = row.get("channel")
    return speaker or (NO_SPEAKER if channel is None else f"channel {channel}")


def _describe_label(row: Mapping[str, Any]) -> str:
    """``happy 0.71``, ``no label: uncertain 0.31``, ``no label: silence``, ``happy 0.71; arousal 0.43``."""
    label = clean_text(row.get("label"))
    if row.get("values"):
        values = ", ".join(f"{clean_text(name)} {value:.2f}" for name, value in row["values"].items())
        of_label = label or row.get("reason")
        return f"{_describe_label({**row, 'values': None})}; {values}" if of_label else values
    said = label or f"no label: {str(row.get('reason') or 'none').replace('_', ' ')}"
    confidence = row.get("confidence")
    return said if confidence is None else f"{said} {confidence:.2f}"


def _format_caption(row: Mapping[str, Any]) -> list[str]:
    """The lines ``[Anna]: Hello`` and ``[happy 0.71]``, as `split_caption` reads them."""
    text, speaker = clean_text(row.get("text")), clean_text(row.get("speaker"))
    named = f"[{speaker.replace('[', '(').replace(']', ')')}]: " if speaker else ""
    return [*([f"{named}{text or ''}".strip()] if text or named else []), f"[{_describe_label(row)}]"]


def _format_srt(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    for n, row in enumerate(rows, 1):
        start, end = _times_ms(row)
        lines = [line.replace("-->", "->") for line in _format_caption(row)]  # an arrow begins a cue
        yield "\n".join([str(n), f"{_clock(start, ',')} --> {_clock(end, ',')}", *lines, "", ""])


def _format_vtt(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    yield f"WEBVTT\n\nNOTE {SHORT}\n\n"
    for row in rows:
        start, end = _times_ms(row)
        text, speaker = (html.escape(clean_text(row.get(k)) or "", quote=False) for k in ("text", "speaker"))
        voiced = [f"<v {speaker}>{text}</v>" if speaker else text] if text or speaker else []
        tag = re.sub(r"\W", "-", row.get("label") or "no-label")
        label = f"<c.{tag}>{html.escape(f'[{_describe_label(row)}]', quote=False)}</c>"
        yield "\n".join([f"{_clock(start, '.')} --> {_clock(end, '.')}", *voiced, label, "", ""])


def _format_audacity(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        start, end = _times_ms(row)
        yield f"{start / 1000:.6f}\t{end / 1000:.6f}\t{' '.join(_format_caption(row))}\n"


def _format_rttm(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    """The name is the speaker, and the subtype the label; without a speaker, the name is the label."""
    for row in rows:
        start, end = _times_ms(row)
        label, speaker = (clean_text(row.get(name)) for name in ("label", "speaker"))
        label = label or str(row.get("reason") or "none")
        file = _word(PurePosixPath(_base_name(row.get("file") or "recording")).stem)
        channel, confidence = row.get("channel"), row.get("confidence")
        subtype = _word(label) if speaker else "<NA>"
        yield (
            f"SPEAKER {file} {1 if channel is None else channel + 1} {start / 1000:.3f} "
            f"{(end - start) / 1000:.3f} <NA> {subtype} {_word(speaker or label)} "
            f"{'<NA>' if confidence is None else f'{confidence:.4f}'} <NA>\n"
        )


def _word(text: str) -> str:
    return re.sub(r"\s+", "_", text)


def _base_name(file: str) -> str:
    return clean_text(PurePosixPath(PureWindowsPath(file).name).name) or "recording"


def _clock(time_ms: int, mark: str) -> str:
    seconds, ms = divmod(time_ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{ms:03}"
