"""The mix of channels, which falls back to the louder one where channels cancel each other."""

from __future__ import annotations

from collections import deque

import numpy as np

from emovox._arrays import Doubles, Floats

__all__ = ["ChannelMixer"]

# The delay of a live stream, too.
_BLOCK_S = 0.02
# The decision looks at this many blocks, a second.
_N_BLOCKS = 50
# Channels cancel if the mix has less than this share (-20 dB) of the mean power of the channels.
_MIN_SHARE = 0.01
# Mean power (-65 dBFS) below which a difference between channels is noise.
_MIN_POWER = 10**-6.5


class ChannelMixer:
    """Averages channels. Where they cancel, as with one of them inverted, the louder one is used.

    Samples are mixed in blocks of 20 ms, so that any chunking of the same samples gives the same mix.

    Args:
        n_channels: of the recording.
        sample_rate: in Hz.
    """

    def __init__(self, n_channels: int, sample_rate: int) -> None:
        self.cancels = False
        """Whether the channels cancelled each other so far."""
        self.n_channels = n_channels
        self._block = max(1, round(_BLOCK_S * sample_rate))
        self._waiting = np.zeros((0, n_channels), np.float32)
        # Energies of the mix and of the channels: of each recent block, of all of them, of everything.
        self._recent: deque[tuple[float, Doubles]] = deque()
        self._mix_energy, self._energies = 0.0, np.zeros(n_channels)
        self._totals = np.zeros(n_channels)

    def push(self, frames: Floats) -> Floats:
        """Take ``(n, n_channels)``; return the mix of the blocks that they complete, ``(m,)``."""
        if frames.shape[1] == 1:
            return frames[:, 0]
        waiting = np.concatenate([self._waiting, frames])
        whole = len(waiting) - len(waiting) % self._block
        self._waiting = waiting[whole:]
        parts = [self._mix(waiting[i : i + self._block]) for i in range(0, whole, self._block)]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def flush(self) -> Floats:
        """Return the mix of the last, shorter block."""
        waiting, self._waiting = self._waiting, self._waiting[:0]
        return self._mix(waiting) if len(waiting) else np.zeros(0, np.float32)

    def _mix(self, frames: Floats) -> Floats:
        mix: Floats = frames.mean(axis=1, dtype=np.float32)
        # Without their means: an offset in opposite directions would look like sound that cancels.
        energy = frames.var(axis=0, dtype=np.float64) * len(frames)
        mixed = float(mix.var(dtype=np.float64)) * len(mix)
        self._recent.append((mixed, energy))
        self._mix_energy += mixed
        self._energies += energy
        self._totals += energy
        if len(self._recent) > _N_BLOCKS:
            oldest_mixed, oldest = self._recent.popleft()
            self._mix_energy -= oldest_mixed
            self._energies -= oldest
        mean = float(self._energies.mean())
        if self._mix_energy < _MIN_SHARE * mean and mean > _MIN_POWER * self._block * len(self._recent):
            self.cancels = True
            return np.ascontiguousarray(frames[:, int(self._totals.argmax())])
        return mix
