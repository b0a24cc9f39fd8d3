"""Names for the arrays that the package passes around; shapes are in the docstrings, units in the names."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bools", "Doubles", "Floats", "Ints"]

Floats: TypeAlias = NDArray[np.float32]
"""Samples in [-1, 1] at 16 kHz, features, logits: what is stored and what models take."""

Doubles: TypeAlias = NDArray[np.float64]
"""Probabilities, statistics and sums, where the last digits count."""

Ints: TypeAlias = NDArray[np.intp]
"""Indices and codes of labels."""

Bools: TypeAlias = NDArray[np.bool_]
"""Flags, such as which frames are speech."""
