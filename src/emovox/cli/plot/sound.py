"""``emovox plot radar | waveform | spectrogram``: figures of recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emovox.cli.plot.common import Force, Output, check_output, finish
from emovox.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from emovox._arrays import Floats
    from emovox.results import Segment

__all__ = ["radar", "spectrogram", "waveform"]

Clip = Annotated[str, typer.Argument(metavar="CLIP", help="A recording.")]
ModelName = Annotated[
    str, typer.Option("--model", metavar="BUNDLE", help="A name from `emovox models`, or a folder.")
]
Segments = Annotated[
    bool, typer.Option("--segments/--no-segments", help="Colour the stretches by their expressed emotion.")
]
Start = Annotated[float, typer.Option("--start-s", min=0.0, metavar="S", help="Begin there.")]
End = Annotated[float | None, typer.Option("--end-s", metavar="S", help="End there; else with the sound.")]


def radar(
    clips: Annotated[list[str], typer.Argument(metavar="CLIP...", help="One recording, or up to five.")],
    output: Output,
    model: ModelName = "default",
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="A,B,C", help="Decide among these emotions.")
    ] = None,
    force: Force = False,
) -> int:
    """How the probabilities of one clip or several spread over the emotions."""
    from emovox.bundles import registry
    from emovox.reports.figures import radar_figure
    from emovox.reports.figures.radar import MOST_CLIPS

    check_output(output, force=force)
    if len(clips) > MOST_CLIPS:
        raise ConfigError(f"got {len(clips)} clips; expected 1 to {MOST_CLIPS} on one radar chart")
    recognizer = registry.load(model)
    answers = [recognizer.predict(clip, labels=labels) for clip in clips]
    title = f"Probabilities by {recognizer.name} {recognizer.spec.version}"
    return finish(radar_figure(answers, title=title), output, title)


def waveform(
    clip: Clip,
    output: Output,
    model: ModelName = "default",
    segments: Segments = True,
    start_s: Start = 0.0,
    end_s: End = None,
    force: Force = False,
) -> int:
    """Samples along the time, over the colours of the expressed emotions."""
    from emovox.reports.figures import waveform_figure

    return _drawn(waveform_figure, clip, output, model, segments, start_s, end_s, force)


def spectrogram(
    clip: Clip,
    output: Output,
    model: ModelName = "default",
    segments: Segments = True,
    start_s: Start = 0.0,
    end_s: End = None,
    force: Force = False,
) -> int:
    """Energy of 96 mel bands along the time, below the expressed emotions."""
    from emovox.reports.figures import spectrogram_figure

    return _drawn(spectrogram_figure, clip, output, model, segments, start_s, end_s, force)


def _drawn(
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
    x = _cut(clip, start_s, end_s)
    found, told = _judged(x, model) if segments else ([], "")
    title = Path(clip).name
    return finish(figure(x, found, title=title, caption=told, start_s=start_s), output, title)


def _cut(clip: str, start_s: float, end_s: float | None) -> Floats:
    """The stretch, ``(n,)`` at 16 kHz; no more of the recording is kept than can be drawn."""
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
        raise ConfigError(f"{clip} lasts {done / rate:.1f} s; nothing of it is left after {start_s:g} s")
    if x.size > LONGEST_S * rate:
        raise ConfigError(f"{clip} is longer than {LONGEST_S:g} s; name a stretch with --start-s and --end-s")
    return x


def _judged(x: Floats, model: str) -> tuple[list[Segment], str]:
    from emovox import audio
    from emovox.bundles import registry

    recognizer = registry.load(model)
    found = list(recognizer.timeline(x, sample_rate=audio.SAMPLE_RATE))
    who = f"{recognizer.name} {recognizer.spec.version}"
    return found, f"Expressed emotion by {who}{'' if found else ': no speech was found'}; blank: no speech."
