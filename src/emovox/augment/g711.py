"""The coding of digital telephones, ITU-T G.711: eight bits a sample, fine steps for small values.

Codes are those on the line (mu-law with all bits turned, A-law with every other), samples are 16 bits wide:
the 14 of mu-law and the 13 of A-law, shifted up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import soxr

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.augment.base import Rng, Transform, fitted

__all__ = ["G711", "a_law_decoded", "a_law_encoded", "mu_law_decoded", "mu_law_encoded"]

Pcm: TypeAlias = npt.NDArray[np.int16]
Codes: TypeAlias = npt.NDArray[np.uint8]

_BIAS = 132
"""Added to a mu-law magnitude, so that every segment is twice as long as the one below."""
_LOUDEST = 32_635
"""The largest mu-law magnitude."""


@dataclass(frozen=True)
class G711(Transform):
    """A telephone line: 8 kHz and back, the samples in G.711's eight bits; ``mu`` law or ``a`` law."""

    law: str = "mu"

    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {"law": ("mu", "a")}

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        encoded, decoded = _LAWS[self.law]
        low = soxr.resample(x, SAMPLE_RATE, 8000, quality="HQ")
        pcm = np.clip(np.rint(low * 32_768), -32_768, 32_767).astype(np.int16)
        heard = decoded(encoded(pcm)).astype(np.float32) / np.float32(32_768)
        return fitted(soxr.resample(heard, 8000, SAMPLE_RATE, quality="HQ"), len(x))


def mu_law_encoded(pcm: Pcm) -> Codes:
    """Codes of samples ``(n,)``."""
    sign = np.where(pcm < 0, 0x80, 0)
    biased = np.minimum(np.abs(pcm.astype(np.int32)), _LOUDEST) + _BIAS
    segment = _segment(biased >> 7)
    return np.asarray(~(sign | segment << 4 | (biased >> (segment + 3)) & 15), np.int32).astype(np.uint8)


def mu_law_decoded(codes: Codes) -> Pcm:
    """Samples of codes ``(n,)``."""
    turned = ~codes.astype(np.int32)
    segment, step = turned >> 4 & 7, turned & 15
    size = ((step << 3) + _BIAS << segment) - _BIAS
    return np.where(turned & 0x80, -size, size).astype(np.int16)


def a_law_encoded(pcm: Pcm) -> Codes:
    """Codes of samples ``(n,)``."""
    wide = pcm.astype(np.int32)
    size = np.where(wide < 0, -1 - wide, wide) >> 4  # 0 to 2047; the halves mirror each other around -1/2
    segment = _segment(size >> 3)
    step = np.where(segment > 0, size >> np.maximum(segment, 1) - 1, size) & 15
    return np.asarray((np.where(wide < 0, 0, 0x80) | segment << 4 | step) ^ 0x55, np.uint8)


def a_law_decoded(codes: Codes) -> Pcm:
    """Samples of codes ``(n,)``."""
    plain = codes.astype(np.int32) ^ 0x55
    segment, step = plain >> 4 & 7, plain & 15
    size = np.where(segment > 0, (step << 4) + 264 << np.maximum(segment, 1) - 1, (step << 4) + 8)
    return np.where(plain & 0x80, size, -size).astype(np.int16)


def _segment(size: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """How many bits ``size``, from 0 to 255, needs beyond its first: 0 for 0 and 1, 7 for 128 and more."""
    return np.searchsorted(2 ** np.arange(1, 8), size, side="right").astype(np.int32)


_LAWS: Mapping[str, tuple[Callable[[Pcm], Codes], Callable[[Codes], Pcm]]] = MappingProxyType(
    {"mu": (mu_law_encoded, mu_law_decoded), "a": (a_law_encoded, a_law_decoded)}
)
