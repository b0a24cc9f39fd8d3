"""A stream: sound that arrives in chunks, scored at every hop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emovox import audio
from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.audio.vad import SpeechDetector
from emovox.errors import AudioValueError
from emovox.inference.scorer import ScoredSound, Scorer, SoundMemory
from emovox.inference.segments import SegmentBuilder
from emovox.inference.windows import AudioWindow
from emovox.results import Segment, Window

__all__ = ["BLOCK_S", "Stream", "TimelineStep"]

BLOCK_S = 10.0
"""Recordings are read, and long chunks processed, in blocks of this length; bounds the memory."""


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """What one more block of a recording adds to its timeline."""

    results: tuple[tuple[int | None, Window | Segment], ...]
    """Channel numbers (``None`` = the mix) and what became known of them, in order."""
    duration_s: float
    """Of the recording up to here."""
    channels: tuple[int | None, ...]
    """The numbers of all channels."""


class Stream:
    """Sound that arrives in chunks. Any chunking of the same samples gives the same answers.

    ``push`` returns a `Window` at every hop, at once, and a `Segment` as soon as it is final; ``flush`` ends
    the stream and returns the rest. A stream has a state: use one for each channel, from one thread. It holds
    a few seconds of sound, however long it runs. `Recognizer.stream` opens it.

    With ``adapt`` the model adapts to the channel: a window is scored with what was known before it, and
    then added to what is known, unless it overlaps with the last one that was.

    Raises:
        ConfigError, AudioValueError: an argument is wrong.
        ProfileError: it is to adapt, and the model cannot.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        sample_rate: int,
        window_s: float | None = None,
        hop_s: float | None = None,
        vad: bool = True,
        adapt: bool = False,
        file: str | None = None,
        channel: int | None = None,
    ) -> None:
        self._scorer = scorer
        self._statistics = scorer.make_statistics() if adapt else None
        self._learnt_until = 0
        self._windower = scorer.make_windower(window_s, hop_s)
        self._shares_frames = scorer.shares_frames(self._windower)
        self._memory: SoundMemory | None = None
        self._detector = SpeechDetector(enabled=vad)
        self._resampler = audio.Resampler(sample_rate)
        self._mixer = audio.ChannelMixer(1, sample_rate)
        self._rate = sample_rate
        self._builder = SegmentBuilder(
            scorer.names,
            scorer.spec.target_names,
            hop_s=self._windower.hop / SAMPLE_RATE,
            threshold=scorer.spec.abstain.confidence,
            file=file,
            channel=channel,
        )
        self._is_over = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions it answers, in the order of its scores."""
        return self._scorer.names

    @property
    def window_s(self) -> float:
        """Seconds of a window."""
        return self._windower.window / SAMPLE_RATE

    @property
    def hop_s(self) -> float:
        """Seconds from one window to the next."""
        return self._windower.hop / SAMPLE_RATE

    def push(self, chunk: NDArray[Any]) -> list[Window | Segment]:
        """Take samples ``(n,)``, or ``(n, channels)`` which are averaged; floats in [-1, 1] or integers.

        Raises:
            AudioValueError: the samples are not usable, or the stream was flushed.
        """
        if self._is_over:
            raise AudioValueError("this stream was flushed; open a new one")
        sound = audio.validate(chunk, self._rate, empty_ok=True)
        rest = np.zeros(0, np.float32)
        if len(sound) != self._mixer.n_channels:
            rest, self._mixer = self._mixer.flush(), audio.ChannelMixer(len(sound), self._rate)
        mix = np.concatenate([rest, self._mixer.push(sound.T)])
        return self._process(self._resampler.push(mix))

    def flush(self) -> list[Window | Segment]:
        """End the stream; return a last window, if enough sound is new to it, and the last segments."""
        if self._is_over:
            return []
        self._is_over = True
        results = self._process(self._resampler.push(self._mixer.flush()))
        results += self._process(self._resampler.flush())
        results += self._score(self._windower.flush(self._detector.flush()))
        return results + self._with_adaptation(self._builder.flush(self._windower.n))

    def _process(self, x: Floats) -> list[Window | Segment]:
        results: list[Window | Segment] = []
        size = round(BLOCK_S * SAMPLE_RATE)
        for at in range(0, len(x), size):
            piece = x[at : at + size]
            results += self._score(self._windower.push(piece, self._detector.push(piece)))
        return results

    def _score(self, windows: list[AudioWindow]) -> list[Window | Segment]:
        results: list[Window | Segment] = []
        for window in windows:
            if self._shares_frames:
                scored, self._memory = self._scorer.continue_window(window, self._memory)
            else:
                scored = self._scorer.score_window(window)
            scores, values = (None, None) if scored is None else (scored.scores, scored.values)
            if window.sound is not None:
                start_s, end_s = window.start / SAMPLE_RATE, window.end / SAMPLE_RATE
                named = self._scorer.label_scores(scores), window.speech, self._scorer.name_values(values)
                results.append(Window(start_s, end_s, *named))
            results += self._with_adaptation(self._builder.push(window, scores, values))
            # Score first, learn afterwards: a window never influences its own scores.
            if scored is not None:
                self._learn(window, scored)
        return results

    def _with_adaptation(self, segments: list[Segment]) -> list[Window | Segment]:
        adaptation = self._scorer.adaptation
        return [each if adaptation is None else replace(each, adaptation=adaptation) for each in segments]

    def _learn(self, window: AudioWindow, scored: ScoredSound) -> None:
        if self._statistics is None or scored.row is None or window.start < self._learnt_until:
            return
        self._statistics.push(scored.row, (window.end - window.start) / SAMPLE_RATE)
        self._learnt_until = window.end
        self._scorer = self._scorer.with_statistics(self._statistics)
