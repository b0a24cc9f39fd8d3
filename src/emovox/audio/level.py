"""How loud, how clipped, and what a user should be warned about."""

from __future__ import annotations

import math

import numpy as np

from emovox._arrays import Doubles, Floats
from emovox.audio.validation import SAMPLE_RATE
from emovox.results import Quality

__all__ = ["CLIPPED_SHARE", "LOW_DBFS", "NO_SPEECH_S", "RAIL", "SILENCE_DBFS", "LevelMeter", "quality"]

RAIL = 0.98
"""A sample this near full scale stands at the rail: mu-law ends at 0.980, A-law at 0.984, 8 bits at 0.992."""

CLIPPED_SHARE = 0.001
"""Warn of clipping above this share of samples at the rail. Of 612 clips of acted speech, peak at full scale,
99 % have at most 0.0004 there; turned up by 6 dB, 99 % have at least 0.0016."""

SILENCE_DBFS = -65.0
"""Below it (the loudest tenth of a second) nobody spoke: 18 steps of 16 bits, a muted input."""

LOW_DBFS = -45.0
"""Below it (the loudest tenth of a second) noise and coding may hide what quiet speech expresses."""

NO_SPEECH_S = 0.5
"""Less is no word. The detector takes the first 0.18 s of any sound for speech, and adds 0.3 s to all it
finds: a word of 0.2 s makes half a second. Of a clip shorter than 1.5 s, a third is enough. Steady noise is
not caught here: its first 1.3 s pass for speech (``vad``), as long as a short answer lasts."""

_FRAME = SAMPLE_RATE // 10


class LevelMeter:
    """Measures sound as it passes; any chunking gives the same readings."""

    def __init__(self) -> None:
        self._n = 0
        self._n_rail = 0
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
        self._frames(np.concatenate([self._open, np.square(flat, dtype=np.float64)]))

    def _frames(self, squares: Doubles) -> None:
        """Whole tenths of a second are summed; the rest waits, so that chunks do not matter."""
        whole = squares.size - squares.size % _FRAME
        sums = squares[:whole].reshape(-1, _FRAME).sum(axis=1)
        if sums.size:
            self._energy = math.fsum([self._energy, *sums.tolist()])
            self._loudest = max(self._loudest, float(sums.max()) / _FRAME)
        self._open = squares[whole:]

    @property
    def level_dbfs(self) -> float | None:
        """Root mean square of everything so far, in dB of full scale; ``None`` for digital silence."""
        return _db((self._energy + float(self._open.sum())) / self._n) if self._n else None

    @property
    def loudest_dbfs(self) -> float | None:
        """Root mean square of the loudest tenth of a second; long pauses do not lower it."""
        rest = float(self._open.mean()) if self._open.size else 0.0
        return _db(self._loudest if self._n >= _FRAME else rest)

    @property
    def peak_dbfs(self) -> float | None:
        """The largest sample, in dB of full scale."""
        return _db(self._peak**2)

    @property
    def clipped(self) -> float:
        """Share of samples at the rail, 0 to 1."""
        return self._n_rail / self._n if self._n else 0.0


def _db(power: float) -> float | None:
    return 10.0 * math.log10(power) if power > 0.0 else None


def quality(meter: LevelMeter, *, duration_s: float, speech_s: float | None, min_s: float) -> Quality:
    """Sum up a recording, with warnings.

    Args:
        meter: has heard the whole recording.
        duration_s: its length.
        speech_s: seconds of speech found; ``None`` when nobody looked.
        min_s: the shortest recording that the model judges.
    """
    loudest = meter.loudest_dbfs
    silent = loudest is None or loudest < SILENCE_DBFS
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
        warnings=tuple(name for name, warned in found.items() if warned),
    )
