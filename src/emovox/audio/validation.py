"""Check arrays of samples, and convert them to float32 in [-1, 1]."""

from __future__ import annotations

from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from emovox._arrays import Floats
from emovox.errors import AudioValueError

__all__ = [
    "MAX_CHANNELS",
    "MAX_PEAK",
    "MAX_RATE",
    "MIN_RATE",
    "SAMPLE_RATE",
    "frames_first",
    "to_array",
    "to_float32",
    "validate",
    "validate_rate",
]

SAMPLE_RATE = 16_000
"""Samples per second of all sound inside the package."""

MIN_RATE = 1_000
"""Hz. Slower sound than this holds no speech; a rate below it is a slip of units (16 for 16 kHz)."""

MAX_RATE = 768_000
"""Hz. The fastest rate that sound cards offer."""

MAX_CHANNELS = 32
"""More is a mistaken axis or a broken header: third-order ambisonics has 16, studio desks send 32."""

MAX_PEAK = 8.0
"""Float samples may overshoot full scale by 18 dB (they are cut at 1); beyond it they were never scaled."""

_INTEGERS = {"int8": 7, "int16": 15, "int32": 31, "uint8": 7, "uint16": 15, "uint32": 31}


def validate_rate(sample_rate: object) -> int:
    """Return ``sample_rate`` as a plain int, if sound can have it.

    Raises:
        AudioValueError: it is missing, not a whole number, or outside ``MIN_RATE`` .. ``MAX_RATE`` Hz.
    """
    try:
        rate = _whole(sample_rate)
    except (TypeError, ValueError, OverflowError):
        raise AudioValueError(
            f"sample_rate is {sample_rate!r}; an array needs a whole number of Hz, such as 16000"
        ) from None
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioValueError(
            f"the sample rate is {rate} Hz; expected {MIN_RATE} to {MAX_RATE} Hz (16 kHz is written 16000)"
        )
    return rate


def _whole(number: Any) -> int:
    if isinstance(number, (bool, np.bool_, str)):
        raise TypeError
    if isinstance(number, SupportsIndex):
        return number.__index__()
    if float(number) != int(number):
        raise ValueError
    return int(number)


def to_array(x: Any) -> NDArray[Any]:
    """Return samples as a numpy array.

    Tensors of torch that numpy cannot read, with a gradient or in bfloat16, are converted by their own
    methods.

    Raises:
        AudioValueError: numpy cannot convert it.
    """
    try:
        return np.asarray(x)
    except (TypeError, RuntimeError, ValueError) as error:
        try:
            return np.asarray(x.detach().cpu().float())
        except (AttributeError, TypeError, RuntimeError):
            raise AudioValueError(
                f"got {type(x).__name__}, which numpy cannot convert ({error}); expected a numpy array"
            ) from None


def frames_first(x: NDArray[Any]) -> NDArray[Any]:
    """View ``x`` as ``(n_samples, n_channels)``, whatever its layout.

    ``(n,)`` is mono. A 2-d array is ``(n, channels)``, as soundfile gives it, unless its second axis is
    too long to be channels (over ``MAX_CHANNELS``): then it is ``(channels, n)``, as torch has it.

    Raises:
        AudioValueError: not 1-d or 2-d, too many channels, or a type that has no full scale.
    """
    if x.ndim not in (1, 2):
        raise AudioValueError(f"the array has shape {x.shape}; expected (n,), (n, channels) or (channels, n)")
    if x.dtype.name not in _INTEGERS and x.dtype.kind != "f":
        raise AudioValueError(
            f"the array holds {x.dtype}; expected floats in [-1, 1] or 8-, 16- or 32-bit integers, "
            "whose full scale is known: convert it first"
        )
    if x.ndim == 1:
        return x[:, np.newaxis]
    if x.shape[1] > MAX_CHANNELS:
        x = x.T
    if not 1 <= x.shape[1] <= MAX_CHANNELS:
        raise AudioValueError(f"the array has shape {x.shape}; one axis must be 1 to {MAX_CHANNELS} channels")
    return x


def to_float32(x: NDArray[Any], sample_rate: int, first_sample: int = 0) -> Floats:
    """Samples ``(n, c)`` of any allowed type -> float32 in about [-1, 1]; integers by their full scale.

    Raises:
        AudioValueError: NaN or infinite samples, or floats far beyond full scale; it says at which second.
    """
    if x.dtype.kind in "iu":
        bits = _INTEGERS[x.dtype.name]
        offset = 2**bits if x.dtype.kind == "u" else 0
        y: Floats = ((x.astype(np.float64) - offset) / 2**bits).astype(np.float32)
        return y
    y = x
    if x.dtype != np.float32:
        with np.errstate(over="ignore", invalid="ignore"):  # a double too large for float32 is found below
            y = x.astype(np.float32)
    # One comparison finds NaN, infinity and unscaled samples alike; which it was matters only when it fails.
    if y.size and not (y.max() <= MAX_PEAK and y.min() >= -MAX_PEAK):
        _refuse(y, sample_rate, first_sample)
    return y


def _refuse(y: Floats, sample_rate: int, first_sample: int) -> None:
    wrong = ~(np.abs(y) <= MAX_PEAK)
    row, channel = (int(i) for i in np.argwhere(wrong)[0])
    value, at_s = float(y[row, channel]), (first_sample + row) / sample_rate
    where = f"at {at_s:.3f} s, channel {channel}"
    if np.isfinite(value):
        raise AudioValueError(
            f"a sample is {value:g} {where}; expected floats in [-1, 1]: divide by 32768 if it was 16 bits"
        )
    raise AudioValueError(f"a sample is {value} {where}; expected finite numbers: repair the recording")


def validate(x: Any, sample_rate: object, *, empty_ok: bool = False) -> Floats:
    """Check an array of samples, and convert it to float32.

    Args:
        x: ``(n,)``, ``(n, channels)`` or ``(channels, n)`` (the latter when n > ``MAX_CHANNELS``); floats in
            [-1, 1], or integers, which are scaled by their type (int16: divided by 32768).
        sample_rate: Hz.
        empty_ok: accept no samples at all (a chunk of a stream).

    Returns:
        ``(channels, n)`` float32 at the same rate, ``(1, n)`` for mono; always a copy.

    Raises:
        AudioValueError: empty, wrong shape or type, NaN or infinite, unscaled, or an absurd rate.

    >>> import numpy as np
    >>> validate(np.array([0, 16384], dtype=np.int16), 16_000).tolist()
    [[0.0, 0.5]]
    """
    rate = validate_rate(sample_rate)
    frames = frames_first(to_array(x))
    if not len(frames) and not empty_ok:
        raise AudioValueError("the array is empty; expected at least one sample")
    return np.array(to_float32(frames, rate).T, order="C")
