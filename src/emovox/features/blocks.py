"""Frames of a long recording, block by block, in bounded memory; joined they are those of the whole.

::

    sound = (block[0] for block in audio.blocks("hour.wav"))
    for frames in frame_blocks(sound, feature_set("seed-lstm", {"mfcc.top_db": None})):
        ...                                                     # (t, d) float32

A frame is computed with as much sound around it as its families look at. What looks at the whole recording
(a level below its loudest frame, its tuning, a fixed length) cannot be had this way, and is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.errors import AudioValueError, ConfigError
from emovox.features.composed import Part
from emovox.features.definition import FeatureSet
from emovox.features.families import FEATURES
from emovox.features.frames import FrameSettings

__all__ = ["frame_blocks"]

Reach = Callable[[FrameSettings, Mapping[str, Any]], int]
_PATH_S = 0.5
"""Seconds of F0's path that stand on both sides of a frame. In theory the best path may depend on what is
further away; in 66 minutes of RAVDESS and EMO-DB, 396 576 frames, 0.1 s changed none and 0.03 s two."""


def frame_blocks(blocks: Iterable[Floats], made: FeatureSet) -> Iterator[Floats]:
    """The frames of a recording that comes in blocks.

    Args:
        blocks: sound at 16 kHz, ``(n,)`` each, of any lengths; longer ones are faster, seconds do well.
        made: a set of frames, made of families.

    Yields:
        ``(t, d)`` float32, not empty. Joined they have the shape of ``made(x)`` of the whole ``x``, and its
        values to within 2e-6 of the largest of their family: sums of floats depend on how many are summed.

    Raises:
        ConfigError: at once; the set gives one row a recording, or depends on the whole recording: the
            message names the parameter and a value that does not.
        AudioValueError: while iterating; a block is not ``(n,)``, not finite, or there was no sound.
    """
    parts = _parts(made)
    hop = parts[0].settings.hop
    reach = max(_REACH[part.family](part.settings, part.parameters) for part in parts)
    return _pieces(blocks, made, hop, 1 + -(-reach // hop))


def _pieces(blocks: Iterable[Floats], made: FeatureSet, hop: int, context: int) -> Iterator[Floats]:
    """``context`` is how many frames have to stand on both sides of one that is given away."""
    held: list[Floats] = []
    n_held = first = given = 0  # samples held; the frame at the first of them; frames given away
    for block in blocks:
        held.append(_checked(block))
        n_held += block.size
        ready = first + n_held // hop - context
        # Not for a few frames: what stands around them is computed along with them.
        if ready - given < context:
            continue
        sound = np.concatenate(held)
        yield made(sound)[given - first : ready - first]
        given = ready
        passed = max(0, given - context - first)
        held, n_held, first = [sound[passed * hop :]], n_held - passed * hop, first + passed
    if not n_held:
        raise AudioValueError("the blocks hold no samples; expected a recording with sound")
    yield made(np.concatenate(held))[given - first :]


def _checked(block: Floats) -> Floats:
    if np.ndim(block) != 1:
        raise AudioValueError(f"a block has the shape {np.shape(block)}; expected (n,), one channel")
    return block


# ------------------------------------------------------------------------------- how far a family looks


def _parts(made: FeatureSet) -> tuple[Part, ...]:
    """The families of a set, if it may be computed by blocks."""
    if made.kind != "frames":
        raise ConfigError(
            f"the set {made.name!r} gives one row a recording; by blocks there are frames only: take a set "
            "of frames, or rows of windows"
        )
    compute = made.compute
    if not isinstance(compute, partial) or "parts" not in compute.keywords:
        raise ConfigError(f"the set {made.name!r} is not made of families and needs the recording whole")
    parts: tuple[Part, ...] = compute.keywords["parts"]
    for part in parts:
        _refuse_the_whole(made.name, part)
    if compute.keywords["clip_s"] is not None:
        raise ConfigError(
            f"the set {made.name!r} is of recordings of {compute.keywords['clip_s']:g} s; for frames of a "
            "longer one override clip_s with None"
        )
    return parts


def _refuse_the_whole(name: str, part: Part) -> None:
    if part.family not in _REACH:
        known = ", ".join(family for family in FEATURES if family in _REACH)
        raise ConfigError(
            f"the set {name!r} holds {part.family!r}, which needs the recording whole; by blocks: {known}"
        )
    if part.parameters.get("top_db") is not None:
        raise ConfigError(
            f"the set {name!r} counts levels from the loudest frame of the whole recording; for frames by "
            f"blocks override {part.family}.top_db with None"
        )
    if part.parameters.get("tuning", 0.0) is None:
        raise ConfigError(
            f"the set {name!r} finds the tuning in the whole recording; for frames by blocks override "
            f"{part.family}.tuning with a number, such as 0.0"
        )


def _own(settings: FrameSettings, parameters: Mapping[str, Any]) -> int:
    """Samples on either side of a frame's begin or middle that it is computed of; one for pre-emphasis."""
    return settings.n_fft + 1


def _with_deltas(settings: FrameSettings, parameters: Mapping[str, Any]) -> int:
    # A whole stretch, not half of one: at the ends the slope of the outermost full stretch is taken.
    width = int(parameters.get("delta_width", 9)) if parameters.get("deltas") else 0
    return _own(settings, parameters) + width * settings.hop


def _with_path(settings: FrameSettings, parameters: Mapping[str, Any]) -> int:
    periods = 3 * SAMPLE_RATE / float(parameters.get("low_hz", 60.0))
    return _own(settings, parameters) + int(periods + _PATH_S * SAMPLE_RATE)


_REACH: dict[str, Reach] = {
    **dict.fromkeys(("mel", "log_mel", "chroma", "tonnetz", "contrast", "ssc", "zcr", "rms"), _own),
    **dict.fromkeys(("centroid", "bandwidth", "rolloff", "flatness"), _own),
    **dict.fromkeys(("f0", "jitter", "shimmer", "hnr", "formants", "harmonics"), _with_path),
    "mfcc": _with_deltas,
}
"""Family -> how many samples away a frame looks. One that is not here is taken to need the whole."""
