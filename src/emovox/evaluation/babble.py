"""Babble that is mixed from the clips of other speakers in the same data."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from emovox._arrays import Floats
from emovox.augment import Rng, limit_peak, mix_babble, mix_noise
from emovox.datasets.manifest import Manifest, Utterance
from emovox.errors import AudioError

__all__ = ["N_BABBLE_SPEAKERS", "POOL_SIZE", "BabblePool", "rank_in_groups"]

N_BABBLE_SPEAKERS = 6
"""Clips that are mixed into babble."""

POOL_SIZE = 24
"""Clips of the data from which babble is mixed."""


@dataclass(frozen=True)
class BabblePool:
    """Clips of many speakers, of which those of other speakers are mixed with a clip."""

    manifest: Manifest
    _decoded: dict[str, Floats | None] = field(default_factory=dict, repr=False)
    """Decoded clips by id; ``None`` where one cannot be read."""

    def clips(self) -> list[Utterance]:
        """Return the clips that babble is mixed from, spread over the speakers."""
        return rank_in_groups(self.manifest, lambda u: u.speaker)[:POOL_SIZE]

    def add_babble(self, x: Floats, u: Utterance, snr_db: float, rng: Rng) -> Floats:
        """Add other speakers to the sound ``x`` ``(n,)`` of a clip at a ratio of mean powers in dB.

        Raises:
            ConfigError: there is no clip of another speaker that can be read.
        """
        noise = mix_babble(list(self._draw_others(u, rng)), len(x), rng)
        return np.clip(limit_peak(mix_noise(x, noise, snr_db)), -1, 1)

    def _draw_others(self, u: Utterance, rng: Rng) -> Iterator[Floats]:
        """Draw clips of other speakers; one that cannot be read is replaced by the next."""
        others = [other for other in self.clips() if other.speaker != u.speaker]
        clips = (self._read_once(others[k]) for k in rng.permutation(len(others)))
        return islice((clip for clip in clips if clip is not None), N_BABBLE_SPEAKERS)

    def _read_once(self, u: Utterance) -> Floats | None:
        if u.id not in self._decoded:
            try:
                self._decoded[u.id] = self.manifest.read(u)
            except AudioError:
                self._decoded[u.id] = None
        return self._decoded[u.id]


def rank_in_groups(manifest: Manifest, key: Callable[[Utterance], Any]) -> list[Utterance]:
    """Order clips so that any first n are spread evenly over groups, by a hash of their ids within each."""
    count: dict[Any, int] = {}
    ranked = []
    for u in sorted(manifest, key=_hash_of_id):
        place = count[key(u)] = count.get(key(u), 0) + 1
        ranked.append((place, _hash_of_id(u), u))
    return [u for _, _, u in sorted(ranked, key=lambda row: row[:2])]


def _hash_of_id(u: Utterance) -> tuple[int, str]:
    return zlib.crc32(u.id.encode()), u.id
