"""Every family of features by its name: a dict one can read."""

from __future__ import annotations

from emovox.features import chroma, formants, pitch, spectral, syllables, temporal, voice_quality
from emovox.features.frames import Family

__all__ = ["FEATURES"]

FEATURES: dict[str, Family] = {
    family.name: family
    for module in (spectral, chroma, temporal, pitch, voice_quality, formants, syllables)
    for family in module.FAMILIES
}
"""Name -> family."""
