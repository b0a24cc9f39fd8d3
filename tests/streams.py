"""Sound pushed through a `Stream` in chunks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emovox.inference.stream import Stream
from emovox.results import Segment, Window


def streamed(stream: Stream, x: np.ndarray, sizes: Sequence[int]) -> list[Window | Segment]:
    """Push ``x`` in chunks whose sizes are ``sizes``, again and again, and end the stream."""
    found: list[Window | Segment] = []
    at = i = 0
    while at < len(x):
        size = sizes[i % len(sizes)]
        found += stream.push(x[at : at + size])
        at, i = at + size, i + 1
    return found + stream.flush()


def windows(found: Sequence[Window | Segment]) -> list[Window]:
    return [each for each in found if isinstance(each, Window)]
