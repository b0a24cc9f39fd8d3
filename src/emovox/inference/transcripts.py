"""Predictions of the segments of a transcript, in one pass over the recording.

The sound of a segment goes the way of a clip: its answer is that of the sound cut out. Sound is kept for as
long as a clip lasts (``spec.clip_s``), however many segments there are and in whatever order they are.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

import numpy as np

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.errors import ConfigError, ProfileError
from emovox.inference.clip import ClipPredictor, ProfileBuilder
from emovox.inference.scorer import Scorer
from emovox.results import Prediction, SegmentPrediction, TranscriptSegment
from emovox.transcripts.entries import MAX_TIME_S

__all__ = ["MAX_OVERLAPS", "MAX_SPEAKERS", "adapt_to_speakers", "predict_segments"]

MAX_OVERLAPS = 64
"""Segments longer than a clip that may overlap at one time: each keeps the sound of a window."""

MAX_SPEAKERS = 1000
"""Speakers to adapt to at once: each has statistics of all columns."""


class _Sink(Protocol):
    def push(self, x: Floats) -> None:
        """Take samples ``(n,)``."""


_S = TypeVar("_S", bound=_Sink)


class _SegmentReader(Generic[_S]):
    """Give each segment its sound, out of a recording that is read once.

    Args:
        segments: in any order; those that are no span are left out.
        make_sink: makes what takes the sound of a segment, by its index.
        clip_s: seconds; a longer segment gets its sound in parts, while it is read.
    """

    def __init__(
        self, segments: Sequence[TranscriptSegment], make_sink: Callable[[int], _S], clip_s: float
    ) -> None:
        self.n = 0
        """Samples read so far."""
        self._make_sink = make_sink
        self._clip = round(clip_s * SAMPLE_RATE)
        self._spans = [_samples(one) for one in segments]
        usable = (i for i, (start, end) in enumerate(self._spans) if start < end)
        self._waiting = sorted(usable, key=self._spans.__getitem__, reverse=True)
        self._short: list[tuple[int, int]] = []
        """End and index of segments that have begun; a heap."""
        self._long: dict[int, _S] = {}

    def read(self, blocks: Iterable[Floats]) -> Iterator[tuple[int, _S | None]]:
        """Yield index and sink of each segment, as soon as it has all its sound.

        ``None`` instead of a sink: too many long segments overlap. Segments after the end are not yielded.
        """
        recent: Floats = np.zeros(0, np.float32)
        for x in blocks:
            before, self.n = self.n, self.n + len(x)
            recent = np.concatenate([recent[-self._clip :], x])
            yield from self._open(self.n)
            for i, sink in self._long.items():
                start, end = self._spans[i]
                if start < self.n:
                    sink.push(x[max(0, start - before) : end - before])
            yield from self._finish(recent, self.n)
            if not (self._waiting or self._short or self._long):
                return
        yield from self._finish(recent, None)

    def _open(self, n: int) -> Iterator[tuple[int, None]]:
        while self._waiting and self._spans[self._waiting[-1]][0] < n:
            i = self._waiting.pop()
            start, end = self._spans[i]
            if end - start <= self._clip:
                heapq.heappush(self._short, (end, i))
            elif len(self._long) < MAX_OVERLAPS:
                self._long[i] = self._make_sink(i)
            else:
                yield i, None

    def _finish(self, recent: Floats, until: int | None) -> Iterator[tuple[int, _S]]:
        """Yield the segments that end until a sample; all of them at the end of the recording."""
        for i in [i for i in self._long if until is None or self._spans[i][1] <= until]:
            yield i, self._long.pop(i)
        first = self.n - len(recent)
        while self._short and (until is None or self._short[0][0] <= until):
            end, i = heapq.heappop(self._short)
            sink = self._make_sink(i)
            sink.push(recent[self._spans[i][0] - first : end - first])
            yield i, sink


def predict_segments(
    segments: Sequence[TranscriptSegment],
    blocks: Iterable[Floats],
    find_scorer: Callable[[TranscriptSegment], Scorer],
    *,
    clip_s: float,
    vad: bool,
    file: str | None,
    channel: int | None,
) -> Iterator[SegmentPrediction]:
    """Yield the predictions of segments in their own order; each as soon as those before it are known.

    Args:
        segments: their times may be negative, after the end, or in the wrong order: that part is left out
            (warning ``outside``), or the segment has an error.
        blocks: of the recording, mono, ``(n,)`` each.
        find_scorer: the scorer for a segment.
        clip_s: seconds up to which a segment is a clip.
        vad: whether speech is looked for.
        file, channel: what predictions say about their source.
    """

    def make_predictor(i: int) -> ClipPredictor:
        return ClipPredictor(find_scorer(segments[i]), vad=vad)

    reader = _SegmentReader(segments, make_predictor, clip_s)
    finished: dict[int, SegmentPrediction] = {}

    def fail(i: int, message: str) -> None:
        finished[i] = SegmentPrediction(
            segments[i], Prediction(None, file=file, channel=channel, error=message)
        )

    for i, one in enumerate(segments):
        if problem := _find_problem(one):
            fail(i, problem)
    due = 0
    for i, predictor in reader.read(blocks):
        if predictor is None:
            fail(
                i,
                f"more than {MAX_OVERLAPS} long segments overlap where it begins; split them",
            )
        else:
            finished[i] = _place(segments[i], predictor.finish(file=file, channel=channel), reader.n)
        while due in finished:
            yield finished.pop(due)
            due += 1
    for i in range(due, len(segments)):
        if i not in finished:
            fail(i, f"it begins at {segments[i].start_s:g} s, after the end at {reader.n / SAMPLE_RATE:g} s")
        yield finished.pop(i)


def _samples(segment: TranscriptSegment) -> tuple[int, int]:
    """First sample and one past the last; the end is not known yet. Nothing of times that are none."""
    if not (abs(segment.start_s) <= MAX_TIME_S and abs(segment.end_s) <= MAX_TIME_S):
        return 0, 0
    return max(0, round(segment.start_s * SAMPLE_RATE)), round(segment.end_s * SAMPLE_RATE)


def _find_problem(segment: TranscriptSegment) -> str | None:
    """Why a segment has no sound, whatever the recording."""
    start_s, end_s = segment.start_s, segment.end_s
    if not (abs(start_s) <= MAX_TIME_S and abs(end_s) <= MAX_TIME_S):  # also nan
        return f"it begins at {start_s:g} s and ends at {end_s:g} s; expected times of a recording"
    if start_s < end_s <= 0:
        return f"it ends at {end_s:g} s, before the recording begins"
    start, end = _samples(segment)
    if start >= end:
        return f"it ends at {end_s:g} s and begins at {start_s:g} s; expected a later end"
    return None


def _place(segment: TranscriptSegment, prediction: Prediction, n: int) -> SegmentPrediction:
    """The prediction with the times that are in the recording of ``n`` samples."""
    start_s, end_s = segment.start_s, segment.end_s
    if round(end_s * SAMPLE_RATE) > n:
        end_s = n / SAMPLE_RATE
    start_s = max(0.0, start_s)
    if (start_s, end_s) != (segment.start_s, segment.end_s) and prediction.quality is not None:
        warnings = (*prediction.quality.warnings, "outside")
        prediction = replace(prediction, quality=replace(prediction.quality, warnings=warnings))
    return SegmentPrediction(replace(segment, start_s=start_s, end_s=end_s), prediction)


def adapt_to_speakers(
    segments: Sequence[TranscriptSegment],
    blocks: Iterable[Floats],
    scorer: Scorer,
    plain_scorer: Scorer,
    *,
    vad: bool,
) -> dict[str | None, Scorer]:
    """Return a scorer for each speaker, adapted to all of the speaker's segments.

    Args:
        segments: those without a speaker are of one.
        blocks: of the recording, mono, ``(n,)`` each.
        scorer: what adaptation begins with, perhaps with a profile.
        plain_scorer: the same without one, which learns.
        vad: whether speech is looked for.

    Raises:
        ConfigError: there are more than `MAX_SPEAKERS` speakers.
        ProfileError: the model cannot be adapted.
    """
    speakers = dict.fromkeys(one.speaker for one in segments)
    if len(speakers) > MAX_SPEAKERS:
        raise ConfigError(
            f"{len(speakers)} speakers to adapt to; expected at most {MAX_SPEAKERS}: are they speakers?"
        )
    statistics = {speaker: scorer.make_statistics() for speaker in speakers}
    reader = _SegmentReader(segments, lambda _: ProfileBuilder(plain_scorer, vad=vad), scorer.spec.clip_s)
    for i, builder in reader.read(blocks):
        if builder is not None:
            try:
                statistics[segments[i].speaker].add(builder.finish())
            except ProfileError:  # nothing to learn from, as silence
                continue
    return {
        speaker: scorer.with_statistics(known) if known.n_clips else scorer
        for speaker, known in statistics.items()
    }
