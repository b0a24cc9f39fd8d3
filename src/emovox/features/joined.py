"""Sets side by side, and a recording without its silent ends: what `sets` needs for ``A+B`` and ``trim_db``.

Statistics over a whole recording also describe the silence around the words, that is how it was cut. On
RAVDESS cutting it off gave ComParE_2016 and a linear classifier four points of UAR (LOG.md, 2026-11-21).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from emovox._arrays import Floats

__all__ = ["HOP", "WINDOW", "names", "side_by_side", "trimmed"]

WINDOW, HOP = 2048, 512
"""Samples: the frames in which the level is measured, librosa's own."""
_TINY_POWER = 1e-10


def trimmed(x: Floats, top_db: float) -> Floats:
    """The sound ``(n,)`` from its first to its last frame within ``top_db`` of the loudest, ``(m,)``.

    The level is the RMS of centred frames. Silence in between stays; a digital silence stays whole.
    """
    power = np.pad(x.astype(np.float64) ** 2, WINDOW // 2)
    total = np.concatenate([[0.0], np.cumsum(power)])
    start = np.arange(0, len(power) - WINDOW + 1, HOP)
    mean = (total[start + WINDOW] - total[start]) / WINDOW
    level_db = 10 * np.log10(np.maximum(mean, _TINY_POWER))
    heard = np.flatnonzero(level_db > level_db.max() - top_db)
    # The last centred frame may begin behind the end of the sound.
    first = min(int(heard[0]) * HOP, len(x) - 1)
    return np.ascontiguousarray(x[first : (int(heard[-1]) + 1) * HOP])


def side_by_side(
    x: Floats, sample_rate: int, *, parts: Sequence[Callable[[Floats, int], Floats]], trim_db: float | None
) -> Floats:
    """The rows ``(d_k,)`` of all parts one after the other, ``(d_1 + ... + d_k,)``."""
    sound = x if trim_db is None else trimmed(x, trim_db)
    return np.concatenate([part(sound, sample_rate) for part in parts])


def names(columns: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[str, ...]:
    """Columns of sets side by side: ``SET:column``; those of one set alone keep their names."""
    if len(columns) == 1:
        return columns[0][1]
    return tuple(f"{name}:{column}" for name, own in columns for column in own)
