"""The page of a call: player, waveform, a lane for each speaker, shares, and the transcript with its
emotions.

The page is one file. Its text is escaped, its one script is named by its hash in the page's policy, and
emotions
are always written out: colour repeats what the text says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emovox.disclaimer import LIMITS, NOTICE
from emovox.reports.colours import NONE, colour, dark_colour
from emovox.reports.html import escape, page, section

__all__ = ["call_html"]

_COLUMNS = 600
"""Of the waveform."""

_PIECES = 1500
"""Columns of a lane: a call may have more segments than a screen has pixels."""

_MAX_LANES = 12
"""Speakers with a lane; the others are in the transcript."""

_REASONS = {
    "uncertain": "uncertain",
    "silence": "silence",
    "no_speech": "no speech",
    "too_short": "too short",
    "error": "not predicted",
}
"""Why a segment has no emotion -> what the page calls it."""

_FOLDER = Path(__file__).parent


def call_html(document: Mapping[str, Any]) -> str:
    """Format a call as an HTML page that needs no other file.

    Args:
        document: of plain JSON types: ``title``; ``facts``, a list of text; ``duration_s``; ``segments``,
            rows of ``emovox predict --segments`` or of a timeline; ``peaks``, a list of levels 0 to 1 evenly
            over the recording; ``audio``, the address of the sound or ``None``.
    """
    duration_s = max(float(document["duration_s"]), 1e-3)
    rows = sorted(document["segments"], key=lambda row: (row["start_s"], row["end_s"]))
    speakers = _group_by_speaker(rows)
    labels = _names(rows)
    lanes = [_lane(name, own, duration_s) for name, own in list(speakers.items())[:_MAX_LANES]]
    if len(speakers) > _MAX_LANES:
        lanes.append(f'<p class="soft">{len(speakers) - _MAX_LANES} more speakers are in the transcript.</p>')
    map_ = (
        f'<div class="map" data-seconds="{duration_s:.3f}"><div class="needle" hidden></div>'
        f"{_waveform(document['peaks'])}{''.join(lanes)}{_ruler(duration_s)}</div>"
    )
    legend = "".join(f'<li class="{_tone(name)}">{escape(name)}</li>' for name in labels)
    body = [
        '<main class="call">',
        f"<h1>{escape(document['title'])}</h1>",
        f'<p class="facts">{escape(" · ".join(document["facts"]))}</p>',
        f'<p class="notice">{escape(NOTICE)}</p>',
        _player(document["audio"]),
        section("Over time", map_, f'<ul class="legend">{legend}</ul>'),
        section("Share of each speaker's time", *(_shares(*one, duration_s) for one in speakers.items())),
        section(
            "Transcript" if any(row.get("text") for row in rows) else "Segments",
            _transcript(rows, has_audio=document["audio"] is not None),
        ),
        f"<footer>{escape(LIMITS)} Written by emovox.</footer>",
        "</main>",
    ]
    style = (_FOLDER / "call.css").read_text(encoding="utf-8") + _tones(labels)
    script = (_FOLDER / "call.js").read_text(encoding="utf-8")
    return page(document["title"], "\n".join(part for part in body if part), style=style, script=script)


def _group_by_speaker(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each speaker, those who speak most first."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        found[_speaker(row)].append(row)
    return dict(sorted(found.items(), key=lambda item: -sum(map(_seconds, item[1]))))


def _speaker(row: Mapping[str, Any]) -> str:
    if row.get("speaker") is not None:
        return str(row["speaker"])
    return "speech" if row.get("channel") is None else f"channel {row['channel']}"


def _seconds(row: Mapping[str, Any]) -> float:
    return max(0.0, float(row["end_s"]) - float(row["start_s"]))


def _name(row: Mapping[str, Any]) -> str:
    """The emotion, or why there is none."""
    reason = "error" if "error" in row else row.get("reason") or "uncertain"
    return str(row.get("label") or _REASONS.get(reason, reason))


def _names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the rows are called, the emotions with most time first, then why others have none."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        seconds[_name(row)] += _seconds(row)
    return sorted(seconds, key=lambda name: (name in _REASONS.values(), -seconds[name]))


# --- parts of the page -----------------------------------------------------------------------------


def _tone(name: str) -> str:
    """The classes of an emotion; the name of a label of one's own may hold any character."""
    if name in _REASONS.values():
        return "unsure"
    return "tone-" + (name if name.isalnum() and name.isascii() else name.encode().hex())


def _tones(labels: Sequence[str]) -> str:
    """Colours of the emotions of this page, light and dark, with the colour of text on them."""
    light: list[str] = []
    dark: list[str] = []
    for name in labels:
        if name not in _REASONS.values():
            for rules, ground in ((light, colour(name)), (dark, dark_colour(name))):
                rules.append(f".{_tone(name)} {{ --tone: {ground}; --on: {_ink_on(ground)}; }}")
    light.append(f".unsure {{ --tone: {NONE}; --on: #1b1f24; --hatch: #fff; }}")
    dark.append(".unsure { --tone: #4a525c; --on: #e4e7eb; --hatch: #14171b; }")
    return (
        "\n".join(light) + "\n@media screen and (prefers-color-scheme: dark) {\n" + "\n".join(dark) + "\n}\n"
    )


def _ink_on(ground: str) -> str:
    """Black or white, whichever has more contrast with ``#rrggbb`` (relative luminance of WCAG 2)."""
    parts = [int(ground[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#fff"


def _player(audio: str | None) -> str:
    if audio is None:
        return ""
    return f'<div class="player"><audio controls preload="metadata" src="{escape(audio)}"></audio></div>'


def _waveform(peaks: Sequence[float]) -> str:
    """Bars of the loudness, in an SVG of one unit each."""
    n = min(len(peaks), _COLUMNS)
    if not n:
        return ""
    bars = [
        max(peaks[i * len(peaks) // n : max((i + 1) * len(peaks) // n, i * len(peaks) // n + 1)])
        for i in range(n)
    ]
    top = max(0.02, max(bars))
    path = "".join(
        f"M{i} {50 - h:.1f}v{2 * h:.1f}h.7v-{2 * h:.1f}z"
        for i, h in enumerate(max(0.5, 48 * b / top) for b in bars)
    )
    return (
        f'<svg viewBox="0 0 {n} 100" preserveAspectRatio="none" role="img" aria-label="loudness over time">'
        f'<path d="{path}"/></svg>'
    )


def _lane(name: str, rows: Sequence[Mapping[str, Any]], duration_s: float) -> str:
    """When a speaker speaks, and what is expressed; segments too narrow to be seen are joined."""
    columns: dict[int, tuple[str, float]] = {}
    for row in rows:
        first = int(max(0.0, row["start_s"]) / duration_s * _PIECES)
        last = min(_PIECES, max(first + 1, round(row["end_s"] / duration_s * _PIECES)))
        for column in range(first, last):
            if column not in columns or columns[column][1] < _seconds(row):
                columns[column] = (_name(row), _seconds(row))
    pieces: list[list[Any]] = []
    starts = {int(max(0.0, row["start_s"]) / duration_s * _PIECES) for row in rows}
    for column in sorted(columns):
        label = columns[column][0]
        if pieces and pieces[-1][1] == column and pieces[-1][2] == label and column not in starts:
            pieces[-1][1] = column + 1
        else:
            pieces.append([column, column + 1, label])
    unit = 100 / _PIECES
    drawn = "".join(
        f'<i class="{_tone(label)}" style="left:{first * unit:.2f}%;width:{(last - first) * unit:.2f}%" '
        f'title="{escape(label)}, {_clock(first * duration_s / _PIECES)}"><u>{escape(label)}</u></i>'
        for first, last, label in pieces
    )
    return f'<div class="lane"><b>{escape(name)}</b><div class="track">{drawn}</div></div>'


def _ruler(duration_s: float) -> str:
    """Times below the lanes: five or fewer steps, so that they do not touch on a phone."""
    steps = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
    step = next((s for s in steps if duration_s / s <= 5), 3600 * -(-duration_s // 18000))
    marks = [k * step for k in range(int(duration_s / step) + 1)]
    spans = []
    for time_s in marks:
        kind = ' class="last"' if time_s > 0.95 * duration_s else ""
        place = f"left:{100 * time_s / duration_s:.2f}%"
        spans.append(f'<span{kind} style="{place}">{_clock(time_s, digits=1 if step < 1 else 0)}</span>')
    return f'<div class="ruler">{"".join(spans)}</div>'


def _shares(name: str, rows: Sequence[Mapping[str, Any]], duration_s: float) -> str:
    """How the time of a speaker is divided, as a bar and as text."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        seconds[_name(row)] += _seconds(row)
    total = sum(seconds.values())
    if not total:
        return ""
    ordered = [(label, seconds[label] / total) for label in _names(rows)]
    bar = "".join(
        f'<i class="{_tone(label)}" style="width:{100 * share:.2f}%"></i>' for label, share in ordered
    )
    words = "".join(
        f'<li class="{_tone(label)}">{escape(label)} {100 * share:.0f} %</li>' for label, share in ordered
    )
    number = "1 segment" if len(rows) == 1 else f"{len(rows)} segments"
    facts = f"{_clock(total)}, {100 * total / duration_s:.0f} % of the call, {number}"
    return (
        f'<div class="shares"><h3>{escape(name)} <span>{facts}</span></h3><div class="stack">{bar}</div>'
        f"<ul>{words}</ul></div>"
    )


def _transcript(rows: Sequence[Mapping[str, Any]], *, has_audio: bool) -> str:
    if not rows:
        return "<p>No speech was found.</p>"
    items = []
    for row in rows:
        span = _clock(row["start_s"], digits=2)
        time = (
            f'<button class="time" type="button" aria-label="Play from {span}">▶ {span}</button>'
            if has_audio
            else f'<span class="time">{span}</span>'
        )
        text = row.get("text")
        said = escape(text) if text else ""
        items.append(
            f'<li data-start="{row["start_s"]:.3f}" data-end="{row["end_s"]:.3f}">{time}'
            f'<div class="said {_tone(_name(row))}"><b>{escape(_speaker(row))}</b>{said}</div>'
            f'<div class="mood">{escape(_name(row))}{_evidence(row)}</div></li>'
        )
    return '<ol class="lines">' + "\n".join(items) + "</ol>"


def _evidence(row: Mapping[str, Any]) -> str:
    """How likely the emotion is; of an uncertain segment, what was likeliest."""
    scores = row.get("scores") or {}
    if row.get("label") is not None and row.get("confidence") is not None:
        return f" <small>{100 * row['confidence']:.0f} %</small>"
    if row.get("reason") == "uncertain" and scores:
        likely = max(scores, key=scores.__getitem__)
        return f" <small>{escape(likely)} {100 * scores[likely]:.0f} %?</small>"
    return ""


def _clock(seconds: float, digits: int = 0) -> str:
    """``5 s``, ``1:05`` or ``2:01:05``, with ``digits`` after the point, as on the page of the server."""
    unit = 10**digits
    whole = round(max(0.0, seconds) * unit)
    if whole < 60 * unit:
        return f"{whole / unit:.{digits}f}\N{NO-BREAK SPACE}s"
    minutes, rest = divmod(whole, 60 * unit)
    hours, minutes = divmod(minutes, 60)
    last = f"{rest / unit:0{2 + (digits + 1 if digits else 0)}.{digits}f}"
    return f"{hours}:{minutes:02}:{last}" if hours else f"{minutes}:{last}"
