"""An audio player with the colours of its segments, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from emovox.audio import Source
from emovox.errors import ConfigError
from emovox.reports.colours import colour
from emovox.reports.html import escape
from emovox.reports.sound import summarize_sound
from emovox.results import Prediction, Segment

__all__ = ["Player", "embed_player"]


@dataclass(frozen=True, slots=True)
class Player:
    """A player as HTML: a notebook shows it where it is the last value of a cell."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def embed_player(
    result: Prediction | Iterable[Segment], source: Source | None = None, *, sample_rate: int | None = None
) -> Player:
    """Make an audio player for a notebook, with the results below it.

    The sound is kept in the notebook as MP3, 4 kB a second.

    Args:
        result: a prediction, or the segments of `Recognizer.timeline`.
        source: the recording; unless given, the file that the result names.
        sample_rate: Hz, for an array.

    Raises:
        ConfigError: there is no recording, or it cannot be written as MP3.
        AudioError: the recording cannot be read.

    >>> from emovox.reports import embed_player
    >>> embed_player(model.timeline("call.wav"))  # doctest: +SKIP
    """
    parts = [result] if isinstance(result, Prediction) else list(result)
    if isinstance(result, str) or not all(isinstance(one, Prediction | Segment) for one in parts):
        raise ConfigError(
            f"the first argument is a {type(result).__name__}; expected a prediction or segments, and the "
            "recording second: embed_player(model.predict('clip.wav'), 'clip.wav')"
        )
    files = sorted({one.file for one in parts if one.file})
    if source is None:
        if len(files) != 1:
            raise ConfigError(
                f"the result names {len(files)} files; expected one, or the recording as second argument"
            )
        source = files[0]
    sound = summarize_sound(source, sample_rate=sample_rate)
    if sound.data_url is None:
        raise ConfigError(f"the recording cannot be played in a notebook: {sound.problem}")
    title = escape(", ".join(files) or f"{sound.duration_s:.1f} s")
    lines = "".join(f"<li>{escape(one.with_file(None))}</li>" for one in parts)
    bars = "".join(
        f"<i title='{escape(one)}' style='position:absolute;height:100%;background:{colour(one.label)};"
        f"left:{100 * one.start_s / sound.duration_s:.2f}%;"
        f"width:{100 * one.duration_s / sound.duration_s:.2f}%'></i>"
        for one in parts
        if isinstance(one, Segment)
    )
    strip = f"<div style='position:relative;height:1em'>{bars}</div>" if bars else ""
    return Player(
        f"<div style='max-width:40em'><b>{title}</b>"
        f"<audio controls preload='metadata' style='display:block;width:100%' src='{sound.data_url}'></audio>"
        f"{strip}<ul>{lines}</ul></div>"
    )
