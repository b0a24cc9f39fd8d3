"""``emovox plot radar | waveform | spectrogram``: figures of recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emovox.cli.options import ModelName
from emovox.cli.plot.common import Force, Output, check_output, write
from emovox.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from emovox._arrays import Floats
    from emovox.results import Segment

__all__ = ["radar", "spectrogram", "waveform"]

Clip = Annotated[str, typer.Argument(metavar="CLIP", help="A recording.")]
Segments = Annotated[
    bool, typer.Option("--segments/--no-segments", help="Colour segments by their expressed emotion.")
]
Start = Annotated[float, typer.Option("--start-s", min=0.0, metavar="S", help="Start of the part.")]
End = Annotated[float | None, typer.Option("--end-s", metavar="S", help="End of the part; else the end.")]


def radar(
    clips: Annotated[list[str], typer.Argument(metavar="CLIP...", help="One recording, or up to five.")],
    output: Output,
    model: ModelName = "default",
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="A,B,C", help="Decide among these emotions.")
    ] = None,
    force: Force = False,
) -> int:
    """Draw the probabilities of one clip or several as a radar chart."""
    from emovox.inference.recognizer import load as load_model
    from emovox.reports.figures import draw_radar
    from emovox.reports.figures.radar import MOST_CLIPS

    check_output(output, force=force)
    if len(clips) > MOST_CLIPS:
        raise ConfigError(f"got {len(clips)} clips; expected 1 to {MOST_CLIPS} on one radar chart")
    recognizer = load_model(model)
    answers = [recognizer.predict(clip, labels=labels) for clip in clips]
    title = f"Probabilities by {recognizer.name} {recognizer.spec.version}"
    return write(draw_radar(answers, title=title), output, title)


def waveform(
    clip: Clip,
    output: Output,
    model: ModelName = "default",
    segments: Segments = True,
    start_s: Start = 0.0,
    end_s: End = None,
    force: Force = False,
) -> int:
    """Draw samples over time, on the colours of the expressed emotions."""
    from emovox.reports.figures import draw_waveform

    return _draw(draw_waveform, clip, output, model, segments, start_s, end_s, force)


def spectrogram(
    clip: Clip,
    output: Output,
    model: ModelName = "default",
    segments: Segments = True,
    start_s: Start = 0.0,
    end_s: End = None,
    force: Force = False,
) -> int:
    """Draw the energy of 96 mel bands over time, below the expressed emotions."""
    from emovox.reports.figures import draw_spectrogram

    return _draw(draw_spectrogram, clip, output, model, segments, start_s, end_s, force)


def _draw(
    figure: Callable[..., Figure],
    clip: str,
    output: Path,
    model: str,
    segments: bool,
    start_s: float,
    end_s: float | None,
    force: bool,
) -> int:
    check_output(output, force=force)
    x = _read_part(clip, start_s, end_s)
    found, caption = _predict(x, model) if segments else ([], "")
    title = Path(clip).name
    return write(figure(x, found, title=title, caption=caption, start_s=start_s), output, title)


def _read_part(clip: str, start_s: float, end_s: float | None) -> Floats:
    """Read a part ``(n,)`` at 16 kHz; no more of the recording is kept than can be drawn."""
    import numpy as np

    from emovox import audio
    from emovox.reports.figures.sound import LONGEST_S

    rate = audio.SAMPLE_RATE
    first, last = round(start_s * rate), None if end_s is None else round(end_s * rate)
    if last is not None and last <= first:
        raise ConfigError(f"--start-s {start_s:g} and --end-s {end_s:g}: expected an end after the start")
    parts, done = [], 0
    for block in audio.blocks(clip):
        stop = len(block[0]) if last is None else max(0, last - done)
        parts.append(block[0][max(0, first - done) : stop])
        done += block.shape[1]
        if (last is not None and done >= last) or sum(map(len, parts)) > LONGEST_S * rate:
            break
    x = np.concatenate(parts)
    if not x.size:
        raise ConfigError(f"{clip} lasts {done / rate:.1f} s; nothing is left after {start_s:g} s")
    if x.size > LONGEST_S * rate:
        raise ConfigError(f"{clip} is longer than {LONGEST_S:g} s; name a part with --start-s and --end-s")
    return x


def _predict(x: Floats, model: str) -> tuple[list[Segment], str]:
    from emovox import audio
    from emovox.inference.recognizer import load as load_model

    recognizer = load_model(model)
    found = list(recognizer.timeline(x, sample_rate=audio.SAMPLE_RATE))
    who = f"{recognizer.name} {recognizer.spec.version}"
    return found, f"Expressed emotion by {who}{'' if found else ': no speech was found'}; blank: no speech."
