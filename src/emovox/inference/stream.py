"""One voice, heard piece by piece: live, answering at every hop (`Stream`), or to its end (`Listener`,
which judges it, and `Learner`, which learns the voice).

All hear through an `Ear`, which says where speech is, and ask a `Judge`, which knows the model. What is
said about a piece of sound never depends on how the sound was portioned.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emovox import audio
from emovox._arrays import Bools, Doubles, Floats
from emovox.audio import SAMPLE_RATE
from emovox.audio.vad import FRAME_S, Vad
from emovox.errors import AudioValueError, ConfigError, ProfileError
from emovox.inference.adaptation import Profile
from emovox.inference.scorer import Judge
from emovox.inference.windows import Cut, Cutter, Glue, Pool
from emovox.results import Prediction, Quality, Segment, Window

__all__ = [
    "BLOCK_S",
    "Ear",
    "Learner",
    "Listener",
    "Pieces",
    "Stream",
    "Switch",
    "switch",
]

BLOCK_S = 10.0
"""Recordings are read, and chunks worked off, in pieces of this length; bounds the memory."""

Switch: TypeAlias = Literal["on", "off"]


def switch(vad: str) -> Switch:
    """Check a setting of the voice activity detector. Raises ConfigError unless it is "on" or "off"."""
    if vad not in ("on", "off"):
        raise ConfigError(f"vad is {vad!r}; expected 'on' or 'off'")
    return "on" if vad == "on" else "off"


class Ear:
    """A voice activity detector, or, switched off, one that takes everything for speech."""

    def __init__(self, vad: Switch) -> None:
        self._vad = Vad(SAMPLE_RATE) if vad == "on" else None
        self._frame = round(FRAME_S * SAMPLE_RATE)
        self._n = 0
        self._n_speech = 0

    def push(self, x: Floats) -> Bools:
        """The flags of the frames that ``x`` ``(n,)`` completes."""
        before, self._n = self._n, self._n + len(x)
        if self._vad is None:
            return np.ones(self._n // self._frame - before // self._frame, np.bool_)
        return self._counted(self._vad.push(x))

    def flush(self) -> Bools:
        """The flag of a last, partial frame, if there is one."""
        if self._vad is None:
            return np.ones(1 if self._n % self._frame else 0, np.bool_)
        return self._counted(self._vad.flush())

    def _counted(self, flags: Bools) -> Bools:
        self._n_speech += int(np.count_nonzero(flags))
        return flags

    @property
    def speech_s(self) -> float | None:
        """Seconds of speech so far; ``None`` when nobody looked."""
        if self._vad is None:
            return None
        return min(self._n_speech * FRAME_S, self._n / SAMPLE_RATE)


class Stream:
    """Sound that arrives in chunks. Any chunking of the same samples gives the same answers.

    ``push`` gives a `Window` at every hop, at once, and a `Segment` as soon as it is final; ``flush`` ends
    the stream and gives the rest. It has a state: use one for each voice, from one thread. It holds a few
    seconds of sound, however long it runs. Opened by `Recognizer.stream`.

    With ``adapt`` it learns the voice as it goes: a window is judged by what was known before it began or
    ended, and then, when it overlaps with none that was learnt from, becomes a clip of the voice itself.

    Raises:
        LabelError, ConfigError, AudioValueError: an argument is wrong.
        ProfileError: it is to adapt, and the model cannot.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        sample_rate: int,
        window_s: float | None = None,
        hop_s: float | None = None,
        vad: Switch = "on",
        adapt: bool = False,
        file: str | None = None,
        channel: int | None = None,
    ) -> None:
        self._judge = judge
        self._learnt = judge.enrolment() if adapt else None
        self._learnt_to = 0
        self._cutter = judge.cutter(window_s, hop_s)
        self._ear = Ear(vad)
        self._resampler = audio.Resampler(sample_rate)
        self._rate = sample_rate
        self._glue = Glue(
            judge.names,
            hop_s=self._cutter.hop / SAMPLE_RATE,
            threshold=judge.spec.abstain.confidence,
            file=file,
            channel=channel,
        )
        self._is_over = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions it answers, in the order of its scores."""
        return self._judge.names

    @property
    def window_s(self) -> float:
        """Seconds that are judged at once."""
        return self._cutter.window / SAMPLE_RATE

    @property
    def hop_s(self) -> float:
        """Seconds from one window to the next."""
        return self._cutter.hop / SAMPLE_RATE

    def push(self, chunk: NDArray[Any]) -> list[Window | Segment]:
        """Take samples ``(n,)``, or ``(n, channels)`` which are averaged; floats in [-1, 1] or integers.

        Raises:
            AudioValueError: the samples are not usable, or the stream was flushed.
        """
        if self._is_over:
            raise AudioValueError("this stream was flushed; open a new one")
        sound = audio.valid(chunk, self._rate, empty_ok=True)
        return self._hear(self._resampler.push(sound[0] if len(sound) == 1 else sound.mean(axis=0)))

    def flush(self) -> list[Window | Segment]:
        """End the stream; give a last window, if there is enough new sound for one, and the last segments."""
        if self._is_over:
            return []
        self._is_over = True
        found = self._hear(self._resampler.flush())
        found += self._place(self._cutter.flush(self._ear.flush()))
        return found + list(self._glue.flush(self._cutter.n))

    def _hear(self, x: Floats) -> list[Window | Segment]:
        found: list[Window | Segment] = []
        size = round(BLOCK_S * SAMPLE_RATE)
        for at in range(0, len(x), size):
            piece = x[at : at + size]
            found += self._place(self._cutter.push(piece, self._ear.push(piece)))
        return found

    def _place(self, cuts: list[Cut]) -> list[Window | Segment]:
        found: list[Window | Segment] = []
        for cut in cuts:
            scores = self._window_scores(cut)
            if cut.sound is not None:
                start_s, end_s = cut.start / SAMPLE_RATE, cut.end / SAMPLE_RATE
                found.append(Window(start_s, end_s, self._judge.named(scores), cut.speech))
            found += self._glue.push(cut, scores)
        return found

    def _window_scores(self, cut: Cut) -> Doubles | None:
        """Judge first, learn then: a window never has a say in its own judgement."""
        heard = self._judge.heard(cut)
        if heard is None:
            return None
        scores = self._judge.heard_scores(heard)
        if self._learnt is not None and cut.start >= self._learnt_to:
            self._learnt.push(heard, (cut.end - cut.start) / SAMPLE_RATE)
            self._learnt_to = cut.end
            self._judge = self._judge.told(self._learnt)
        return scores


class Pieces:
    """A recording as it is judged: one clip, or, when it is longer than ``spec.clip_s``, windows.

    The windows of a whole recording do not overlap: three times as many change its answer no more than by
    chance (LOG.md), and cost three times the work.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._kept: list[tuple[Floats, Bools]] = []
        self._clip_samples = math.ceil(judge.spec.clip_s * SAMPLE_RATE)
        self._cutter: Cutter | None = None
        self.n = 0
        """Samples heard."""

    @property
    def clip(self) -> Floats | None:
        """The whole sound ``(n,)``, unless it is a long recording."""
        if self._cutter is not None:
            return None
        return np.concatenate([np.zeros(0, np.float32), *(x for x, _ in self._kept)])

    def push(self, x: Floats, flags: Bools) -> list[Cut]:
        """Take samples ``(n,)`` and the flags of the frames they completed; give the windows that ended."""
        self.n += len(x)
        self._kept.append((x, flags))
        if self.n <= self._clip_samples:
            return []
        if self._cutter is None:
            self._cutter = self._judge.cutter(hop_s=self._judge.spec.window_s)
        cuts = [cut for x, flags in self._kept for cut in self._cutter.push(x, flags)]
        self._kept.clear()
        return cuts

    def flush(self, flags: Bools) -> list[Cut]:
        """End it; give the windows that are left of a long recording."""
        return [] if self._cutter is None else self._cutter.flush(flags)


class Listener:
    """Hears one channel of a recording block by block, and judges it at its end.

    Keeps at most the sound of a clip (``spec.clip_s``); a longer recording goes through windows.
    """

    def __init__(self, judge: Judge, *, vad: Switch = "on") -> None:
        self._judge, self._ear = judge, Ear(vad)
        self._meter = audio.LevelMeter()
        self._pieces = Pieces(judge)
        self._pool = Pool()

    def push(self, x: Floats) -> None:
        """Take ``(n,)`` samples at 16 kHz."""
        self._meter.push(x)
        self._take(self._pieces.push(x, self._ear.push(x)))

    def _take(self, cuts: list[Cut]) -> None:
        for cut in cuts:
            self._pool.push(cut, self._judge.window_scores(cut))

    def finish(self, *, file: str | None = None, channel: int | None = None) -> Prediction:
        """The answer; ``file`` and ``channel`` are what it says about its source."""
        spec, flags = self._judge.spec, self._ear.flush()
        duration_s = self._pieces.n / SAMPLE_RATE
        quality = _quality(self._meter, self._ear, self._pieces.n, spec.min_s)
        reason = _unusable(quality)
        scores = None if reason in ("silence", "too_short") else self._scores(flags)
        confidence = None if scores is None else float(scores.max())
        if reason is None and confidence is None:
            reason = "no_speech"  # there was some, but too little in every window
        if reason is None and confidence is not None and confidence < spec.abstain.confidence:
            reason = "uncertain"
        return Prediction(
            label=self._judge.names[int(scores.argmax())] if scores is not None and reason is None else None,
            scores=self._judge.named(scores),
            confidence=confidence,
            duration_s=duration_s,
            quality=quality,
            reason=reason,
            file=file,
            channel=channel,
            model=f"{spec.name} {spec.version}",
        )

    def _scores(self, flags: Bools) -> Doubles | None:
        clip = self._pieces.clip
        if clip is not None:
            return self._judge.scores(clip)
        self._take(self._pieces.flush(flags))
        return self._pool.scores


class Learner:
    """Hears a recording of one voice block by block, and adds it to an enrolment at its end.

    A clip is learnt from as a whole. Of a longer recording each window with speech is one clip; its sound is
    not kept either.
    """

    def __init__(self, judge: Judge, *, vad: Switch = "on") -> None:
        self._judge, self._ear = judge, Ear(vad)
        self._learnt, self._learnt_to = judge.enrolment(), 0
        self._meter = audio.LevelMeter()
        self._pieces = Pieces(judge)

    def push(self, x: Floats) -> None:
        """Take ``(n,)`` samples at 16 kHz."""
        self._meter.push(x)
        self._take(self._pieces.push(x, self._ear.push(x)))

    def _take(self, cuts: list[Cut]) -> None:
        for cut in cuts:
            heard = self._judge.heard(cut) if cut.start >= self._learnt_to else None
            if heard is not None:
                self._learnt.push(heard, (cut.end - cut.start) / SAMPLE_RATE)
                self._learnt_to = cut.end

    def finish(self) -> Profile:
        """What was learnt.

        Raises:
            ProfileError: there was nothing to learn from.
        """
        self._take(self._pieces.flush(self._ear.flush()))
        reason = _unusable(_quality(self._meter, self._ear, self._pieces.n, self._judge.spec.min_s))
        clip = self._pieces.clip
        if clip is not None and reason is None:
            self._learnt.push(self._judge.heard_clip(clip), len(clip) / SAMPLE_RATE)
        if not self._learnt.n_clips:
            raise ProfileError(f"nothing of this recording can be enrolled: {reason or 'no_speech'}")
        return self._learnt.profile()


def _quality(meter: audio.LevelMeter, ear: Ear, n: int, min_s: float) -> Quality:
    return audio.quality(meter, duration_s=n / SAMPLE_RATE, speech_s=ear.speech_s, min_s=min_s)


def _unusable(quality: Quality) -> str | None:
    """Why there is nothing to judge, the first reason that holds."""
    return next((why for why in ("silence", "too_short", "no_speech") if why in quality.warnings), None)
