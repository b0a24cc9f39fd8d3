"""What in a clip decided for a label: over time, over frequency, and over both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from emovox import audio
from emovox._arrays import Doubles, Floats
from emovox.audio import SAMPLE_RATE, Source, stft
from emovox.errors import ConfigError
from emovox.inference.explanation import read_part
from emovox.reports.figures.canvas import BLUE, INK, LINE, RED, SOFT, label_axes, make_axes, make_figure
from emovox.results import Explanation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_explanation", "read_explained"]

_CAPTION = (
    "Red: the label's log-odds drop when this part is removed, so it speaks for the label; blue: it speaks "
    "against it. The values show what the model used, not why, and not what a person feels."
)


def draw_explanation(explanation: Explanation, x: ArrayLike, *, title: str = "") -> Figure:
    """Draw the drops over time below the waveform, over frequency, and as a map of both.

    Args:
        explanation: of `Recognizer.explain`.
        x: the sound ``(n,)`` at 16 kHz between the first and the last of its ``times_s``.
        title: unless given, the explanation in one line.

    Raises:
        ConfigError: the sound does not last as long as the explanation.
        MissingExtraError: matplotlib is not installed.
    """
    sound = np.asarray(x, dtype=np.float32)
    start_s, end_s = explanation.times_s[0], explanation.times_s[-1]
    if sound.ndim != 1 or abs(len(sound) / SAMPLE_RATE - (end_s - start_s)) > 0.01:
        raise ConfigError(
            f"the sound has the shape {sound.shape}; the explanation is of {end_s - start_s:.2f} s at 16 kHz"
        )
    named = replace(explanation, file=explanation.file and PurePath(explanation.file).name)
    figure = make_figure(9.0, 5.6, title=title or str(named), caption=_CAPTION)
    grid = figure.add_gridspec(3, 2, height_ratios=(2, 1.4, 4), width_ratios=(6, 1))
    below: Any = make_axes(figure, grid[2, 0])
    wave: Any = make_axes(figure, grid[0, 0], sharex=below)
    lane: Any = make_axes(figure, grid[1, 0], sharex=below, grid="y")
    bands: Any = make_axes(figure, grid[2, 1], sharey=below, grid="x")

    step = max(1, len(sound) // 1600)
    columns = np.pad(sound, (0, -len(sound) % step), mode="edge").reshape(-1, step)
    times = start_s + (np.arange(len(columns)) + 0.5) * step / SAMPLE_RATE
    wave.fill_between(times, columns.min(axis=1), columns.max(axis=1), color=INK, linewidth=0.4, alpha=0.85)
    wave.set_yticks([])
    if explanation.main_span_s is not None:
        wave.axvspan(*explanation.main_span_s, color=RED, alpha=0.1, linewidth=0)

    edges, drops = np.array(explanation.times_s), np.array(explanation.time_drops)
    lane.bar(edges[:-1], drops, np.diff(edges), align="edge", color=_tones(drops), linewidth=0)
    lane.set_ylabel("drop, nats", fontsize=9, color=INK)

    mels, map_mels = (stft.hz_to_mel(np.array(hz)) for hz in (explanation.bands_hz, explanation.map_bands_hz))
    drops = np.array(explanation.band_drops)
    bands.barh(mels[:-1], drops, np.diff(mels), align="edge", color=_tones(drops), linewidth=0)
    bands.tick_params(labelleft=False)
    label_axes(bands, "drop, nats", "")

    values = np.array(explanation.map_drops).T
    most = max(float(np.abs(values).max()), 1e-6)
    drawn = below.pcolormesh(
        explanation.map_times_s, map_mels, values, cmap="RdBu_r", vmin=-most, vmax=most, edgecolors=LINE
    )
    drawn.set_linewidth(0.2)
    ticks_hz = np.array([100, 250, 500, 1000, 2000, 4000, 8000])
    below.set_yticks(stft.hz_to_mel(ticks_hz), [f"{hz:,}".replace(",", " ") for hz in ticks_hz])
    below.set_ylim(0, map_mels[-1])
    below.set_xlim(start_s, end_s)
    label_axes(below, "time, s", "frequency, Hz (mel scale)")
    for axes in (wave, lane):
        axes.tick_params(labelbottom=False)
    for axes, line in ((lane, lane.axhline), (bands, bands.axvline)):
        line(0, color=SOFT, linewidth=0.8)
        axes.tick_params(labelsize=8)
    bar: Any = figure.colorbar(drawn, ax=bands, pad=0.06, fraction=0.12)
    bar.set_label("map: drop, nats", fontsize=8.5, color=INK)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return figure


def read_explained(
    explanation: Explanation, source: Source | None = None, *, sample_rate: int | None = None
) -> Floats:
    """Read the sound ``(n,)`` at 16 kHz that an explanation is of, for `draw_explanation`.

    Args:
        source: the recording; unless given, the file that the explanation names.
        sample_rate: Hz, for an array.

    Raises:
        ConfigError: there is no source.
        AudioError: the recording cannot be read.
    """
    source = explanation.file if source is None else source
    if source is None:
        raise ConfigError("the explanation names no file; give the recording as source")
    which = "mix" if explanation.channel is None else explanation.channel
    blocks = (block[0] for block in audio.blocks(source, sample_rate=sample_rate, channels=which))
    start_s, end_s = explanation.times_s[0], explanation.times_s[-1]
    return read_part(blocks, start_s, end_s, longest_s=end_s)


def _tones(drops: Doubles) -> list[str]:
    return [RED if drop > 0 else BLUE for drop in drops]
