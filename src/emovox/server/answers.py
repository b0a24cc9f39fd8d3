"""Predictions and timelines of uploaded recordings, as rows. Runs in a thread; knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from emovox.errors import EmovoxError
from emovox.inference.adaptation import Profile
from emovox.inference.options import PredictOptions
from emovox.inference.recognizer import Recognizer
from emovox.results import Explanation, Prediction, Result, Segment
from emovox.server.schemas import Refusal, check_overlap, make_refusal
from emovox.server.uploads import Upload
from emovox.transcripts.reading import Transcript, read_transcript

__all__ = [
    "MAX_SEGMENTS",
    "Event",
    "TimelineEvents",
    "check_options",
    "explain_upload",
    "predict_upload",
    "predict_upload_segments",
    "predict_upload_timeline",
]

MAX_SEGMENTS = 10_000
"""Of one request: each is a row of the answer."""

Event: TypeAlias = tuple[str, dict[str, Any]]
"""``segment`` or ``window``, and its row."""


@dataclass(frozen=True, slots=True)
class TimelineEvents:
    """What one more block of a recording adds."""

    events: list[Event]
    duration_s: float
    """Of all blocks so far."""
    channels: tuple[int | None, ...]
    """As rows number them."""


def check_options(model: Recognizer, options: PredictOptions, profile: bytes | None = None) -> PredictOptions:
    """Return ``options`` with the labels spelt out and the profile read, if the model can meet them.

    Raises:
        Refusal: a label, a window or the profile does not suit the model.
    """
    try:
        options = replace(options, profile=None if profile is None else Profile.from_json(profile))
        stream = model.open_stream(options)
    except EmovoxError as error:
        raise make_refusal(error) from None
    check_overlap(stream.window_s, stream.hop_s, model.spec)
    return replace(options, labels=stream.labels)


def predict_upload(model: Recognizer, upload: Upload, options: PredictOptions) -> list[Prediction]:
    """Predict one recording: one prediction, or one per channel.

    Raises:
        Refusal: it cannot be predicted.
    """
    try:
        found = [row for row, _ in model.results(upload.file, options)]
    except EmovoxError as error:
        raise _without_name(make_refusal(error)) from None
    return [replace(row, file=upload.name) for row in found if isinstance(row, Prediction)]


def explain_upload(
    model: Recognizer, upload: Upload, options: PredictOptions, label: str | None
) -> Explanation:
    """Find what in one recording decided for a label, the likeliest unless given.

    Raises:
        Refusal: it cannot be explained, or is longer than an explanation may be.
    """
    channels, vad, profile = options.channels, options.vad, options.profile
    try:
        found = model.explain(upload.file, label, channels=channels, vad=vad, profile=profile)
    except EmovoxError as error:
        raise _without_name(make_refusal(error)) from None
    return replace(found, file=upload.name)


def predict_upload_segments(
    model: Recognizer,
    upload: Upload,
    options: PredictOptions,
    content: bytes,
    *,
    tier: str | None,
    max_s: float,
) -> tuple[list[Result], Transcript]:
    """Predict the segments of a label file in one recording.

    Args:
        model, upload, options: as elsewhere.
        content: of the label file.
        tier: of a TextGrid or ELAN file.
        max_s: seconds that a recording may last; the segments, which may overlap, twice as long together.

    Raises:
        Refusal: the label file or the recording cannot be used, or there is too much.
    """
    try:
        transcript = read_transcript(content, recording=upload.name, tier=tier)
        segments = transcript.segments
        spans = ((max(0.0, one.start_s), min(one.end_s, max_s)) for one in segments)
        total_s = sum(max(0.0, end_s - start_s) for start_s, end_s in spans)
        if len(segments) > MAX_SEGMENTS or total_s > 2 * max_s:
            raise Refusal(
                413,
                "too_long",
                f"{len(segments)} segments of {total_s:.0f} s together; expected at most {MAX_SEGMENTS}, "
                f"and {2 * max_s:g} s: send them in parts",
            )
        options = replace(options, segments=segments)
        return [row.with_file(upload.name) for row, _ in model.results(upload.file, options)], transcript
    except EmovoxError as error:
        raise _without_name(make_refusal(error)) from None


def predict_upload_timeline(
    model: Recognizer, upload: Upload, options: PredictOptions, *, max_s: float
) -> Generator[TimelineEvents, None, None]:
    """What each block of a recording adds, and last what its end adds.

    Raises:
        Refusal: it cannot be predicted, or not to its end.
    """
    try:
        for step in model.timeline_steps(upload.file, options, max_s=max_s):
            events: list[Event] = []
            for channel, result in step.results:
                if isinstance(result, Segment):
                    events.append(("segment", replace(result, file=upload.name).to_dict()))
                else:
                    events.append(("window", {"channel": channel, **result.to_dict()}))
            yield TimelineEvents(events, step.duration_s, step.channels)
    except EmovoxError as error:
        raise _without_name(make_refusal(error)) from None


def _without_name(refusal: Refusal) -> Refusal:
    """The row names its file already; the reader's name for an upload says nothing."""
    text = refusal.message.removeprefix("file object: ")
    return Refusal(refusal.status, refusal.code, text)
