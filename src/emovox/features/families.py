"""Every family of features by its name: a dict one can read."""

from __future__ import annotations

from emovox.features import chroma, formants, prosody, spectral, syllables, temporal, voice
from emovox.features.frames import Family

__all__ = ["FEATURES"]

FEATURES: dict[str, Family] = {
    family.name: family
    for module in (spectral, chroma, temporal, prosody, voice, formants, syllables)
    for family in module.FAMILIES
}
"""Name -> family."""
