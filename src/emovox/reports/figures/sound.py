"""Waveform, spectrogram and timeline of a recording, with its segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE, stft
from emovox.errors import ConfigError
from emovox.reports.colours import NONE, colour
from emovox.reports.figures.canvas import BLUE, INK, escape_text, label_axes, make_axes, make_figure
from emovox.results import Segment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "LONGEST_S",
    "check_sound",
    "draw_spectrogram",
    "draw_strip",
    "draw_timeline",
    "draw_waveform",
    "paint_spectrogram",
    "paint_waveform",
]

LONGEST_S = 600.0
"""Longest sound of one figure, in seconds: of more, nothing could be seen."""

_COLUMNS = 1600
"""Columns of a waveform: about as many as the figure has pixels."""

_N_MELS, _LOW_HZ, _TOP_HZ = 96, 50.0, 8000.0
_TICKS_HZ = (100, 200, 500, 1000, 2000, 4000, 8000)
_DYNAMIC_DB = 70.0
"""Level below the loudest at which the spectrogram is white."""

_WIDTH_IN = 9.0
_LETTER_SHARE = 0.0105
"""Share of the width of the axes that a letter takes."""

_UNSURE = "not sure"
_MIN_SHARE = 0.003
"""Smallest width of a segment in a timeline, as a share of the axes."""


def draw_waveform(
    x: ArrayLike,
    segments: Sequence[Segment] = (),
    *,
    title: str = "Waveform",
    caption: str = "",
    start_s: float = 0.0,
) -> Figure:
    """Draw samples ``(n,)`` at 16 kHz over time, on the colours of the segments.

    Args:
        segments: of `Recognizer.timeline` on this sound; their times start with it.
        start_s: time in the recording at which the sound begins.

    Raises:
        ConfigError: no sound, more than `LONGEST_S` of it, or samples that are nan or infinite.
        MissingExtraError: matplotlib is not installed.
    """
    sound = check_sound(x)
    figure = make_figure(_WIDTH_IN, 3.4, title=title, caption=caption)
    top, axes = _make_panels(figure, len(segments) > 0, high=6)
    paint_waveform(axes, sound, segments, start_s)
    label_axes(axes, "time, s", "amplitude, full scale = 1")
    draw_strip(top, segments, start_s, len(sound) / SAMPLE_RATE)
    return figure


def draw_spectrogram(
    x: ArrayLike,
    segments: Sequence[Segment] = (),
    *,
    title: str = "Spectrogram",
    caption: str = "",
    start_s: float = 0.0,
) -> Figure:
    """Draw the energy of 96 mel bands of samples ``(n,)`` at 16 kHz, 50 Hz to 8 kHz; above it the segments.

    Arguments and errors are those of `draw_waveform`.
    """
    sound = check_sound(x)
    figure = make_figure(_WIDTH_IN, 4.4, title=title, caption=caption)
    top, axes = _make_panels(figure, len(segments) > 0, high=9)
    drawn = paint_spectrogram(axes, sound, start_s)
    label_axes(axes, "time, s", "frequency, Hz (mel scale)")
    bar: Any = figure.colorbar(drawn, ax=axes, pad=0.015, fraction=0.035)
    bar.set_label("level, dB re full scale", fontsize=8.5, color=INK)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    draw_strip(top, segments, start_s, len(sound) / SAMPLE_RATE)
    return figure


def draw_timeline(
    segments: Sequence[Segment], *, duration_s: float, title: str = "Expressed emotion", caption: str = ""
) -> Figure:
    """Draw the segments as bars over time, one lane per emotion; the paler, the less confident.

    Values, of a model that gives some, are lines below, in a panel for each target.

    Args:
        segments: of `Recognizer.timeline`, of one channel.
        duration_s: of the recording.

    Raises:
        ConfigError: no segments, or one that ends after the recording.
        MissingExtraError: matplotlib is not installed.
    """
    if not segments or max(one.end_s for one in segments) > duration_s + 1:
        raise ConfigError(f"got {len(segments)} segments in {duration_s:g} s; expected some, inside of it")
    seconds: dict[str, float] = {}
    for one in segments:
        if one.label is not None:
            seconds[one.label] = seconds.get(one.label, 0.0) + one.duration_s
    lanes = sorted(seconds, key=lambda name: -seconds[name])
    # A segment of a model of values alone has neither a label nor a reason for having none.
    labelled = [one for one in segments if one.label is not None or one.reason is not None or not one.values]
    if any(one.label is None for one in labelled):
        lanes.append(_UNSURE)
    unit_s, unit = (1.0, "s") if duration_s < 120 else (60.0, "min")
    targets = list(dict.fromkeys(name for one in segments for name in one.values or ()))
    heights = [0.4 + 0.34 * len(lanes)] * bool(lanes) + [1.3] * len(targets)
    figure = make_figure(_WIDTH_IN, 1.1 + sum(heights), title=title, caption=caption)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights) if targets else None
    for place, name in enumerate(targets, start=len(heights) - len(targets)):
        panel: Any = make_axes(figure, *([] if grid is None else [grid[place]]))
        for one in segments:
            if one.values and name in one.values:
                ends = [one.start_s / unit_s, one.end_s / unit_s]
                panel.plot(ends, [one.values[name]] * 2, color=BLUE, linewidth=2.6, solid_capstyle="butt")
        panel.set_xlim(0, duration_s / unit_s)
        panel.margins(y=0.2)
        label_axes(panel, f"time, {unit}" if place == len(heights) - 1 else "", name)
    if not lanes:
        return figure
    axes: Any = make_axes(figure, *([] if grid is None else [grid[0]]), grid="x")
    min_s = _MIN_SHARE * duration_s
    for one in labelled:
        axes.barh(
            lanes.index(one.label or _UNSURE),
            max(one.duration_s, min_s) / unit_s,
            left=one.start_s / unit_s,
            height=0.8,
            color=colour(one.label) if one.label else NONE,
            alpha=0.35 + 0.65 * min(1.0 if one.confidence is None else one.confidence, 1.0),
            linewidth=0,
        )
    axes.set_yticks(range(len(lanes)), [escape_text(name) for name in lanes])
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_xlim(0, duration_s / unit_s)
    label_axes(axes, "" if targets else f"time, {unit}", "")
    return figure


def paint_waveform(axes: Any, sound: Floats, segments: Sequence[Segment], start_s: float) -> None:
    """Draw checked samples ``(n,)`` into axes, on the colours of the segments."""
    # The minimum and maximum of each column, so that no peak is lost.
    step = max(1, -(-sound.size // _COLUMNS))
    columns = np.pad(sound, (0, -sound.size % step), mode="edge").reshape(-1, step)
    times = start_s + (np.arange(len(columns)) + 0.5) * step / SAMPLE_RATE
    low, high = columns.min(axis=1), columns.max(axis=1)
    axes.fill_between(times, low, high, color=INK, linewidth=0.4, alpha=0.85)
    most = max(float(np.abs(sound).max()), 1e-4) * 1.08
    axes.set_ylim(-most, most)
    for one in segments:
        axes.axvspan(
            one.start_s + start_s, one.end_s + start_s, color=colour(one.label), alpha=0.16, linewidth=0
        )
    axes.set_xlim(start_s, start_s + len(sound) / SAMPLE_RATE)


def paint_spectrogram(axes: Any, sound: Floats, start_s: float) -> Any:
    """Draw checked samples ``(n,)`` into axes as `draw_spectrogram` does; return the image."""
    level = stft.log_mel(sound, n_mels=_N_MELS, n_fft=1024, low_hz=_LOW_HZ)
    # Thinned to what a figure can show: of neighbouring frames, the loudest.
    step = max(1, -(-len(level) // (2 * _COLUMNS)))
    level = np.pad(level, ((0, -len(level) % step), (0, 0)), mode="edge")
    level = level.reshape(-1, step, _N_MELS).max(axis=1)
    seconds = len(sound) / SAMPLE_RATE
    loudest = float(level.max())
    if loudest == level.min():  # digital silence is white
        loudest += _DYNAMIC_DB
    drawn = axes.imshow(
        level.T,
        origin="lower",
        aspect="auto",
        extent=(start_s, start_s + seconds, 0, _N_MELS),
        cmap="Greys",
        vmin=loudest - _DYNAMIC_DB,
        vmax=loudest,
        interpolation="nearest",
    )
    axes.set_yticks([_band_of(hz) for hz in _TICKS_HZ], [f"{hz:,}".replace(",", " ") for hz in _TICKS_HZ])
    axes.set_xlim(start_s, start_s + seconds)
    return drawn


def check_sound(x: ArrayLike) -> Floats:
    """Return samples ``(n,)``, or report what cannot be drawn."""
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


def _band_of(hz: float) -> float:
    """Return the position of a frequency among the bands of `stft.log_mel` (HTK's mel formula)."""
    mel = 2595 * np.log10(1 + np.array([_LOW_HZ, hz, _TOP_HZ]) / 700)
    return float((mel[1] - mel[0]) / (mel[2] - mel[0]) * (_N_MELS + 1) - 0.5)


def _make_panels(figure: Figure, two: bool, *, high: int) -> tuple[Axes | None, Axes]:
    """Make axes for the strip of segments, if there is one, and for the sound, sharing the time axis."""
    if not two:
        return None, make_axes(figure)
    grid = figure.add_gridspec(2, 1, height_ratios=(1, high))
    below = make_axes(figure, grid[1])
    above: Any = figure.add_subplot(grid[0], sharex=below)
    return above, below


def draw_strip(axes: Axes | None, segments: Sequence[Segment], start_s: float, seconds: float) -> None:
    """Draw a bar per segment, named where the name fits; other names are in a legend."""
    if axes is None:
        return
    unnamed = dict.fromkeys(_name(one) for one in segments if not _draw_segment(axes, one, start_s, seconds))
    axes.set_ylim(0, 1)
    axes.axis("off")
    if unnamed:
        from matplotlib.patches import Patch

        tones = {_name(one): _tone(one) for one in segments}
        axes.legend(
            handles=[Patch(color=tones[name], label=escape_text(name)) for name in unnamed],
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=6,
            fontsize=8,
            frameon=False,
            borderpad=0,
        )


def _draw_segment(axes: Axes, one: Segment, start_s: float, seconds: float) -> bool:
    """Draw a segment; return whether its name fits on it."""
    name, tone = _name(one), _tone(one)
    axes.barh(0.5, one.duration_s, left=one.start_s + start_s, height=0.9, color=tone, edgecolor="white")
    fits = one.duration_s / seconds > _LETTER_SHARE * (len(name) + 1)
    if fits:
        middle = (one.start_s + one.end_s) / 2 + start_s
        axes.text(
            middle, 0.48, escape_text(name), ha="center", va="center", fontsize=8.5, color=_letters(tone)
        )
    return fits


def _name(one: Segment) -> str:
    if one.label is None and one.reason is None:  # of a model of values alone
        return "speech"
    return one.label or f"no label ({one.reason})"


def _tone(one: Segment) -> str:
    return colour(one.label) if one.label else NONE


def _letters(ground: str) -> str:
    """Return the letter colour for a ground: dark on light, white on dark."""
    red, green, blue = (int(ground[n : n + 2], 16) for n in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
