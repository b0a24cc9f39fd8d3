"""Frames of a long recording in blocks and bounded memory; concatenated they are those of the whole.

::

    blocks = (block[0] for block in audio.blocks("hour.wav"))
    for frames in frame_blocks(blocks, find_feature_set("seed-lstm", {"mfcc.top_db": None})):
        ...                                                     # (t, d) float32

A frame is computed with as many samples around it as its families depend on. Sets that depend on the whole
recording (levels below its loudest frame, its tuning, a fixed length) are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.errors import AudioValueError, ConfigError
from emovox.features.feature_set import FEATURES, FeaturePart, FeatureSet
from emovox.features.frames import FrameSettings

__all__ = ["frame_blocks"]

Reach = Callable[[FrameSettings, Mapping[str, Any]], int]
# Seconds of the F0 path on both sides of a frame. In theory the best path may depend on more; in 66 minutes
# of RAVDESS and EMO-DB, 396 576 frames, 0.1 s changed none and 0.03 s two.
_PATH_S = 0.5


def frame_blocks(blocks: Iterable[Floats], features: FeatureSet) -> Iterator[Floats]:
    """Compute the frames of a recording that comes in blocks.

    Args:
        blocks: samples at 16 kHz, ``(n,)`` each, of any lengths; longer ones are faster, seconds are enough.
        features: a set of frames, composed of families.

    Yields:
        ``(t, d)`` float32, not empty. Concatenated they have the shape of ``features(x)`` of the whole ``x``,
        and its values to within 2e-6 of the largest of their family: sums of floats depend on their order.

    Raises:
        ConfigError: at once; the set gives one row a recording, or depends on the whole recording: the
            message names the parameter and a value that does not.
        AudioValueError: while iterating; a block is not ``(n,)``, not finite, or there were no samples.
    """
    parts = _check_set(features)
    hop = parts[0].settings.hop
    reach = max(_REACH[part.family](part.settings, part.parameters) for part in parts)
    return _iter_blocks(blocks, features, hop, 1 + -(-reach // hop))


def _iter_blocks(blocks: Iterable[Floats], features: FeatureSet, hop: int, context: int) -> Iterator[Floats]:
    """Yield frames once ``context`` frames are known on both sides of them."""
    held: list[Floats] = []
    n_held = first = n_yielded = 0  # samples held, frame at the first of them, frames yielded
    for block in blocks:
        if np.ndim(block) != 1:
            raise AudioValueError(f"a block has the shape {np.shape(block)}; expected (n,), one channel")
        held.append(block)
        n_held += block.size
        ready = first + n_held // hop - context
        # Not for a few frames: their context is computed along with them.
        if ready - n_yielded < context:
            continue
        x = np.concatenate(held)
        yield features(x)[n_yielded - first : ready - first]
        n_yielded = ready
        n_passed = max(0, n_yielded - context - first)
        held, n_held, first = [x[n_passed * hop :]], n_held - n_passed * hop, first + n_passed
    if not n_held:
        raise AudioValueError("the blocks contain no samples; expected a recording with sound")
    yield features(np.concatenate(held))[n_yielded - first :]


# --- context of a family -----------------------------------------------------------------------------


def _check_set(features: FeatureSet) -> tuple[FeaturePart, ...]:
    """Return the parts of a set that can be computed in blocks."""
    name = features.name
    if features.kind != "frames":
        raise ConfigError(
            f"the set {name!r} gives one row a recording; blocks need a set of frames, or rows of windows"
        )
    if not features.parts:
        raise ConfigError(f"the set {name!r} is not composed of families and needs the whole recording")
    for part in features.parts:
        if part.family not in _REACH:
            known = ", ".join(family for family in FEATURES if family in _REACH)
            raise ConfigError(
                f"the set {name!r} contains {part.family!r}, which needs the whole recording; possible in "
                f"blocks: {known}"
            )
        if part.parameters.get("top_db") is not None:
            raise ConfigError(
                f"the levels of the set {name!r} are relative to the loudest frame of the whole recording; "
                f"for frames in blocks override {part.family}.top_db with None"
            )
        if part.parameters.get("tuning", 0.0) is None:
            raise ConfigError(
                f"the set {name!r} estimates the tuning of the whole recording; for frames in blocks "
                f"override {part.family}.tuning with a number, such as 0.0"
            )
    if features.clip_s is not None:
        raise ConfigError(
            f"the set {name!r} is of recordings of {features.clip_s:g} s; for frames of a longer one "
            "override clip_s with None"
        )
    return features.parts


def _frame_reach(settings: FrameSettings, parameters: Mapping[str, Any]) -> int:
    """Floats on either side of a frame's start or middle that it is computed of; one for pre-emphasis."""
    return settings.n_fft + 1


def _delta_reach(settings: FrameSettings, parameters: Mapping[str, Any]) -> int:
    # The whole width, not half of it: the outermost frames take the slope of the outermost full width.
    width = int(parameters.get("delta_width", 9)) if parameters.get("deltas") else 0
    return _frame_reach(settings, parameters) + width * settings.hop


def _path_reach(settings: FrameSettings, parameters: Mapping[str, Any]) -> int:
    periods = 3 * SAMPLE_RATE / float(parameters.get("low_hz", 60.0))
    return _frame_reach(settings, parameters) + int(periods + _PATH_S * SAMPLE_RATE)


# Family -> samples around a frame that it depends on; families without an entry need the whole recording.
_REACH: dict[str, Reach] = {
    **dict.fromkeys(("mel", "log_mel", "chroma", "tonnetz", "contrast", "ssc", "zcr", "rms"), _frame_reach),
    **dict.fromkeys(("centroid", "bandwidth", "rolloff", "flatness"), _frame_reach),
    **dict.fromkeys(("f0", "jitter", "shimmer", "hnr", "formants", "harmonics"), _path_reach),
    "mfcc": _delta_reach,
}
