"""Where is speech: one flag for every 30 ms, causal, the same for any chunking."""

from __future__ import annotations

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from emovox.errors import AudioValueError

__all__ = ["FRAME_S", "Vad"]

FRAME_S = 0.03
"""Seconds one flag stands for."""

HANG_FRAMES = 10
"""Speech lasts this many frames (0.3 s) after the detector's last yes: word ends are soft."""


class Vad:
    """A streaming voice activity detector: WebRTC's, behind a slow gain, with a hang-over.

    It prefers recall: lost speech cannot be judged, while a little noise only dilutes a judgement.
    """

    def __init__(self, sample_rate: int = 16_000, *, mode: int = 1, hang_frames: int = HANG_FRAMES) -> None:
        if sample_rate not in (8_000, 16_000, 32_000, 48_000):
            raise AudioValueError(f"the VAD cannot hear {sample_rate} Hz; expected 16000: resample first")
        self.sample_rate = sample_rate
        self.frame = round(sample_rate * FRAME_S)
        self._vad = webrtcvad.Vad(mode)
        self._hang_frames = hang_frames
        self._hang = 0
        self._rest = np.zeros(0, np.float32)

    def push(self, x: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Take ``(n,)`` samples; give one flag for every frame they complete, ``(n_frames,)``."""
        x = np.concatenate([self._rest, x])
        n_frames = len(x) // self.frame
        self._rest = x[n_frames * self.frame :]
        frames = x[: n_frames * self.frame].reshape(n_frames, self.frame)
        return np.fromiter((self._flag(frame) for frame in frames), np.bool_, n_frames)

    def flush(self) -> NDArray[np.bool_]:
        """End the sound: the flag of the last, partial frame (filled with zeros), ``(0,)`` or ``(1,)``."""
        if not len(self._rest):
            return np.zeros(0, np.bool_)
        return self.push(np.zeros(self.frame - len(self._rest), np.float32))

    def _flag(self, frame: NDArray[np.float32]) -> bool:
        pcm = np.clip(np.rint(frame * 32767.0), -32768, 32767).astype("<i2").tobytes()
        if self._vad.is_speech(pcm, self.sample_rate):
            self._hang = self._hang_frames + 1
        self._hang = max(0, self._hang - 1)
        return self._hang > 0
