"""Formants, the resonances of the vocal tract, and the levels of the harmonics near them.

Linear prediction: the all-pole filter that fits the spectrum of a voiced frame up to ``top_hz`` (selective
linear prediction: the autocorrelation is taken of that part of the power spectrum, as if the sound had been
resampled to twice that frequency). Levinson's recursion solves it for all frames at once. A pole is a
resonance; its angle is the frequency, its distance from the unit circle the bandwidth.

Sources: J. Makhoul, "Linear prediction: a tutorial review", Proc. IEEE 63 (1975), 561-580; F. Eyben et al.,
"The Geneva Minimalistic Acoustic Parameter Set", IEEE Trans. Affective Computing 7 (2016), 190-202, for the
levels relative to the fundamental.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emovox._arrays import Doubles, Floats
from emovox.errors import ConfigError
from emovox.features.frames import Family, ShortTime, fixed_columns
from emovox.features.pitch import VoicedFrames

__all__ = ["FAMILIES", "find_resonances", "formants", "harmonics"]

Complex = NDArray[np.complex128]

_N = 3
# A pole below the one, or wider than the other, shapes the slope of the spectrum and is not a formant.
_LOWEST_HZ = 100.0
_WIDEST_HZ = 1000.0
# White noise added before the prediction, as a share of the power: it keeps the recursion stable.
_FLOOR = 1e-9


def formants(
    short: ShortTime,
    *,
    pitch_hz: ArrayLike | None = None,
    top_hz: float = 5500.0,
    order: int = 11,
) -> Floats:
    """Compute frequency, bandwidth and level of F1 to F3, ``(t, 9)``, nan where there is none.

    Columns: ``f1_hz``, ``f1_bandwidth_hz``, ``f1_level_db``, and so on. The level is that of the strongest
    harmonic near the formant, relative to the first harmonic.

    Args:
        short: transform of the recording.
        pitch_hz: F0 of the frames, ``(t,)``, nan in unvoiced frames; by default that of `f0`.
        top_hz: upper end of the modelled spectrum: 5500 Hz suits most voices.
        order: of the prediction, two for each resonance and one or two for the slope.

    Raises:
        ConfigError: ``pitch_hz``, ``top_hz`` or ``order`` does not fit.
    """
    voiced = VoicedFrames.of(short, pitch_hz)
    hz, width = find_resonances(short, voiced, top_hz=top_hz, order=order)
    level = voiced.level_db(hz) - voiced.level_db(voiced.hz)[:, None]
    return voiced.fill_frames(np.stack([hz, width, level], axis=2).reshape(len(voiced), 3 * _N))


def harmonics(
    short: ShortTime,
    *,
    pitch_hz: ArrayLike | None = None,
    top_hz: float = 5500.0,
    order: int = 11,
) -> Floats:
    """Compute the level of the first harmonic above others, in dB: ``h1_h2_db`` and ``h1_a3_db``, ``(t, 2)``.

    H2 is the second harmonic, A3 the strongest one near the third formant; both depend on how the vocal
    folds close. Arguments and errors as in `formants`.
    """
    voiced = VoicedFrames.of(short, pitch_hz)
    hz, _ = find_resonances(short, voiced, top_hz=top_hz, order=order)
    first = voiced.level_db(voiced.hz)
    others = [voiced.level_db(2 * voiced.hz), voiced.level_db(hz[:, 2])]
    return voiced.fill_frames(np.stack([first - other for other in others], axis=1))


def find_resonances(
    short: ShortTime, voiced: VoicedFrames, *, top_hz: float = 5500.0, order: int = 11
) -> tuple[Doubles, Doubles]:
    """Find frequencies and bandwidths of F1 to F3 in Hz, ``(v, 3)`` each; nan for a missing formant.

    Raises:
        ConfigError: ``top_hz`` is above half the rate, or ``order`` not from 2 to 40.
    """
    if not (1000 <= top_hz <= short.sample_rate / 2 and 2 <= order <= 40):
        raise ConfigError(
            f"top_hz {top_hz!r} at {short.sample_rate} Hz, order {order!r}; expected 1000 Hz to half the "
            "rate, and an order from 2 to 40"
        )
    key = ("resonances", voiced, top_hz, order)
    found: tuple[Doubles, Doubles] = short.cached(
        key, lambda: _solve_resonances(short, voiced, top_hz, order)
    )
    return found


def _solve_resonances(
    short: ShortTime, voiced: VoicedFrames, top_hz: float, order: int
) -> tuple[Doubles, Doubles]:
    table = _lags(short.sample_rate, short.settings.n_fft, top_hz, order)
    r = short.power[voiced.index, : len(table)].astype(np.float64) @ table
    r[:, 0] *= 1 + _FLOOR
    r[r[:, 0] <= 0, 0] = 1  # digital silence: the identity filter, which has no poles
    poles = _poles(_prediction(r))
    rate = 2 * top_hz
    radius = np.abs(poles)
    hz = np.angle(poles) * rate / (2 * np.pi)
    width = -np.log(np.where(radius > 0, radius, np.nan)) * rate / np.pi
    good = (hz >= _LOWEST_HZ) & (hz < top_hz - _LOWEST_HZ) & (width > 0) & (width <= _WIDEST_HZ)
    hz = np.where(good, hz, np.nan)
    lowest = np.argsort(hz, axis=1)[:, :_N]  # nan last
    found = np.take_along_axis(hz, lowest, 1)
    return found, np.where(np.isnan(found), np.nan, np.take_along_axis(width, lowest, 1))


@lru_cache(maxsize=16)
def _lags(sample_rate: int, n_fft: int, top_hz: float, order: int) -> Doubles:
    """Matrix ``(n_bins, order + 1)`` from a power spectrum to the autocorrelation below ``top_hz``.

    Pre-emphasis of ``1 - 0.97 z^-1`` included.
    """
    n_bins = int(np.floor(top_hz * n_fft / sample_rate)) + 1
    angle = np.pi * np.arange(n_bins) * sample_rate / n_fft / top_hz
    emphasis = np.abs(1 - 0.97 * np.exp(-1j * angle)) ** 2
    weight = np.where(np.arange(n_bins) == 0, 0.5, 1.0)
    matrix: Doubles = (emphasis * weight)[:, None] * np.cos(angle[:, None] * np.arange(order + 1))
    return matrix


def _prediction(r: Doubles) -> Doubles:
    """Levinson and Durbin: autocorrelations -> the filter ``1 + a_1 z^-1 ...``, both ``(v, p + 1)``."""
    a = np.zeros_like(r)
    a[:, 0] = 1
    error = r[:, 0].copy()
    for i in range(1, r.shape[1]):
        reflection = -np.einsum("vj,vj->v", a[:, :i], r[:, i:0:-1]) / error
        a[:, 1 : i + 1] += reflection[:, None] * a[:, i - 1 :: -1][:, :i]
        error *= 1 - reflection**2
    return a


def _poles(a: Doubles) -> Complex:
    """Roots of the filters, ``(v, p)``: the eigenvalues of their companion matrices."""
    order = a.shape[1] - 1
    companion = np.zeros((len(a), order, order))
    companion[:, 0] = -a[:, 1:]
    companion[:, np.arange(1, order), np.arange(order - 1)] = 1
    return np.linalg.eigvals(companion).astype(np.complex128)


_EGEMAPS = "Eyben et al. (2016), IEEE Trans. Affective Computing 7"
FAMILIES = (
    Family(
        "formants",
        formants,
        fixed_columns(
            *(f"f{k}_{what}" for k in range(1, _N + 1) for what in ("hz", "bandwidth_hz", "level_db"))
        ),
        "Hz, Hz, dB",
        "Makhoul (1975), Proc. IEEE 63",
    ),
    Family("harmonics", harmonics, fixed_columns("h1_h2_db", "h1_a3_db"), "dB", _EGEMAPS),
)
