"""Results of the recognizer: frozen dataclasses, each with ``to_dict()``.

Times are seconds from the start of the recording. Scores are probabilities of the *expressed*
emotion and sum to 1. What is missing is ``None``, never 0.
"""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, TypeAlias

__all__ = [
    "REASONS",
    "Adaptation",
    "Explanation",
    "Prediction",
    "Quality",
    "Result",
    "Segment",
    "SegmentPrediction",
    "TranscriptSegment",
    "Window",
    "Word",
    "csv_header",
    "csv_line",
]

REASONS: tuple[str, ...] = ("silence", "no_speech", "too_short", "uncertain")
"""Why a prediction may have no label."""


def _describe_label(
    label: str | None,
    reason: str | None,
    scores: Mapping[str, float],
    values: Mapping[str, float] | None = None,
) -> str:
    """``happy 0.88 (calm 0.04, surprise 0.03); arousal 0.71``."""
    measured = ", ".join(f"{name} {value:.2f}" for name, value in (values or {}).items())
    if label is None and reason is None and measured:  # of a model of values alone
        return measured
    if measured:
        return f"{_describe_label(label, reason, scores)}; {measured}"
    ranked = sorted(scores.items(), key=lambda pair: -pair[1])[:3]
    head = f"no label: {reason}" if label is None else f"{label} {scores[label]:.2f}"
    others = ", ".join(f"{name} {p:.2f}" for name, p in ranked if name != label)
    return f"{head} ({others})" if others else head


def _tabulate(title: str, scores: Mapping[str, float], values: Mapping[str, float] | None) -> str:
    """Return the scores as a small HTML table with bars, and the values below, for notebooks."""
    bar = "height:.7em;background:#1f77b4"
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{p:.2f}</td>"
        f"<td><div style='width:{100 * p:.0f}px;{bar}'></div></td></tr>"
        for name, p in sorted(scores.items(), key=lambda pair: -pair[1])
    )
    rows += "".join(
        f"<tr><td>{html.escape(name)}</td><td>{value:.2f}</td><td></td></tr>"
        for name, value in (values or {}).items()
    )
    return f"<div><b>{html.escape(title)}</b><table>{rows}</table></div>"


def _round_scores(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(p), 6) for name, p in scores.items()}


def _values_to_dict(values: Mapping[str, float] | None) -> dict[str, Any]:
    """The key ``values``, only of a model that has targets."""
    return {} if values is None else {"values": _round_scores(values)}


@dataclass(frozen=True, slots=True)
class Adaptation:
    """How far the model was adapted to the speaker or source of a result."""

    n_clips: int
    """Clips that its statistics are of."""
    weight: float
    """Weight of these statistics against those of the training, 0 to 1."""
    emotion: str | None = None
    """``neutral`` when all clips were neutral, which harms on some corpora (docs/enrolment.md)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``emotion`` only where it says something."""
        emotion = {} if self.emotion is None else {"emotion": self.emotion}
        return {"n_clips": self.n_clips, "weight": round(self.weight, 4), **emotion}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(n_clips=row["n_clips"], weight=row["weight"], emotion=row.get("emotion"))


@dataclass(frozen=True, slots=True)
class Quality:
    """How usable the sound was.

    Levels are in dB relative to full scale (a full-scale square wave is 0 dBFS). ``None`` = not known
    (digital silence has no level; without the voice activity detector speech is not looked for).
    """

    level_dbfs: float | None
    peak_dbfs: float | None
    clipped: float
    """Share of samples at full scale, 0 to 1."""
    speech_s: float | None
    """Seconds of speech found."""
    warnings: tuple[str, ...] = ()
    """Among ``silence``, ``low_level``, ``clipping``, ``no_speech``, ``too_short``, and from reading the file
    ``truncated``, ``damaged``, ``time_stamps`` and ``phase`` (docs/recordings.md). ``outside``: a part of a
    segment is outside of the recording."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""

        def short(x: float | None, digits: int) -> float | None:
            return None if x is None else round(x, digits)

        return {
            "level_dbfs": short(self.level_dbfs, 2),
            "peak_dbfs": short(self.peak_dbfs, 2),
            "clipped": round(self.clipped, 6),
            "speech_s": short(self.speech_s, 3),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        names = ("level_dbfs", "peak_dbfs", "clipped", "speech_s")
        return cls(**{name: row[name] for name in names}, warnings=tuple(row["warnings"]))


@dataclass(frozen=True, slots=True)
class Prediction:
    """The expressed emotion of one recording (or one channel of it).

    ``label`` is ``None`` when the recognizer abstains; ``reason`` then says why (see ``REASONS``).
    A file that could not be predicted has ``error`` set, and empty ``scores``.
    """

    label: str | None
    scores: Mapping[str, float] = field(default_factory=dict)
    confidence: float | None = None
    duration_s: float | None = None
    quality: Quality | None = None
    reason: str | None = None
    file: str | None = None
    channel: int | None = None
    """Channel number from 0, or ``None`` for the mix of all."""
    model: str | None = None
    error: str | None = None
    adaptation: Adaptation | None = None
    """``None``: the model was not adapted."""
    values: Mapping[str, float] | None = None
    """Target -> value, such as ``{"arousal": 0.7}``; ``None``: the model has none, or found nothing to
    predict."""

    def __str__(self) -> str:
        name = "" if self.file is None else f"{self.file}: "
        if self.error is not None:
            return f"{name}error: {self.error}"
        return name + _describe_label(self.label, self.reason, self.scores, self.values)

    def _repr_html_(self) -> str:
        return _tabulate(str(self), self.scores, self.values)

    @property
    def top(self) -> tuple[tuple[str, float], ...]:
        """``(label, score)`` pairs, most likely first."""
        return tuple(sorted(self.scores.items(), key=lambda kv: -kv[1]))

    def with_file(self, file: str | None) -> Prediction:
        """The same, with another name of its file."""
        return replace(self, file=file)

    def to_dict(self) -> dict[str, Any]:
        """The row of ``emovox predict --format jsonl``: plain JSON types."""
        if self.error is not None:
            return {"file": self.file, "error": self.error}
        return {
            "file": self.file,
            "channel": self.channel,
            "start_s": 0.0,
            "end_s": None if self.duration_s is None else round(self.duration_s, 3),
            "label": self.label,
            "reason": self.reason,
            "confidence": None if self.confidence is None else round(self.confidence, 6),
            "scores": _round_scores(self.scores),
            **_values_to_dict(self.values),
            "quality": None if self.quality is None else self.quality.to_dict(),
            **({} if self.adaptation is None else {"adaptation": self.adaptation.to_dict()}),
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; unknown keys, as of a newer server, are ignored."""
        if "error" in row:
            return cls(label=None, file=row.get("file"), error=row["error"])
        quality, adaptation = row["quality"], row.get("adaptation")
        return cls(
            label=row["label"],
            scores=row["scores"],
            confidence=row["confidence"],
            duration_s=row["end_s"],
            quality=None if quality is None else Quality.from_dict(quality),
            reason=row["reason"],
            file=row.get("file"),
            channel=row["channel"],
            adaptation=None if adaptation is None else Adaptation.from_dict(adaptation),
            values=row.get("values"),
        )


@dataclass(frozen=True, slots=True)
class Window:
    """The raw scores of one hop of a stream, returned at once and never revised."""

    start_s: float
    end_s: float
    scores: Mapping[str, float]
    """Empty when the window holds too little speech."""
    speech: float
    """Share of the window that is speech, 0 to 1."""
    values: Mapping[str, float] | None = None
    """As of `Prediction`."""

    def __str__(self) -> str:
        likeliest = max(self.scores, key=lambda name: self.scores[name], default=None)
        text = "no speech" if likeliest is None else _describe_label(likeliest, None, self.scores)
        return f"{self.start_s:.2f} to {self.end_s:.2f} s: {text}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "speech": round(self.speech, 4),
            "scores": _round_scores(self.scores),
            **_values_to_dict(self.values),
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; unknown keys are ignored."""
        return cls(row["start_s"], row["end_s"], row["scores"], row["speech"], row.get("values"))


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech with one expressed emotion; final once returned."""

    start_s: float
    end_s: float
    label: str | None
    """``None`` when the recognizer abstains on this stretch."""
    confidence: float | None
    """``None``: the model has no labels."""
    scores: Mapping[str, float]
    """Mean of the smoothed scores over the segment."""
    reason: str | None = None
    file: str | None = None
    channel: int | None = None
    adaptation: Adaptation | None = None
    values: Mapping[str, float] | None = None
    """Target -> mean of the smoothed values over the segment; ``None``: the model has none."""

    def __str__(self) -> str:
        times = f"{self.start_s:.2f} to {self.end_s:.2f} s: "
        return times + _describe_label(self.label, self.reason, self.scores, self.values)

    def _repr_html_(self) -> str:
        return _tabulate(str(self), self.scores, self.values)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s

    def with_file(self, file: str | None) -> Segment:
        """The same, with another name of its file."""
        return replace(self, file=file)

    def to_dict(self) -> dict[str, Any]:
        """The row of ``emovox predict --timeline --format jsonl``: plain JSON types."""
        return {
            "file": self.file,
            "channel": self.channel,
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "label": self.label,
            "reason": self.reason,
            "confidence": None if self.confidence is None else round(self.confidence, 6),
            "scores": _round_scores(self.scores),
            **_values_to_dict(self.values),
            **({} if self.adaptation is None else {"adaptation": self.adaptation.to_dict()}),
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; unknown keys are ignored."""
        names = ("start_s", "end_s", "label", "confidence", "scores", "reason", "channel")
        adaptation = row.get("adaptation")
        return cls(
            **{name: row[name] for name in names},
            file=row.get("file"),
            adaptation=None if adaptation is None else Adaptation.from_dict(adaptation),
            values=row.get("values"),
        )


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a transcript and its times."""

    start_s: float
    end_s: float
    text: str
    probability: float | None = None
    """Of the speech recogniser; ``None``: not known."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        probability = {} if self.probability is None else {"probability": round(self.probability, 6)}
        times = {"start_s": round(self.start_s, 3), "end_s": round(self.end_s, 3)}
        return {**times, "text": self.text, **probability}


@dataclass(frozen=True, slots=True)
class TranscriptSegment:
    """What was said from one time to another, and by whom: of a label file, or of a speech recogniser.

    Its times are as given. They may be negative, in the wrong order or after the end of the recording: that
    is found when the recording is read.
    """

    start_s: float
    end_s: float
    text: str | None = None
    speaker: str | None = None
    words: tuple[Word, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``words`` only when there are some."""
        return {
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "speaker": self.speaker,
            "text": self.text,
            **({"words": [word.to_dict() for word in self.words]} if self.words else {}),
        }


@dataclass(frozen=True, slots=True)
class SegmentPrediction:
    """A segment of a transcript and the prediction of its sound."""

    segment: TranscriptSegment
    """With the times that were predicted: those in the recording."""
    prediction: Prediction
    """As of the sound alone, cut out; its ``duration_s`` is that of the segment."""

    def with_file(self, file: str | None) -> SegmentPrediction:
        """The same, with another name of its file."""
        return replace(self, prediction=replace(self.prediction, file=file))

    @classmethod
    def from_dict(cls, row: Mapping[str, Any], *, model: str | None = None) -> Self:
        """Read what `to_dict` wrote; ``model`` made the prediction."""
        words = tuple(
            Word(word["start_s"], word["end_s"], word["text"], word.get("probability"))
            for word in row.get("words", ())
        )
        segment = TranscriptSegment(row["start_s"], row["end_s"], row["text"], row["speaker"], words)
        length_s = round(row["end_s"] - row["start_s"], 3)
        return cls(segment, replace(Prediction.from_dict({**row, "end_s": length_s}), model=model))

    def to_dict(self) -> dict[str, Any]:
        """The row of ``emovox predict --segments FILE --format jsonl``: plain JSON types."""
        prediction, segment = self.prediction.to_dict(), self.segment.to_dict()
        words = {"words": segment.pop("words")} if "words" in segment else {}
        if "error" in prediction:
            return {"file": prediction["file"], **segment, "error": prediction["error"]}
        place = {"file": prediction["file"], "channel": prediction["channel"]}
        return {**place, **segment, **{k: v for k, v in prediction.items() if k not in segment}, **words}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What in a recording decided for a label: the drop of its score when a part of the sound is removed.

    A drop is that of the label's log-odds, ``log(p / (1 - p))``, in nats. Above 0 the part speaks for the
    label, below 0 against it. 0: nothing was removed, for the part is as quiet as the noise of the clip.
    """

    label: str
    score: float
    """Probability of the label on the whole sound."""
    scores: Mapping[str, float]
    """Probabilities of all labels on the whole sound."""
    times_s: tuple[float, ...]
    """Edges of the parts of ``time_drops``, one more than these; the sound outside was not scored."""
    time_drops: tuple[float, ...]
    """Each part replaced by the quiet noise of the clip."""
    bands_hz: tuple[float, ...]
    """Edges of the bands of ``band_drops``."""
    band_drops: tuple[float, ...]
    """Each band removed from the whole clip."""
    map_times_s: tuple[float, ...]
    map_bands_hz: tuple[float, ...]
    map_drops: tuple[tuple[float, ...], ...]
    """A row per time, a column per band: each band in each part replaced by the quiet noise of the clip."""
    n_runs: int
    """How often the model was run."""
    file: str | None = None
    channel: int | None = None
    model: str | None = None

    def __str__(self) -> str:
        """``angry 0.95: mostly 0.8-1.4 s, 300-800 Hz``."""
        name = "" if self.file is None else f"{self.file}: "
        span, band = self.main_span_s, self.main_band_hz
        seconds = "" if span is None else f"{span[0]:.1f}-{span[1]:.1f} s"
        hertz = "" if band is None else f"{round(band[0], -1):.0f}-{round(band[1], -1):.0f} Hz"
        if seconds and hertz:
            where = f"mostly {seconds}, {hertz}"
        elif seconds or hertz:
            where = f"mostly {seconds or hertz}, spread over {'frequency' if seconds else 'time'}"
        else:
            where = "spread over time and frequency"
        return f"{name}{self.label} {self.score:.2f}: {where}"

    @property
    def main_span_s(self) -> tuple[float, float] | None:
        """Shortest span with half of the drops above 0, and neighbours that are as high as its mean.

        ``None``: it is no small part of the clip.
        """
        return _find_main_part(self.times_s, self.time_drops)

    @property
    def main_band_hz(self) -> tuple[float, float] | None:
        """Narrowest band, chosen likewise; ``None``: it is no small part of all bands."""
        return _find_main_part(self.bands_hz, self.band_drops)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""

        def short(values: Sequence[float] | None, digits: int) -> list[float] | None:
            return None if values is None else [round(value, digits) + 0.0 for value in values]

        return {
            "file": self.file,
            "channel": self.channel,
            "model": self.model,
            "label": self.label,
            "score": round(self.score, 6),
            "scores": _round_scores(self.scores),
            "main_span_s": short(self.main_span_s, 3),
            "main_band_hz": short(self.main_band_hz, 1),
            "times_s": short(self.times_s, 3),
            "time_drops": short(self.time_drops, 6),
            "bands_hz": short(self.bands_hz, 1),
            "band_drops": short(self.band_drops, 6),
            "map_times_s": short(self.map_times_s, 3),
            "map_bands_hz": short(self.map_bands_hz, 1),
            "map_drops": [short(row, 6) for row in self.map_drops],
            "n_runs": self.n_runs,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; unknown keys are ignored."""
        return cls(
            label=row["label"],
            score=row["score"],
            scores=row["scores"],
            times_s=tuple(row["times_s"]),
            time_drops=tuple(row["time_drops"]),
            bands_hz=tuple(row["bands_hz"]),
            band_drops=tuple(row["band_drops"]),
            map_times_s=tuple(row["map_times_s"]),
            map_bands_hz=tuple(row["map_bands_hz"]),
            map_drops=tuple(tuple(drops) for drops in row["map_drops"]),
            n_runs=row["n_runs"],
            file=row.get("file"),
            channel=row.get("channel"),
            model=row.get("model"),
        )


_SMALL_PART = 0.4
"""Largest share of the parts of an explanation that is called the main one."""


def _find_main_part(edges: Sequence[float], drops: Sequence[float]) -> tuple[float, float] | None:
    """Return the edges of the fewest neighbouring parts that hold half of all drops above 0.

    Neighbours that are as high as the mean of these parts are added.
    """
    sums = [0.0]
    for drop in drops:
        sums.append(sums[-1] + max(drop, 0.0))
    for n in range(1, int(_SMALL_PART * len(drops)) + 1):
        start = max(range(len(drops) - n + 1), key=lambda i: sums[i + n] - sums[i])
        end = start + n
        if not sums[end] - sums[start] >= sums[-1] / 2 > 0:
            continue
        mean = (sums[end] - sums[start]) / n
        while start > 0 and drops[start - 1] >= mean:
            start -= 1
        while end < len(drops) and drops[end] >= mean:
            end += 1
        return edges[start], edges[end]
    return None


Result: TypeAlias = Prediction | Segment | SegmentPrediction
"""What becomes a row."""


def csv_header(labels: Sequence[str], targets: Sequence[str] = (), *, transcript: bool = False) -> str:
    """The first line of the CSV form for a model that answers ``labels``.

    Args:
        labels: of the columns of probabilities.
        targets: of the columns of values, ``<target>_value``.
        transcript: whether rows have a speaker and a text.
    """
    return _csv(_columns(labels, targets, transcript))


def csv_line(
    row: Mapping[str, Any], labels: Sequence[str], targets: Sequence[str] = (), *, transcript: bool = False
) -> str:
    """One line of CSV for the ``to_dict()`` of a prediction or a segment; an unknown cell is empty."""
    cells = {**row, **{f"{label}_prob": p for label, p in (row.get("scores") or {}).items()}}
    cells |= {f"{target}_value": value for target, value in (row.get("values") or {}).items()}
    names = _columns(labels, targets, transcript)
    return _csv(["" if cells.get(name) is None else str(cells[name]) for name in names])


def _columns(labels: Sequence[str], targets: Sequence[str], transcript: bool) -> list[str]:
    said = ["speaker", "text"] if transcript else []
    probabilities = [f"{label}_prob" for label in labels]
    times = ["file", "channel", "start_s", "end_s"]
    values = [f"{target}_value" for target in targets]
    return [*times, *said, "label", "reason", "confidence", *probabilities, *values, "error"]


def _csv(cells: Sequence[str]) -> str:
    # Python's csv leaves a carriage return unquoted when lines end with a newline.
    odd = any("\r" in cell for cell in cells)
    quoting: Literal[0, 1] = csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting, lineterminator="\n").writerow(cells)
    return text.getvalue()
