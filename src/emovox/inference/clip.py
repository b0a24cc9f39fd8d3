"""A whole recording of one channel, block by block: its prediction, or its contribution to a profile."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from emovox import audio
from emovox._arrays import Bools, Doubles, Floats
from emovox.audio import SAMPLE_RATE
from emovox.audio.vad import FRAME_S, SpeechDetector
from emovox.errors import ProfileError
from emovox.inference.adaptation import Profile
from emovox.inference.scorer import ScoredSound, Scorer
from emovox.inference.segments import MeanPool
from emovox.inference.windows import MARGIN_S, AudioWindow, Windower
from emovox.results import Prediction, Quality

__all__ = [
    "EDGE",
    "GRID",
    "MARGIN_S",
    "ClipPredictor",
    "ProfileBuilder",
    "RecordingReader",
    "cut_to_speech",
    "find_reason",
]

EDGE = 2.0**-17
"""Of the loudest sample, -102 dB: digital zeros, also where a resampler rang into them. At -78 dB faint noise
went too, and with it 2 to 5 points of UAR (docs/experiments)."""

GRID = round(0.02 * SAMPLE_RATE)
"""Samples between two states of an encoder. A clip moved by a part of it gets other states: 4 to 10 % of
the labels changed, and 2 to 4 % by a multiple of it (docs/experiments)."""


def cut_to_speech(x: Floats, flags: Bools, *, least: int = 0) -> Floats:
    """Remove the sound before the first and after the last speech, but for `MARGIN_S`.

    The same speech gets the same cut, or one moved by whole `GRID` steps, wherever it begins in a file:
    samples below `EDGE` at its edges are removed, and the cut begins at one phase of the speech.

    Args:
        x: samples ``(n,)``.
        flags: of the voice activity detector, one for every `FRAME_S`.
        least: samples; a cut that would become shorter keeps its zeros and begins anywhere.

    Returns:
        A part of ``x``; all of it when there is no speech.
    """
    start, end = _find_speech_span(x, flags, least)
    return x[start:end]


def _find_speech_span(x: Floats, flags: Bools, least: int) -> tuple[int, int]:
    """First sample of what `cut_to_speech` keeps, and the one past its last."""
    speech = np.flatnonzero(flags)
    if not len(speech):
        return 0, len(x)
    margin, frame = round(MARGIN_S * SAMPLE_RATE), round(FRAME_S * SAMPLE_RATE)
    start = max(0, int(speech[0]) * frame - margin)
    end = min(len(x), (int(speech[-1]) + 1) * frame + margin)
    level = np.abs(x[start:end])
    sounding = np.flatnonzero(level > EDGE * level.max())
    if not len(sounding):
        return start, end
    first, last = start + int(sounding[0]), start + int(sounding[-1]) + 1
    first += _find_phase(x[first:last])
    return (first, last) if last - first >= least else (start, end)


def _find_phase(x: Floats) -> int:
    """Where in steps of `GRID` the energy of samples ``(n,)`` is, 0 to ``GRID - 1``: their circular mean.

    It moves with the sound, no gain changes it, and little noise hardly does; the loudest sample, however,
    may become another.
    """
    energy = np.zeros(-(-len(x) // GRID) * GRID)
    energy[: len(x)] = np.square(x, dtype=np.float64)
    steps = np.exp(2j * np.pi * np.arange(GRID) / GRID)
    turn = np.angle(energy.reshape(-1, GRID).sum(axis=0) @ steps) / (2 * np.pi)
    return int(np.rint(turn * GRID)) % GRID


class RecordingReader:
    """A recording in the parts that are scored: one clip or, longer than ``spec.clip_s``, its windows.

    The windows of a whole recording do not overlap: three times as many change its answer no more than by
    chance (docs/experiments), and cost three times the work.
    """

    def __init__(self, scorer: Scorer, *, vad: bool) -> None:
        self.n = 0
        """Samples taken so far."""
        self._scorer = scorer
        self._detector = SpeechDetector(enabled=vad)
        self._meter = audio.LevelMeter()
        self._blocks: list[tuple[Floats, Bools]] = []
        self._clip_samples = math.ceil(scorer.spec.clip_s * SAMPLE_RATE)
        self._windower: Windower | None = None
        self._last_flags: Bools = np.zeros(0, bool)

    @property
    def clip(self) -> Floats | None:
        """The sound ``(n,)`` to score, after `flush`; ``None`` for a long recording, whose sound is not kept.

        It is whole, or without the silence around the speech where the model has a speech output and the
        detector is on.
        """
        if self.clip_span is None:
            return None
        start, end = self.clip_span
        return self._sound[start:end]

    @property
    def _sound(self) -> Floats:
        return np.concatenate([np.zeros(0, np.float32), *(x for x, _ in self._blocks)])

    @property
    def clip_span(self) -> tuple[int, int] | None:
        """First sample of `clip` and the one past its last; ``None`` for a long recording."""
        if self._windower is not None:
            return None
        if self._scorer.spec.speech is None or self._detector.speech_s is None:
            return 0, self.n
        flags = np.concatenate([*(flags for _, flags in self._blocks), self._last_flags])
        return _find_speech_span(self._sound, flags, self._scorer.min_samples)

    def push(self, x: Floats) -> list[AudioWindow]:
        """Take samples ``(n,)``; return the windows of a long recording that ended."""
        self._meter.push(x)
        self.n += len(x)
        self._blocks.append((x, self._detector.push(x)))
        if self.n <= self._clip_samples:
            return []
        # From here on the recording is a long one: what was kept goes through windows, and no more is kept.
        if self._windower is None:
            self._windower = self._scorer.make_windower(hop_s=self._scorer.spec.window_s)
        windows = [window for x, flags in self._blocks for window in self._windower.push(x, flags)]
        self._blocks.clear()
        return windows

    def flush(self) -> list[AudioWindow]:
        """End the recording; return the windows that are left of a long one."""
        flags = self._last_flags = self._detector.flush()
        return [] if self._windower is None else self._windower.flush(flags)

    def quality(self, read_warnings: Iterable[str] = ()) -> Quality:
        """How usable the sound is."""
        return audio.measure_quality(
            self._meter,
            duration_s=self.n / SAMPLE_RATE,
            speech_s=self._detector.speech_s,
            min_s=self._scorer.spec.min_s,
            read_warnings=read_warnings,
        )


def find_reason(quality: Quality) -> str | None:
    """Why there is nothing to predict: the first reason that holds."""
    return next((why for why in ("silence", "too_short", "no_speech") if why in quality.warnings), None)


class ClipPredictor:
    """Predict one channel of a recording that is pushed block by block.

    Keeps at most the sound of a clip (``spec.clip_s``); a longer recording is scored by windows.
    """

    def __init__(self, scorer: Scorer, *, vad: bool = True) -> None:
        self._scorer = scorer
        self._reader = RecordingReader(scorer, vad=vad)
        self._pool = MeanPool()

    def push(self, x: Floats) -> None:
        """Take ``(n,)`` samples at 16 kHz."""
        self._score(self._reader.push(x))

    def _score(self, windows: list[AudioWindow]) -> None:
        for window in windows:
            scored = self._scorer.score_window(window)
            if scored is None:
                self._pool.push(window, None)
            else:
                self._pool.push(window, scored.scores, scored.values)

    def finish(
        self, *, file: str | None = None, channel: int | None = None, read_warnings: Iterable[str] = ()
    ) -> Prediction:
        """Return the prediction.

        Args:
            file, channel: what it says about its source.
            read_warnings: those of `emovox.audio.ReadReport`.
        """
        self._score(self._reader.flush())
        spec, quality = self._scorer.spec, self._reader.quality(read_warnings)
        reason = find_reason(quality)
        scores: Doubles | None = None
        values: Doubles | None = None
        clip = self._reader.clip
        if reason in ("silence", "too_short"):
            pass
        elif clip is None:
            scores, values = self._pool.scores, self._pool.values
        else:
            scored = self._scorer.score(clip)
            scores, values = scored.scores, scored.values
            reason = reason or (None if scored.is_speech else "no_speech")
        # A model of values alone has no scores to be uncertain of.
        confidence = float(scores.max()) if scores is not None and len(scores) else None
        if reason is None and scores is None:
            reason = "no_speech"  # there was some, but too little in every window
        if reason is None and confidence is not None and confidence < spec.abstain.confidence:
            reason = "uncertain"
        return Prediction(
            label=None
            if scores is None or reason or confidence is None
            else self._scorer.names[int(scores.argmax())],
            scores=self._scorer.label_scores(scores),
            values=self._scorer.name_values(values),
            confidence=confidence,
            duration_s=self._reader.n / SAMPLE_RATE,
            quality=quality,
            reason=reason,
            file=file,
            channel=channel,
            model=f"{spec.name} {spec.version}",
            adaptation=None if scores is None else self._scorer.adaptation,
        )


class ProfileBuilder:
    """Learn a profile from a recording that is pushed block by block.

    A clip is learnt from as a whole. Of a longer recording each window with speech is one clip; its sound is
    not kept either.
    """

    def __init__(self, scorer: Scorer, *, vad: bool = True, emotion: str | None = None) -> None:
        self._scorer = scorer
        self._reader = RecordingReader(scorer, vad=vad)
        self._statistics = scorer.make_statistics(emotion)
        self._learnt_until = 0

    def push(self, x: Floats) -> None:
        """Take ``(n,)`` samples at 16 kHz."""
        self._learn_windows(self._reader.push(x))

    def _learn_windows(self, windows: list[AudioWindow]) -> None:
        for window in windows:
            if window.start >= self._learnt_until and (scored := self._scorer.score_window(window)):
                self._learn(scored, window.end - window.start)
                self._learnt_until = window.end

    def _learn(self, scored: ScoredSound, n: int) -> None:
        if scored.row is not None:
            self._statistics.push(scored.row, n / SAMPLE_RATE)

    def finish(self) -> Profile:
        """Return what was learnt.

        Raises:
            ProfileError: there was nothing to learn from.
        """
        self._learn_windows(self._reader.flush())
        reason = find_reason(self._reader.quality())
        clip = self._reader.clip
        if clip is not None and reason is None:
            scored = self._scorer.score(clip)
            if scored.is_speech:
                self._learn(scored, len(clip))
        if not self._statistics.n_clips:
            raise ProfileError(f"nothing of this recording can be enrolled: {reason or 'no_speech'}")
        return self._statistics.profile()
