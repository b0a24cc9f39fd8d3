"""Resample sound that arrives in chunks."""

from __future__ import annotations

import numpy as np
import soxr

from emovox._arrays import Floats
from emovox.audio.validation import MAX_CHANNELS, SAMPLE_RATE, validate_rate
from emovox.errors import AudioValueError

__all__ = ["Resampler"]


class Resampler:
    """A stateful resampler: any chunking gives the same samples as the whole at once, to the last bit.

    The output is delayed; ``flush`` returns the rest. n samples become ``n * rate_out / rate_in``, rounded.
    What overshoots full scale, in the input or by the filter's ringing, is clipped at ±1.

    Source: the SoX resampler's high quality preset (soxr), linear phase, stop band below -100 dB.
    """

    def __init__(self, rate_in: int, rate_out: int = SAMPLE_RATE, n_channels: int = 1) -> None:
        """Raises AudioValueError for rates outside 1 .. 768 kHz and channels outside 1 .. 32."""
        self.rate_in, self.rate_out = validate_rate(rate_in), validate_rate(rate_out)
        if not 1 <= n_channels <= MAX_CHANNELS:
            raise AudioValueError(f"got {n_channels} channels; expected 1 to {MAX_CHANNELS}")
        self.n_channels = n_channels
        self._mono = n_channels == 1
        self._stream = None
        if self.rate_in != self.rate_out:
            self._stream = soxr.ResampleStream(self.rate_in, self.rate_out, n_channels)

    def push(self, x: Floats) -> Floats:
        """Take ``(n_channels, n)`` or, for one channel, ``(n,)`` samples; return what is ready, likewise.

        Raises:
            AudioValueError: another number of channels than this resampler has.
        """
        self._mono = x.ndim == 1
        frames = x[:, np.newaxis] if self._mono else x.T
        if frames.ndim != 2 or frames.shape[1] != self.n_channels:
            raise AudioValueError(f"got shape {x.shape}; this resampler takes ({self.n_channels}, n)")
        return self._process(frames, last=False)

    def flush(self) -> Floats:
        """End the sound; return the samples left, in the shape of the last push. The next starts anew."""
        rest = self._process(np.zeros((0, self.n_channels), np.float32), last=True)
        if self._stream is not None:
            self._stream.clear()
        return rest

    def _process(self, frames: Floats, *, last: bool) -> Floats:
        frames = np.ascontiguousarray(frames, dtype=np.float32)
        if self._stream is not None:
            frames = self._stream.resample_chunk(frames, last=last)
        frames = np.clip(frames, -1.0, 1.0)
        return frames[:, 0] if self._mono else np.ascontiguousarray(frames.T)
