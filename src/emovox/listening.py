"""One voice, heard piece by piece: live, answering at every hop (`Stream`), or to its end (`Listener`).

Both hear through an `Ear`, which says where speech is, and ask a `Judge`, which knows the model and the
labels of one call. What is said about a piece of sound never depends on how the sound was portioned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emovox import audio
from emovox.audio import SAMPLE_RATE
from emovox.bundle import Bundle
from emovox.errors import AudioValueError, ConfigError
from emovox.labels import canonical_all
from emovox.results import Prediction, Segment, Window
from emovox.vad import FRAME_S, Vad
from emovox.windows import Cut, Cutter, Glue, Pool

__all__ = [
    "BLOCK_S",
    "MIN_HOP_S",
    "MIN_SPEECH_SHARE",
    "Ear",
    "Judge",
    "Listener",
    "Stream",
    "Switch",
    "switch",
]

MIN_SPEECH_SHARE = 0.1
"""A window with less speech (0.3 s of 3) is not judged: it holds the edge of a word, or a false alarm."""

MIN_HOP_S = 0.1
"""Shorter hops only repeat the same answer."""

BLOCK_S = 10.0
"""Recordings are read, and chunks worked off, in pieces of this length; bounds the memory."""

Switch: TypeAlias = Literal["on", "off"]
_Sound: TypeAlias = NDArray[np.float32]
_Scores: TypeAlias = NDArray[np.float64]


def switch(vad: str) -> Switch:
    """Check a setting of the voice activity detector. Raises ConfigError unless it is "on" or "off"."""
    if vad not in ("on", "off"):
        raise ConfigError(f"vad is {vad!r}; expected 'on' or 'off'")
    return "on" if vad == "on" else "off"


class Judge:
    """A bundle, asked for some of its labels. Immutable.

    Args:
        bundle: an opened model.
        labels: names or aliases, also as ``"a,b"``; all of the model's when ``None``.

    Raises:
        LabelError: a label is unknown, or the model cannot answer it.
    """

    def __init__(self, bundle: Bundle, labels: Iterable[str] | str | None = None) -> None:
        known = bundle.spec.labels
        self.spec = bundle.spec
        self.names = known if labels is None else canonical_all(labels, known)
        """Labels in the order of the scores."""
        self.min_samples = math.ceil(self.spec.min_s * SAMPLE_RATE)
        self._bundle = bundle
        self._columns = [known.index(name) for name in self.names]

    def probabilities(self, logits: NDArray[Any]) -> _Scores:
        """Logits ``(..., n_labels)`` -> ``(..., len(names))`` float64, summing to 1 over the last axis."""
        z = logits[..., self._columns].astype(np.float64) / self.spec.temperature
        e = np.exp(z - z.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))

    def scores(self, sound: _Sound) -> _Scores:
        """``(n,)`` -> ``(len(names),)``. One sound a run: its answer then depends on nothing but itself."""
        return self.probabilities(self._bundle.logits([sound])[0])

    def window_scores(self, cut: Cut) -> _Scores | None:
        """The scores of a window, or ``None`` when it holds too little sound or speech."""
        if cut.sound is None or cut.speech < MIN_SPEECH_SHARE or len(cut.sound) < self.min_samples:
            return None
        return self.scores(cut.sound)

    def named(self, scores: _Scores | None) -> dict[str, float]:
        """Scores under their labels; empty for ``None``."""
        return {} if scores is None else dict(zip(self.names, scores.tolist(), strict=True))

    def cutter(self, window_s: float | None = None, hop_s: float | None = None) -> Cutter:
        """A cutter for windows this model can judge; its own window and hop unless given.

        Raises:
            ConfigError: the window is too short or too long for the model, or longer hops than windows.
        """
        spec = self.spec
        window_s = spec.window_s if window_s is None else window_s
        hop_s = min(spec.hop_s, window_s) if hop_s is None else hop_s
        if not spec.min_s <= window_s <= spec.clip_s:
            raise ConfigError(
                f"window_s is {window_s}; model {spec.name!r} judges {spec.min_s:g} to {spec.clip_s:g} s"
            )
        if not MIN_HOP_S <= hop_s <= window_s:
            raise ConfigError(f"hop_s is {hop_s}; expected {MIN_HOP_S:g} s to window_s ({window_s:g} s)")
        return Cutter(
            window=round(window_s * SAMPLE_RATE), hop=round(hop_s * SAMPLE_RATE), least=self.min_samples
        )


class Ear:
    """A voice activity detector, or, switched off, one that takes everything for speech."""

    def __init__(self, vad: Switch) -> None:
        self._vad = Vad(SAMPLE_RATE) if vad == "on" else None
        self._frame = round(FRAME_S * SAMPLE_RATE)
        self._n = 0
        self._n_speech = 0

    def push(self, x: _Sound) -> NDArray[np.bool_]:
        """The flags of the frames that ``x`` ``(n,)`` completes."""
        before, self._n = self._n, self._n + len(x)
        if self._vad is None:
            return np.ones(self._n // self._frame - before // self._frame, np.bool_)
        return self._counted(self._vad.push(x))

    def flush(self) -> NDArray[np.bool_]:
        """The flag of a last, partial frame, if there is one."""
        if self._vad is None:
            return np.ones(1 if self._n % self._frame else 0, np.bool_)
        return self._counted(self._vad.flush())

    def _counted(self, flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
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

    Raises:
        LabelError, ConfigError, AudioValueError: an argument is wrong.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        sample_rate: int,
        window_s: float | None = None,
        hop_s: float | None = None,
        vad: Switch = "on",
        file: str | None = None,
        channel: int | None = None,
    ) -> None:
        self._judge = judge
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

    def _hear(self, x: _Sound) -> list[Window | Segment]:
        found: list[Window | Segment] = []
        size = round(BLOCK_S * SAMPLE_RATE)
        for at in range(0, len(x), size):
            piece = x[at : at + size]
            found += self._place(self._cutter.push(piece, self._ear.push(piece)))
        return found

    def _place(self, cuts: list[Cut]) -> list[Window | Segment]:
        found: list[Window | Segment] = []
        for cut in cuts:
            scores = self._judge.window_scores(cut)
            if cut.sound is not None:
                start_s, end_s = cut.start / SAMPLE_RATE, cut.end / SAMPLE_RATE
                found.append(Window(start_s, end_s, self._judge.named(scores), cut.speech))
            found += self._glue.push(cut, scores)
        return found


class Listener:
    """Hears one channel of a recording block by block, and judges it at its end.

    Keeps at most the sound of a clip (``spec.clip_s``); a longer recording goes through windows.
    """

    def __init__(self, judge: Judge, *, vad: Switch = "on") -> None:
        self._judge, self._ear = judge, Ear(vad)
        self._meter = audio.LevelMeter()
        self._clip: list[tuple[_Sound, NDArray[np.bool_]]] = []
        self._clip_samples = math.ceil(judge.spec.clip_s * SAMPLE_RATE)
        self._cutter: Cutter | None = None
        self._pool = Pool()
        self._n = 0

    def push(self, x: _Sound) -> None:
        """Take ``(n,)`` samples at 16 kHz."""
        self._meter.push(x)
        self._n += len(x)
        self._clip.append((x, self._ear.push(x)))
        if self._n > self._clip_samples:
            self._windows()

    def _windows(self) -> None:
        """It is no clip but a long recording: what was kept goes through windows, as will what comes."""
        if self._cutter is None:
            self._cutter = self._judge.cutter()
        for x, flags in self._clip:
            self._take(self._cutter.push(x, flags))
        self._clip.clear()

    def _take(self, cuts: list[Cut]) -> None:
        for cut in cuts:
            self._pool.push(cut, self._judge.window_scores(cut))

    def finish(self, *, file: str | None = None, channel: int | None = None) -> Prediction:
        """The answer; ``file`` and ``channel`` are what it says about its source."""
        spec, flags = self._judge.spec, self._ear.flush()
        duration_s = self._n / SAMPLE_RATE
        quality = audio.quality(
            self._meter, duration_s=duration_s, speech_s=self._ear.speech_s, min_s=spec.min_s
        )
        reason: str | None = next(
            (why for why in ("silence", "too_short", "no_speech") if why in quality.warnings), None
        )
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

    def _scores(self, flags: NDArray[np.bool_]) -> _Scores | None:
        if self._cutter is None:
            return self._judge.scores(np.concatenate([x for x, _ in self._clip]))
        self._take(self._cutter.flush(flags))
        return self._pool.scores
