"""What does the sound look like, and what was answered where?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Doubles, Floats
from emovox.audio import SAMPLE_RATE, stft
from emovox.errors import ConfigError
from emovox.reports.colours import NONE, colour
from emovox.reports.figures.canvas import INK, label_axes, panel, plain, sheet
from emovox.results import Segment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["LONGEST_S", "spectrogram_figure", "waveform_figure"]

LONGEST_S = 600.0
"""Seconds of sound in one picture at most: of more, nothing could be seen."""

_COLUMNS = 1600
"""Of a waveform: about as many as the picture has pixels."""

_N_MELS, _LOW_HZ, _TOP_HZ = 96, 50.0, 8000.0
_TICKS_HZ = (100, 200, 500, 1000, 2000, 4000, 8000)
_DYNAMIC_DB = 70.0
"""What is that much below the loudest is white."""

_WIDTH_IN = 9.0
_LETTER_SHARE = 0.0105
"""Of the width of the axes that a letter of the strip takes."""


def waveform_figure(
    x: ArrayLike,
    segments: Sequence[Segment] = (),
    *,
    title: str = "Waveform",
    caption: str = "",
    start_s: float = 0.0,
) -> Figure:
    """Samples ``(n,)`` at 16 kHz along the time, over the colours of the segments.

    Args:
        segments: of `Recognizer.timeline` on this very sound; their times start with it.
        start_s: where in its recording the sound begins.

    Raises:
        ConfigError: no sound, more than `LONGEST_S` of it, or samples that are no numbers.
        MissingExtraError: matplotlib is not installed.
    """
    sound = _usable(x)
    figure = sheet(_WIDTH_IN, 3.4, title=title, caption=caption)
    top, axes = _stacked(figure, len(segments) > 0, high=6)
    times, low, high = _envelope(sound)
    axes.fill_between(times + start_s, low, high, color=INK, linewidth=0.4, alpha=0.85)
    most = max(float(np.abs(sound).max()), 1e-4) * 1.08
    axes.set_ylim(-most, most)
    for one in segments:
        axes.axvspan(
            one.start_s + start_s, one.end_s + start_s, color=colour(one.label), alpha=0.16, linewidth=0
        )
    _time_axis(axes, start_s, len(sound) / SAMPLE_RATE)
    label_axes(axes, "time, s", "amplitude, full scale = 1")
    _strip(top, segments, start_s, len(sound) / SAMPLE_RATE)
    return figure


def spectrogram_figure(
    x: ArrayLike,
    segments: Sequence[Segment] = (),
    *,
    title: str = "Spectrogram",
    caption: str = "",
    start_s: float = 0.0,
) -> Figure:
    """Energy of 96 mel bands of samples ``(n,)`` at 16 kHz, 50 Hz to 8 kHz; above it the segments.

    Arguments and errors are those of `waveform_figure`.
    """
    sound = _usable(x)
    level = _pooled(stft.log_mel(sound, n_mels=_N_MELS, n_fft=1024, low_hz=_LOW_HZ))
    figure = sheet(_WIDTH_IN, 4.4, title=title, caption=caption)
    top, axes = _stacked(figure, len(segments) > 0, high=9)
    seconds = len(sound) / SAMPLE_RATE
    drawn = axes.imshow(
        level.T,
        origin="lower",
        aspect="auto",
        extent=(start_s, start_s + seconds, 0, _N_MELS),
        cmap="Greys",
        vmin=float(level.max()) - _DYNAMIC_DB,
        vmax=float(level.max()),
        interpolation="nearest",
    )
    axes.set_yticks([_band(hz) for hz in _TICKS_HZ], [f"{hz:,}".replace(",", " ") for hz in _TICKS_HZ])
    _time_axis(axes, start_s, seconds)
    label_axes(axes, "time, s", "frequency, Hz (mel scale)")
    bar: Any = figure.colorbar(drawn, ax=axes, pad=0.015, fraction=0.035)
    bar.set_label("level, dB re full scale", fontsize=8.5, color=INK)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    _strip(top, segments, start_s, seconds)
    return figure


def _usable(x: ArrayLike) -> Floats:
    sound = np.asarray(x, dtype=np.float32)
    if sound.ndim != 1 or not sound.size or not np.isfinite(sound).all():
        raise ConfigError(
            f"the sound has the shape {sound.shape}; expected (n,) with n of 1 or more, and numbers alone"
        )
    if sound.size > LONGEST_S * SAMPLE_RATE:
        raise ConfigError(
            f"the sound lasts {sound.size / SAMPLE_RATE:.0f} s; expected at most {LONGEST_S:.0f} s: cut it"
        )
    return sound


def _envelope(x: Floats) -> tuple[Doubles, Floats, Floats]:
    """Times, least and most of each column, so that no peak is lost."""
    step = max(1, -(-x.size // _COLUMNS))
    columns = np.pad(x, (0, -x.size % step), mode="edge").reshape(-1, step)
    return (np.arange(len(columns)) + 0.5) * step / SAMPLE_RATE, columns.min(axis=1), columns.max(axis=1)


def _pooled(level: Floats) -> Floats:
    """Frames ``(t, bands)`` thinned to what a picture can show: of neighbours, the loudest."""
    step = max(1, -(-len(level) // (2 * _COLUMNS)))
    padded = np.pad(level, ((0, -len(level) % step), (0, 0)), mode="edge")
    pooled: Floats = padded.reshape(-1, step, level.shape[1]).max(axis=1)
    return pooled


def _band(hz: float) -> float:
    """Where a frequency lies among the bands, by HTK's mel formula, as `spectrum.log_mel` has them."""
    mel = 2595 * np.log10(1 + np.array([_LOW_HZ, hz, _TOP_HZ]) / 700)
    return float((mel[1] - mel[0]) / (mel[2] - mel[0]) * (_N_MELS + 1) - 0.5)


def _stacked(figure: Figure, two: bool, *, high: int) -> tuple[Axes | None, Axes]:
    """Axes of the strip, if there is one, and of the sound, with one time for both."""
    if not two:
        return None, panel(figure)
    grid = figure.add_gridspec(2, 1, height_ratios=(1, high))
    below = panel(figure, grid[1])
    above: Any = figure.add_subplot(grid[0], sharex=below)
    return above, below


def _strip(axes: Axes | None, segments: Sequence[Segment], start_s: float, seconds: float) -> None:
    """A bar a segment, named where the name fits; names of the others stand in a legend."""
    if axes is None:
        return
    unnamed = dict.fromkeys(_name(one) for one in segments if not _drawn_segment(axes, one, start_s, seconds))
    axes.set_ylim(0, 1)
    axes.axis("off")
    if unnamed:
        from matplotlib.patches import Patch

        tones = {_name(one): _tone(one) for one in segments}
        axes.legend(
            handles=[Patch(color=tones[name], label=plain(name)) for name in unnamed],
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=6,
            fontsize=8,
            frameon=False,
            borderpad=0,
        )


def _drawn_segment(axes: Axes, one: Segment, start_s: float, seconds: float) -> bool:
    """Draw it; whether its name stands on it."""
    name, tone = _name(one), _tone(one)
    axes.barh(0.5, one.duration_s, left=one.start_s + start_s, height=0.9, color=tone, edgecolor="white")
    fits = one.duration_s / seconds > _LETTER_SHARE * (len(name) + 1)
    if fits:
        middle = (one.start_s + one.end_s) / 2 + start_s
        axes.text(middle, 0.48, plain(name), ha="center", va="center", fontsize=8.5, color=_letters(tone))
    return fits


def _name(one: Segment) -> str:
    return one.label or f"no answer ({one.reason})"


def _tone(one: Segment) -> str:
    return colour(one.label) if one.label else NONE


def _letters(ground: str) -> str:
    """Ink on what is light, white on what is dark."""
    red, green, blue = (int(ground[n : n + 2], 16) for n in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _time_axis(axes: Axes, start_s: float, seconds: float) -> None:
    axes.set_xlim(start_s, start_s + seconds)
    axes.margins(x=0)
