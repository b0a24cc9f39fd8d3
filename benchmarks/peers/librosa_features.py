"""The peer of `benchmarks/features.py`: librosa 0.11's own functions, each called as its users call it.

Every function makes the short-time transform it needs; nothing is shared that librosa does not share itself.
Only the frame settings are given, and the tuning where it is fixed. Tonnetz is of the chroma of the
short-time transform, which is how scripts call it that do not wait for its constant-Q transform.
"""

from __future__ import annotations

from collections.abc import Callable

import librosa
import numpy as np
from numpy.typing import NDArray

from emovox._arrays import Floats

__all__ = ["features"]

Ways = dict[str, Callable[[Floats], NDArray[np.floating]]]


def features(rate: int, window: int, hop: int, tuning: float | None) -> Ways:
    """Name -> a function of the sound ``(n,)`` to ``(d, t)``; with ``tuning=None`` librosa estimates it."""
    make, frames = librosa.feature, {"n_fft": window, "hop_length": hop}

    def chroma(x: Floats) -> NDArray[np.floating]:
        return make.chroma_stft(y=x, sr=rate, tuning=tuning, **frames)

    return {
        "mfcc": lambda x: make.mfcc(y=x, sr=rate, n_mfcc=40, **frames),
        "zcr": lambda x: make.zero_crossing_rate(x, frame_length=window, hop_length=hop),
        "rms": lambda x: make.rms(y=x, frame_length=window, hop_length=hop),
        "chroma": chroma,
        "mel": lambda x: make.melspectrogram(y=x, sr=rate, **frames),
        "contrast": lambda x: make.spectral_contrast(y=x, sr=rate, **frames),
        "tonnetz": lambda x: make.tonnetz(chroma=chroma(x), sr=rate),
    }
