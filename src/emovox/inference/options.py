"""Options of a prediction: one object for the library, the commands, the server, the bot and batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from emovox.audio import Channels, parse_channels
from emovox.errors import ConfigError

if TYPE_CHECKING:
    from emovox.inference.adaptation import Profile
    from emovox.results import TranscriptSegment

__all__ = ["PredictOptions", "VadMode"]

VadMode: TypeAlias = Literal["on", "off"]
"""Whether a voice activity detector looks for speech. ``"off"``: all sound counts as speech."""


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """How recordings are predicted. `Recognizer.check` verifies that a model can do it.

    Raises:
        ConfigError: ``vad`` is neither "on" nor "off", or segments have another option that excludes them.
        AudioValueError: ``channels`` is neither "mix", "each" nor a channel's number.
    """

    labels: Iterable[str] | str | None = None
    """Names or aliases, also as ``"a,b"``; the scores are renormalised over them. ``None``: all labels."""
    channels: Channels = "mix"
    """``"mix"`` (the mean of all), ``"each"``, or the number of one, from 0."""
    vad: VadMode | None = None
    """``None``: as the recognizer was opened."""
    profile: Profile | None = None
    """Statistics of the speaker or of the source, as `Recognizer.enroll` returns them."""
    timeline: bool = False
    """Whether the results are segments over time rather than one prediction per recording."""
    window_s: float | None = None
    """Of a timeline: seconds of a window; ``None``: the model's own."""
    hop_s: float | None = None
    """Of a timeline: seconds from one window to the next; ``None``: the model's own."""
    adapt: bool = False
    """Starting from ``profile``, whether the model adapts. Of a timeline: to each channel as it goes; of
    segments: to each speaker, from all of the speaker's segments."""
    segments: tuple[TranscriptSegment, ...] | None = None
    """Whether the results are those of these segments rather than of the recording."""

    def __post_init__(self) -> None:
        if self.vad not in ("on", "off", None):
            raise ConfigError(f"vad is {self.vad!r}; expected 'on' or 'off'")
        object.__setattr__(self, "channels", parse_channels(self.channels))
        if self.segments is not None and (self.timeline or self.channels == "each"):
            what = "a timeline" if self.timeline else "channels 'each'"
            raise ConfigError(f"got segments and {what}; segments are of the mix or of one channel")
        if self.labels is not None and not isinstance(self.labels, str):
            object.__setattr__(self, "labels", tuple(self.labels))  # an iterator could be read only once
