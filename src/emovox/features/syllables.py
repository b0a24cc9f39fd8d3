"""Syllable rate: how many vowels, the loud and voiced middles of syllables, are heard a second?

The method is de Jong's and Wempe's: a nucleus is a peak of intensity within ``threshold_db`` of the loudest
part, in a voiced frame, that a dip of ``dip_db`` or more parts from the nucleus before it.

Source: N. de Jong and T. Wempe, "Praat script to detect syllable nuclei and measure speech rate
automatically", Behavior Research Methods 41 (2009), 385-390.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Bools, Doubles, Floats, Ints
from emovox.errors import ConfigError
from emovox.features.frames import Family, FrameSettings, ShortTime, fixed
from emovox.features.voiced import Voiced

__all__ = ["FAMILIES", "nuclei", "syllable_rate"]


_WINDOW_S = 0.064
"""Of the intensity: long enough that the pitch's own beat is smoothed away."""
_SILENT_POWER = 1e-12
_LOUDEST = 99.0
"""Percentile of the intensity that counts as loudest: a click is not taken for speech."""


def syllable_rate(
    x: ArrayLike,
    sample_rate: int,
    *,
    settings: FrameSettings | None = None,
    shared: ShortTime | None = None,
    pitch_hz: ArrayLike | None = None,
    threshold_db: float = 25.0,
    dip_db: float = 2.0,
    span_s: float = 1.0,
) -> Floats:
    """Where the nuclei of syllables are, and how many a second around each frame: ``(t, 2)``.

    Columns: ``syllable_nucleus``, 1 in the frame of a nucleus and 0 elsewhere, so that its mean over the hop
    in seconds is the rate of the recording; ``syllable_rate``, a second, within ``span_s`` about the frame,
    or what of it lies in the recording. The threshold looks at the whole recording.

    Args:
        x: sound, ``(n,)``.
        sample_rate: in Hz.
        settings: the middles of the frames; `DEFAULT` unless given.
        shared: of the same sound.
        pitch_hz: F0 of the frames, ``(t,)``, nan where there is no voice; `f0` finds it unless given.
        threshold_db: how far below the loudest part a nucleus may lie.
        dip_db: how deep the intensity must fall between two.
        span_s: over what the running rate is counted.

    Raises:
        AudioValueError: the sound is empty, not one-dimensional or not finite.
        ConfigError: ``pitch_hz`` does not fit, or an option is not above 0.
    """
    if min(threshold_db, dip_db, span_s) <= 0:
        raise ConfigError(
            f"threshold_db {threshold_db!r}, dip_db {dip_db!r}, span_s {span_s!r}; expected each above 0"
        )
    short = ShortTime.of(x, sample_rate, settings=settings, shared=shared)
    voiced = np.zeros(short.n_frames, dtype=bool)
    voiced[Voiced.of(short, pitch_hz).index] = True
    nucleus = np.zeros(short.n_frames)
    nucleus[nuclei(_intensity_db(short), voiced, threshold_db=threshold_db, dip_db=dip_db)] = 1
    n_before = np.concatenate([[0.0], np.cumsum(nucleus)])
    hop_s = short.settings.hop / sample_rate
    reach = max(1, round(span_s / 2 / hop_s))
    first = np.clip(np.arange(short.n_frames) - reach, 0, None)
    end = np.clip(np.arange(short.n_frames) + reach + 1, None, short.n_frames)
    rate = (n_before[end] - n_before[first]) / ((end - first) * hop_s)
    return np.column_stack([nucleus, rate]).astype(np.float32)


def nuclei(intensity_db: Doubles, voiced: Bools, *, threshold_db: float = 25.0, dip_db: float = 2.0) -> Ints:
    """The frames that hold a nucleus, in order, of an intensity ``(t,)`` and its voicing ``(t,)``."""
    padded = np.pad(intensity_db, 1, constant_values=-np.inf)
    peak = (padded[1:-1] > padded[:-2]) & (padded[1:-1] >= padded[2:])
    loud = intensity_db > np.percentile(intensity_db, _LOUDEST) - threshold_db
    kept: list[int] = []
    for place in np.flatnonzero(peak & loud & np.isfinite(intensity_db)):
        if kept:
            dip = intensity_db[kept[-1] : place].min()
            lower = min(intensity_db[kept[-1]], intensity_db[place])
            if lower - dip < dip_db:
                # No dip between them: one syllable, whose nucleus is the louder peak.
                if intensity_db[place] > intensity_db[kept[-1]]:
                    kept[-1] = int(place)
                continue
        kept.append(int(place))
    return np.array([place for place in kept if voiced[place]], dtype=np.intp)


def _intensity_db(short: ShortTime) -> Doubles:
    """Power about the middle of each frame in dB, ``(t,)``, weighed by a triangle of 128 ms."""
    s = short.settings
    reach = max(1, round(_WINDOW_S / 2 * short.sample_rate))
    sound = np.pad(short.x.astype(np.float64), (2 * reach, 2 * reach + s.window))
    running = np.concatenate([[0.0], np.cumsum(np.square(sound))])
    box = (running[2 * reach :] - running[: -2 * reach]) / (2 * reach)
    again = np.concatenate([[0.0], np.cumsum(box)])
    smooth = (again[2 * reach :] - again[: -2 * reach]) / (2 * reach)
    middle = np.arange(short.n_frames) * s.hop + (0 if s.centred else s.window // 2)
    power: Doubles = np.maximum(smooth[np.minimum(middle, len(smooth) - 1)], 0)
    return 10 * np.log10(power + _SILENT_POWER)


FAMILIES = (
    Family(
        "syllable_rate",
        syllable_rate,
        fixed("syllable_nucleus", "syllable_rate"),
        "1 or 0, nuclei a second",
        "de Jong and Wempe (2009), Behavior Research Methods 41",
    ),
)
