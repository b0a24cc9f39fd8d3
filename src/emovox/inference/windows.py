"""How is a stream cut into windows, and how are their scores glued back to a timeline?

_Sound is cut into windows: one ends at every multiple of the hop, and holds the last ``window`` samples (at
the start of a stream there are fewer). A window speaks for its *cell*: the sound nearer to its centre than to
any other window's, which is one hop long; the first cell reaches back to the start and the last one to the
end, so the cells share out all sound. ::

    windows   |------1------|
                   |------2------|
                        |------3------|          (then the sound ends)
    cells     |--- 1 ---|-2--|--- 3 --|

Everything is causal, holds a bounded state, and depends on the sound alone, not on the chunks it came in.
Times are counted in samples at 16 kHz, or in frames of the voice activity detector (30 ms).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emovox._arrays import Bools, Doubles, Floats
from emovox.audio import SAMPLE_RATE
from emovox.audio.vad import FRAME_S
from emovox.results import Segment

__all__ = [
    "FRAME",
    "GAP_S",
    "HYSTERESIS",
    "MIN_SEGMENT_S",
    "NEW_SHARE",
    "SMOOTHING_S",
    "Cut",
    "Cutter",
    "Glue",
    "Pool",
    "Smoother",
    "held",
]

FRAME = round(FRAME_S * SAMPLE_RATE)
"""Samples in a frame of the voice activity detector."""

NEW_SHARE = 0.25
"""At the end of a stream a last window is judged if it holds this share of a hop of new sound."""

SMOOTHING_S = 1.0
"""Time constant of the scores' exponential smoothing. Windows overlap already, so little is needed."""

HYSTERESIS = 0.1
"""A held label yields only to one that scores this much more."""

GAP_S = 0.5
"""A longer pause closes a segment; a shorter one is a breath inside of it."""

MIN_SEGMENT_S = 0.25
"""A change of label needs this much speech, about a syllable; shorter scraps stay with their neighbour."""


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """One window, and the cell it speaks for."""

    start: int
    """First sample of the window."""
    end: int
    """One past its last sample."""
    sound: Floats | None
    """The window's samples, ``(end - start,)``; ``None`` when the sound ended and the cell of the window
    before reaches on."""
    speech: float
    """Share of the window's frames that are speech, 0 to 1."""
    first_frame: int
    """Where the cell begins."""
    flags: Bools
    """Which frames of the cell are speech, ``(n_frames,)``."""

    @property
    def n_speech(self) -> int:
        """Frames of speech in the cell."""
        return int(np.count_nonzero(self.flags))


class Cutter:
    """Cut a stream into windows.

    Args:
        window: samples of a window.
        hop: samples from one window's end to the next; at most ``window``.
        least: a window with fewer samples (at the start) has an empty cell, its sound is the next one's.
    """

    def __init__(self, *, window: int, hop: int, least: int = 0) -> None:
        if not 0 < hop <= window:
            raise ValueError(f"hop {hop} and window {window}: expected 0 < hop <= window")
        self.window, self.hop = window, hop
        self._least = least
        self._buffer = np.zeros(window + hop, np.float32)
        self._fill = 0
        self._n = 0
        self._due = hop
        self._flags = np.zeros(0, np.bool_)
        self._first_flag = 0
        self._cell = 0

    @property
    def n(self) -> int:
        """Samples heard."""
        return self._n

    def push(self, x: Floats, flags: Bools) -> list[Cut]:
        """Take samples ``(n,)`` and the flags of the frames they completed; give the windows that ended."""
        self._flags = np.concatenate([self._flags, flags])
        cuts: list[Cut] = []
        at = 0
        while at < len(x):
            size = min(len(x) - at, self._due - self._n)
            self._buffer[self._fill : self._fill + size] = x[at : at + size]
            self._fill += size
            self._n += size
            at += size
            if self._n == self._due:
                cuts.append(self._cut())
                self._due += self.hop
                self._forget()
        return cuts

    def flush(self, flags: Bools) -> list[Cut]:
        """End the stream; ``flags`` holds the flag of a last, partial frame. Gives what is left."""
        self._flags = np.concatenate([self._flags, flags])
        before = self._due - self.hop
        new = self._n - before
        if new and (not before or new >= NEW_SHARE * self.hop):
            return [self._cut(last=True)]
        start = max(0, before - self.window)
        rest = self._cell_flags(self._first_flag + len(self._flags))
        return [Cut(start, before, None, 0.0, self._cell, rest)] if len(rest) else []

    def _cut(self, *, last: bool = False) -> Cut:
        end, start = self._n, max(0, self._n - self.window)
        sound = self._buffer[self._fill - (end - start) : self._fill].copy()
        first = -(-start // FRAME) - self._first_flag
        stop = len(self._flags) if last else end // FRAME - self._first_flag
        heard = self._flags[first:stop]
        speech = float(heard.mean()) if len(heard) else 0.0
        cell, cell_end = self._cell, self._cell_end(start, end, last=last)
        flags = self._cell_flags(cell_end)
        self._cell = cell_end
        return Cut(start, end, sound, speech, cell, flags)

    def _cell_end(self, start: int, end: int, *, last: bool) -> int:
        """The frame half-way between this window's centre and the next one's."""
        if last:
            return self._first_flag + len(self._flags)
        if end - start < self._least:
            return self._cell
        next_end = end + self.hop
        next_start = max(0, next_end - self.window)
        return (start + end + next_start + next_end) // (4 * FRAME)

    def _cell_flags(self, cell_end: int) -> Bools:
        return self._flags[self._cell - self._first_flag : cell_end - self._first_flag].copy()

    def _forget(self) -> None:
        """Keep the sound and the flags that the next window, or the next cell, needs."""
        keep = min(self._fill, self.window)
        self._buffer[:keep] = self._buffer[self._fill - keep : self._fill].copy()
        self._fill = keep
        oldest = min(max(0, self._due - self.window) // FRAME, self._cell)
        self._flags = self._flags[oldest - self._first_flag :].copy()
        self._first_flag = oldest


class Smoother:
    """Exponential smoothing of the scores of windows ``hop_s`` apart; causal.

    Source: single exponential smoothing with the time constant ``SMOOTHING_S`` (R. G. Brown, 1956).
    """

    def __init__(self, hop_s: float) -> None:
        self._gain = -math.expm1(-hop_s / SMOOTHING_S)
        self._state: Doubles | None = None

    def push(self, scores: Doubles | None) -> Doubles | None:
        """Take one window's scores ``(n_labels,)``; ``None`` (not judged) forgets what was before."""
        if scores is not None and self._state is not None:
            scores = self._state + self._gain * (scores - self._state)
        self._state = scores
        return scores


def held(before: int | None, scores: Doubles, threshold: float) -> int | None:
    """The label (its index) that stands after ``scores``, when ``before`` stood; ``None`` = uncertain.

    A label stays while none beats it by ``HYSTERESIS`` and it is not that far below ``threshold``.
    """
    top = int(scores.argmax())
    if before is not None and scores[before] >= max(scores[top], threshold) - HYSTERESIS:
        return before
    return top if scores[top] >= threshold else None


class Pool:
    """The scores of a whole recording: the mean of its windows' probabilities, weighted by speech.

    Each second of speech counts once, judged by the window around it. Probabilities are averaged, not their
    logarithms: the mean then reads as the share of the speech that sounded so, where a product would let many
    overlapping windows, which are no independent evidence, add up to false certainty.
    """

    def __init__(self) -> None:
        self._sum: Doubles | None = None
        self._last: Doubles | None = None

    def push(self, cut: Cut, scores: Doubles | None) -> None:
        """Take a window and its scores ``(n_labels,)``, or ``None`` if it was not judged."""
        if cut.sound is not None:
            self._last = scores
        if self._last is not None and cut.n_speech:
            self._sum = cut.n_speech * self._last + (0.0 if self._sum is None else self._sum)

    @property
    def scores(self) -> Doubles | None:
        """``(n_labels,)``, summing to 1; ``None`` when nothing was judged."""
        return None if self._sum is None else self._sum / self._sum.sum()


@dataclass(slots=True)
class _Stretch:
    """A stretch of speech with one label, still growing; in frames."""

    start: int
    end: int
    label: int | None
    n_speech: int
    total: Doubles

    def append(self, later: _Stretch) -> None:
        self.end = later.end
        self.n_speech += later.n_speech
        self.total = self.total + later.total

    @property
    def is_scrap(self) -> bool:
        return self.n_speech * FRAME_S < MIN_SEGMENT_S


class Glue:
    """Lay the scores of windows back on the timeline: smoothed, held, merged into segments of speech.

    Segments begin and end with speech. Those that touch differ in label. A segment is given when nothing can
    change it any more: after a change of label, after a pause of more than ``GAP_S``, or at the end.

    Args:
        labels: names of the scores.
        hop_s: seconds from window to window.
        threshold: below this confidence a segment has no label (``uncertain``).
        file, channel: what the segments will say about their source.
    """

    def __init__(
        self,
        labels: Sequence[str],
        *,
        hop_s: float,
        threshold: float = 0.0,
        file: str | None = None,
        channel: int | None = None,
    ) -> None:
        self._labels = tuple(labels)
        self._threshold = threshold
        self._file, self._channel = file, channel
        self._smoother = Smoother(hop_s)
        self._scores: Doubles | None = None
        self._label: int | None = None
        self._open: _Stretch | None = None
        self._next: _Stretch | None = None
        """After ``_open``, with another label, and still a scrap."""

    def push(self, cut: Cut, scores: Doubles | None) -> list[Segment]:
        """Take a window and its scores ``(n_labels,)``, ``None`` if it was not judged; give what is final."""
        if cut.sound is not None:
            self._scores = self._smoother.push(scores)
            self._label = None if self._scores is None else held(self._label, self._scores, self._threshold)
        final: list[Segment] = []
        if self._scores is not None:
            for start, end in _runs(cut.flags):
                final += self._speak(cut.first_frame + start, cut.first_frame + end, self._scores)
        return final + self._pause(cut.first_frame + len(cut.flags))

    def flush(self, n: int) -> list[Segment]:
        """End the timeline, after ``n`` samples in all."""
        return self._close(n)

    def _speak(self, start: int, end: int, scores: Doubles) -> list[Segment]:
        """Speech in the frames ``start`` to ``end``, which ``scores`` and the standing label describe."""
        final = self._pause(start)
        said = _Stretch(start, end, self._label, end - start, (end - start) * scores)
        if self._open is None:
            self._open = said
        elif said.label == self._open.label:
            self._absorb()
            self._open.append(said)
        elif self._open.is_scrap:  # it began after a pause, and takes the label of what follows
            self._open.append(said)
            self._open.label = said.label
        else:
            final += self._turn(said)
        return final

    def _turn(self, said: _Stretch) -> list[Segment]:
        """The label changes to that of ``said``, once there is enough of it."""
        if self._next is None:
            self._next = said
        else:
            self._next.append(said)
            self._next.label = said.label
        if self._next.is_scrap:
            return []
        turned, self._next = self._next, None
        final = self._close()
        self._open = turned
        return final

    def _absorb(self) -> None:
        """A scrap that came to nothing stays with what was before."""
        if self._open is not None and self._next is not None:
            self._open.append(self._next)
        self._next = None

    def _pause(self, until: int) -> list[Segment]:
        """Close the open stretch if no one has spoken for too long at the frame ``until``."""
        if self._open is None:
            return []
        end = self._open.end if self._next is None else self._next.end
        return self._close() if (until - end) * FRAME_S > GAP_S else []

    def _close(self, n: int | None = None) -> list[Segment]:
        self._absorb()
        now, self._open = self._open, None
        if now is None:
            return []
        scores = now.total / now.total.sum()
        end = now.end * FRAME if n is None else min(now.end * FRAME, n)
        confidence = scores.max() if now.label is None else scores[now.label]
        return [
            Segment(
                start_s=now.start * FRAME / SAMPLE_RATE,
                end_s=end / SAMPLE_RATE,
                label=None if now.label is None else self._labels[now.label],
                confidence=float(confidence),
                scores=dict(zip(self._labels, scores.tolist(), strict=True)),
                reason="uncertain" if now.label is None else None,
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
