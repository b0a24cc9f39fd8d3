"""Level, clipping and the warnings of a recording."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from emovox._arrays import Doubles, Floats
from emovox.audio.validation import SAMPLE_RATE
from emovox.results import Quality

__all__ = [
    "CLIPPED_SHARE",
    "LOW_DBFS",
    "NO_SPEECH_S",
    "RAIL",
    "SILENCE_DBFS",
    "LevelMeter",
    "below_silence",
    "is_silent",
    "measure_quality",
]

RAIL = 0.98
"""A sample this near full scale is clipped: mu-law ends at 0.980, A-law at 0.984, 8 bits at 0.992."""

CLIPPED_SHARE = 0.001
"""Warn above this share of clipped samples. Of 612 clips of acted speech, peak at full scale, 99 % have at
most 0.0004; turned up by 6 dB, 99 % have at least 0.0016."""

SILENCE_DBFS = -65.0
"""Below it (the loudest tenth of a second) there is no speech: 18 steps of 16 bits, a muted input."""

LOW_DBFS = -45.0
"""Below it (the loudest tenth of a second) noise and coding may mask what quiet speech expresses."""

NO_SPEECH_S = 0.5
"""Less speech is not a word. The detector takes the first 0.18 s of any sound for speech, and adds 0.3 s to
what it finds, so that a word of 0.2 s makes half a second. Of a clip shorter than 1.5 s, a third is enough.
Steady noise is not found here: its first 1.3 s count as speech (``vad``), as long as a short answer lasts."""

_FRAME = SAMPLE_RATE // 10
# Of fewer samples the mean is no offset.
_MIN_FOR_MEAN = 16


class LevelMeter:
    """Measures samples as they pass; any chunking gives the same readings.

    Levels are without the offset (DC) of a sound card, which is not audible.
    """

    def __init__(self) -> None:
        self._n = 0
        self._n_rail = 0
        self._sum = 0.0
        self._energy = 0.0
        self._peak = 0.0
        self._loudest = 0.0
        self._open = np.zeros(0, np.float64)

    def push(self, x: Floats) -> None:
        """Take samples in [-1, 1] at 16 kHz, of any shape; channels are measured together."""
        flat = x.ravel()
        if not flat.size:
            return
        self._n += flat.size
        peak = max(float(flat.max()), -float(flat.min()))
        if peak >= RAIL:
            self._n_rail += int(np.count_nonzero(np.abs(flat, dtype=np.float64) >= RAIL))
        self._peak = max(self._peak, peak)
        # Whole tenths of a second are summed; the rest waits, so that chunks do not matter.
        samples = np.concatenate([self._open, flat.astype(np.float64)])
        whole = samples.size - samples.size % _FRAME
        frames = samples[:whole].reshape(-1, _FRAME)
        if len(frames):
            sums, squares = frames.sum(axis=1), np.square(frames).sum(axis=1)
            self._sum = math.fsum([self._sum, *sums.tolist()])
            self._energy = math.fsum([self._energy, *squares.tolist()])
            self._loudest = max(self._loudest, _max_power(frames))
        self._open = samples[whole:]

    @property
    def level_dbfs(self) -> float | None:
        """Root mean square of everything so far, in dB of full scale; ``None`` for digital silence."""
        if not self._n:
            return None
        mean = (self._sum + float(self._open.sum())) / self._n
        mean_square = (self._energy + float(np.square(self._open).sum())) / self._n
        # Of a small difference of large numbers nothing but rounding is left.
        return _db(mean_square - mean**2) if mean_square > mean**2 * (1 + 1e-9) else None

    @property
    def loudest_dbfs(self) -> float | None:
        """Root mean square of the loudest tenth of a second; long pauses do not lower it."""
        if self._n >= _FRAME:
            return _db(self._loudest)
        if self._n < _MIN_FOR_MEAN:
            return _db(float(np.square(self._open).mean()) if self._n else 0.0)
        return _db(_max_power(self._open[np.newaxis]))

    @property
    def peak_dbfs(self) -> float | None:
        """The largest sample, in dB of full scale."""
        return _db(self._peak**2)

    @property
    def clipped(self) -> float:
        """Share of samples at full scale, 0 to 1."""
        return self._n_rail / self._n if self._n else 0.0


def is_silent(x: Floats) -> bool:
    """Whether nothing in samples ``(n,)`` at 16 kHz is audible: the one guard for clips and windows."""
    if len(x) < _FRAME:
        meter = LevelMeter()
        meter.push(x)
        return below_silence(meter.loudest_dbfs)
    # One tenth of a second after the other: in speech, the first ones are loud enough.
    tenths = x[: len(x) - len(x) % _FRAME].reshape(-1, 1, _FRAME)
    return all(below_silence(_db(_max_power(tenth.astype(np.float64)))) for tenth in tenths)


def below_silence(loudest_dbfs: float | None) -> bool:
    """Whether the level of the loudest tenth of a second is below that of any speech."""
    return loudest_dbfs is None or loudest_dbfs < SILENCE_DBFS


def _max_power(frames: Doubles) -> float:
    """Largest mean power of ``(n, m)`` samples, each row without its mean."""
    return float(frames.var(axis=1).max())


def _db(power: float) -> float | None:
    return 10.0 * math.log10(power) if power > 0.0 else None


def measure_quality(
    meter: LevelMeter,
    *,
    duration_s: float,
    speech_s: float | None,
    min_s: float,
    read_warnings: Iterable[str] = (),
) -> Quality:
    """Return level, clipping, speech and warnings of a recording.

    Args:
        meter: has got the whole recording.
        duration_s: of the recording.
        speech_s: seconds of speech found; ``None``: not looked for.
        min_s: the shortest recording that the model takes.
        read_warnings: those of `emovox.audio.ReadReport`.
    """
    loudest = meter.loudest_dbfs
    silent = below_silence(loudest)
    found = {
        "silence": silent,
        "low_level": not silent and loudest is not None and loudest < LOW_DBFS,
        "clipping": meter.clipped > CLIPPED_SHARE,
        "no_speech": speech_s is not None and speech_s < min(NO_SPEECH_S, duration_s / 3),
        "too_short": duration_s < min_s,
    }
    return Quality(
        level_dbfs=meter.level_dbfs,
        peak_dbfs=meter.peak_dbfs,
        clipped=meter.clipped,
        speech_s=speech_s,
        warnings=(*(name for name, warned in found.items() if warned), *sorted(read_warnings)),
    )
