"""From the scores of windows to the segments of a timeline, or to the one answer of a long recording."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emovox._arrays import Bools, Doubles
from emovox.audio import SAMPLE_RATE
from emovox.audio.vad import FRAME_S
from emovox.inference.windows import FRAME, AudioWindow
from emovox.results import Segment

__all__ = [
    "GAP_S",
    "HYSTERESIS",
    "MIN_SEGMENT_S",
    "SMOOTHING_S",
    "MeanPool",
    "SegmentBuilder",
    "Smoother",
    "choose_label",
]

SMOOTHING_S = 1.0
"""Time constant of the scores' exponential smoothing. Windows overlap already, so little is needed."""

HYSTERESIS = 0.1
"""A label is replaced only by one that scores this much more."""

GAP_S = 0.5
"""A longer pause closes a segment; a shorter one is a breath inside of it."""

MIN_SEGMENT_S = 0.25
"""A change of label needs this much speech, about a syllable; shorter pieces stay with their neighbour."""


_NO_VALUES: Doubles = np.zeros(0)


class Smoother:
    """Exponential smoothing of the scores of windows ``hop_s`` apart; causal.

    Source: single exponential smoothing with the time constant ``SMOOTHING_S`` (R. G. Brown, 1956).
    """

    def __init__(self, hop_s: float) -> None:
        self._gain = -math.expm1(-hop_s / SMOOTHING_S)
        self._state: Doubles | None = None

    def push(self, scores: Doubles | None) -> Doubles | None:
        """Take one window's scores ``(n_labels,)``; ``None`` (not scored) starts anew."""
        if scores is not None and self._state is not None:
            scores = self._state + self._gain * (scores - self._state)
        self._state = scores
        return scores


def choose_label(before: int | None, scores: Doubles, threshold: float) -> int | None:
    """Return the index of the label after ``scores``, given the one ``before``; ``None`` = uncertain.

    A label stays while none exceeds it by ``HYSTERESIS`` and it is not that far below ``threshold``.
    """
    if not len(scores):  # of a model of values alone
        return None
    top = int(scores.argmax())
    if before is not None and scores[before] >= max(scores[top], threshold) - HYSTERESIS:
        return before
    return top if scores[top] >= threshold else None


class MeanPool:
    """The scores of a whole recording: the mean of its windows' probabilities, weighted by speech.

    Each second of speech counts once, with the scores of the window around it. Probabilities are averaged,
    not their logarithms: the mean then reads as the share of the speech that sounded so, where a product
    would let many overlapping windows, which are no independent evidence, add up to false certainty.
    """

    def __init__(self) -> None:
        self._sum: Doubles | None = None
        self._values: Doubles | None = None
        self._n_speech = 0
        self._last: Doubles | None = None
        self._last_values = _NO_VALUES

    def push(self, window: AudioWindow, scores: Doubles | None, values: Doubles | None = None) -> None:
        """Take a window, its scores ``(n_labels,)``, or ``None`` if it was not scored, and its values."""
        if window.sound is not None:
            self._last, self._last_values = scores, _NO_VALUES if values is None else values
        if self._last is not None and window.n_speech:
            n = window.n_speech
            self._n_speech += n
            self._sum = n * self._last + (0.0 if self._sum is None else self._sum)
            self._values = n * self._last_values + (0.0 if self._values is None else self._values)

    @property
    def scores(self) -> Doubles | None:
        """``(n_labels,)``, summing to 1; ``None`` when nothing was scored."""
        return None if self._sum is None else self._sum / self._sum.sum()

    @property
    def values(self) -> Doubles | None:
        """``(n_targets,)``; ``None`` when nothing was scored."""
        return None if self._values is None else self._values / self._n_speech


@dataclass(slots=True)
class _Span:
    """A stretch of speech with one label that may still grow; in frames."""

    start: int
    end: int
    label: int | None
    n_speech: int
    total: Doubles
    values: Doubles

    def append(self, later: _Span) -> None:
        self.end = later.end
        self.n_speech += later.n_speech
        self.total = self.total + later.total
        self.values = self.values + later.values

    @property
    def is_short(self) -> bool:
        return self.n_speech * FRAME_S < MIN_SEGMENT_S


class SegmentBuilder:
    """Build the segments of a timeline from windows: smoothed, with hysteresis, merged, speech only.

    Segments begin and end with speech. Those that touch differ in label. A segment is returned when nothing
    can change it any more: after a change of label, after a pause of more than ``GAP_S``, or at the end.

    Args:
        labels: names of the scores.
        targets: names of the values.
        hop_s: seconds from window to window.
        threshold: below this confidence a segment has no label (``uncertain``).
        file, channel: what the segments say about their source.
    """

    def __init__(
        self,
        labels: Sequence[str],
        targets: Sequence[str] = (),
        *,
        hop_s: float,
        threshold: float = 0.0,
        file: str | None = None,
        channel: int | None = None,
    ) -> None:
        self._labels, self._targets = tuple(labels), tuple(targets)
        self._threshold = threshold
        self._file, self._channel = file, channel
        self._smoother, self._value_smoother = Smoother(hop_s), Smoother(hop_s)
        self._scores: Doubles | None = None
        self._values: Doubles | None = None
        self._label: int | None = None
        self._open: _Span | None = None
        self._next: _Span | None = None
        """After ``_open``, with another label, and still short."""

    def push(
        self, window: AudioWindow, scores: Doubles | None, values: Doubles | None = None
    ) -> list[Segment]:
        """Take a window, its scores ``(n_labels,)``, ``None`` if not scored, and its values.

        Returns:
            The segments that are final.
        """
        if window.sound is not None:
            self._scores = self._smoother.push(scores)
            known = _NO_VALUES if values is None else values
            self._values = self._value_smoother.push(None if scores is None else known)
            self._label = (
                None if self._scores is None else choose_label(self._label, self._scores, self._threshold)
            )
        final: list[Segment] = []
        if self._scores is not None and self._values is not None:
            first = window.first_frame
            for start, end in _runs(window.flags):
                final += self._add_speech(first + start, first + end, self._scores, self._values)
        return final + self._close_after_pause(window.first_frame + len(window.flags))

    def flush(self, n: int) -> list[Segment]:
        """End the timeline, after ``n`` samples in all."""
        return self._close(n)

    def _add_speech(self, start: int, end: int, scores: Doubles, values: Doubles) -> list[Segment]:
        """Add the speech in the frames ``start`` to ``end``, with the current label."""
        final = self._close_after_pause(start)
        n = end - start
        span = _Span(start, end, self._label, n, n * scores, n * values)
        if self._open is None:
            self._open = span
        elif span.label == self._open.label:
            self._absorb_next()
            self._open.append(span)
        elif self._open.is_short:  # it began after a pause, and takes the label of what follows
            self._open.append(span)
            self._open.label = span.label
        else:  # the label changes once there is enough speech with the new one
            if self._next is None:
                self._next = span
            else:
                self._next.append(span)
                self._next.label = span.label
            if not self._next.is_short:
                changed, self._next = self._next, None
                final += self._close()
                self._open = changed
        return final

    def _absorb_next(self) -> None:
        """A short span that did not become a segment stays with the one before."""
        if self._open is not None and self._next is not None:
            self._open.append(self._next)
        self._next = None

    def _close_after_pause(self, until: int) -> list[Segment]:
        """Close the open span if there has been no speech for too long at the frame ``until``."""
        if self._open is None:
            return []
        end = self._open.end if self._next is None else self._next.end
        return self._close() if (until - end) * FRAME_S > GAP_S else []

    def _close(self, n: int | None = None) -> list[Segment]:
        self._absorb_next()
        span, self._open = self._open, None
        if span is None:
            return []
        scores = span.total / span.total.sum()
        end = span.end * FRAME if n is None else min(span.end * FRAME, n)
        confidence = None
        if self._labels:
            confidence = float(scores.max() if span.label is None else scores[span.label])
        values = (span.values / span.n_speech).tolist()
        return [
            Segment(
                start_s=span.start * FRAME / SAMPLE_RATE,
                end_s=end / SAMPLE_RATE,
                label=None if span.label is None else self._labels[span.label],
                confidence=confidence,
                scores=dict(zip(self._labels, scores.tolist(), strict=True)),
                reason="uncertain" if self._labels and span.label is None else None,
                values=dict(zip(self._targets, values, strict=True)) if self._targets else None,
                file=self._file,
                channel=self._channel,
            )
        ]


def _runs(flags: Bools) -> list[tuple[int, int]]:
    """Where ``flags`` is true: ``(start, end)`` of each run.

    >>> _runs(np.array([1, 1, 0, 1], bool))
    [(0, 2), (3, 4)]
    """
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
