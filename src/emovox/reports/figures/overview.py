"""One figure of a recording: waveform, spectrogram, probabilities over time, and their means as a radar."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from emovox import audio
from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE, Source
from emovox.errors import ConfigError
from emovox.reports.colours import colour
from emovox.reports.figures.canvas import INK, SOFT, escape_text, label_axes, make_axes, make_figure
from emovox.reports.figures.explanation import draw_explanation, read_explained
from emovox.reports.figures.radar import paint_radar
from emovox.reports.figures.sound import (
    LONGEST_S,
    check_sound,
    draw_strip,
    paint_spectrogram,
    paint_waveform,
)
from emovox.results import Explanation, Prediction, Segment, Window

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot"]

_CAPTION = "Probabilities of the expressed emotion, not of what a person feels."
_VALUE_CAPTION = "Values that the model predicts, not what a person feels."
_BLANK = " Blank: no speech was scored."


def plot(
    result: Prediction | Explanation | Iterable[Segment | Window],
    source: Source | None = None,
    *,
    sample_rate: int | None = None,
    title: str = "",
) -> Figure:
    """Draw a recording and its results: waveform, spectrogram, probabilities over time, radar.

    Args:
        result: a prediction, the segments of `Recognizer.timeline`, or windows and segments of one
            `Stream`: then the probabilities are those of the windows. Results of one channel. An explanation
            is drawn by `draw_explanation` in a figure of its own.
        source: the recording; unless given, the file that the result names.
        sample_rate: Hz, for an array.
        title: unless given, the name of the file and the likeliest emotion.

    Returns:
        A `matplotlib.figure.Figure`, which notebooks show. Of a result without a file and without a
        ``source``, the probabilities alone are drawn.

    Raises:
        ConfigError: the result is an error, holds several files or channels, or ends after the recording; or
            the recording is longer than 600 s.
        AudioError: the recording cannot be read.
        MissingExtraError: matplotlib is not installed.

    >>> import emovox
    >>> model = emovox.load()  # doctest: +SKIP
    >>> emovox.plot(model.timeline("call.wav")).savefig("call.png")  # doctest: +SKIP
    """
    if isinstance(result, Explanation):
        x = read_explained(result, source, sample_rate=sample_rate)
        return draw_explanation(result, x, title=title)
    parts: Sequence[Prediction | Segment | Window] = (
        [result] if isinstance(result, Prediction) or not isinstance(result, Iterable) else list(result)
    )
    if wrong := [one for one in parts if not isinstance(one, Prediction | Segment | Window)]:
        got = type(result if isinstance(result, str | bytes) else wrong[0]).__name__
        raise ConfigError(
            f"the first argument holds {got}; expected a prediction, or segments and windows, and the "
            "recording second: emovox.plot(model.predict('clip.wav'), 'clip.wav')"
        )
    file, channel = _find_recording(parts)
    sound = None
    if source is not None or file is not None:
        sound = _read_sound(file if source is None else source, sample_rate, channel)
        if (end_s := max((_end_s(one) for one in parts), default=0.0)) > len(sound) / SAMPLE_RATE + 1:
            raise ConfigError(
                f"the result ends at {end_s:.1f} s, the recording {_length(sound)}: another one?"
            )
    means = _mean_scores(parts)
    segments = [one for one in parts if isinstance(one, Segment)]
    windows = [one for one in parts if isinstance(one, Window)]
    spans: Sequence[Segment | Window] = windows or segments
    over_time = any(one.scores or one.values for one in spans)
    figure = make_figure(
        12.0 if sound is not None else 6.4,
        6.4 if over_time and sound is not None else 4.8,
        title=title or _make_title(parts, means, file),
        caption=(_VALUE_CAPTION if not means and _mean_values(parts) else _CAPTION)
        + (_BLANK if spans else ""),
    )
    if sound is None:
        _draw_means(figure, None, means, parts)
        return figure
    grid = figure.add_gridspec(
        4, 2, width_ratios=(2.3, 1), height_ratios=(0.5 if segments else 0.01, 2, 3, 2.4)
    )
    below: Any = make_axes(figure, grid[2 if over_time else slice(2, 4), 0])
    wave: Any = make_axes(figure, grid[1, 0], sharex=below)
    if segments:
        draw_strip(figure.add_subplot(grid[0, 0], sharex=below), segments, 0.0, len(sound) / SAMPLE_RATE)
    paint_spectrogram(below, sound, 0.0)
    paint_waveform(wave, sound, segments, 0.0)
    wave.tick_params(labelbottom=False)
    label_axes(wave, "", "amplitude")
    # The lowest ticks would overlap in a low panel.
    below.set_yticks(below.get_yticks()[1::2], [text.get_text() for text in below.get_yticklabels()][1::2])
    label_axes(below, "" if over_time else "time, s", "frequency, Hz")
    if over_time:
        below.tick_params(labelbottom=False)
        axes: Any = make_axes(figure, grid[3, 0], sharex=below)
        if means:
            _draw_probabilities(axes, spans)
        else:
            _draw_values(axes, spans)
    _draw_means(figure, grid[:, 1], means, parts)
    return figure


def _find_recording(parts: Sequence[Prediction | Segment | Window]) -> tuple[str | None, int | None]:
    """Return the file and the channel of the results, which have to agree."""
    named = [one for one in parts if not isinstance(one, Window)]
    if failed := [one for one in named if isinstance(one, Prediction) and one.error is not None]:
        raise ConfigError(f"there is no result to draw: {failed[0]}")
    found = {(one.file, one.channel) for one in named}
    if len(found) > 1:
        listed = ", ".join(sorted(f"{file or 'a recording'}, channel {channel}" for file, channel in found))
        raise ConfigError(f"the results are of {listed}; expected those of one file and one channel")
    return found.pop() if found else (None, None)


def _read_sound(source: Source | None, sample_rate: int | None, channel: int | None) -> Floats:
    assert source is not None
    which = "mix" if channel is None else channel
    read = audio.blocks(source, sample_rate=sample_rate, channels=which, max_s=None)
    # No more is read than shows that it is too long.
    n_blocks = int(LONGEST_S // 10) + 2
    return check_sound(np.concatenate([block[0] for block in itertools.islice(read, n_blocks)]))


def _end_s(one: Prediction | Segment | Window) -> float:
    return (one.duration_s or 0.0) if isinstance(one, Prediction) else one.end_s


def _length(sound: Floats) -> str:
    return f"lasts {len(sound) / SAMPLE_RATE:.1f} s"


def _mean_scores(parts: Sequence[Prediction | Segment | Window]) -> dict[str, float]:
    """Return the mean probabilities, segments before windows, each weighted by its length."""
    scored = [one for one in parts if one.scores]
    if any(isinstance(one, Segment) for one in scored):
        scored = [one for one in scored if not isinstance(one, Window)]
    if not scored:
        return {}
    lengths = [
        max(one.end_s - one.start_s, 1e-6) if not isinstance(one, Prediction) else 1.0 for one in scored
    ]
    return {
        name: float(np.average([one.scores[name] for one in scored], weights=lengths))
        for name in scored[0].scores
    }


def _make_title(
    parts: Sequence[Prediction | Segment | Window], means: dict[str, float], file: str | None
) -> str:
    name = PurePath(file).name if file else "Recording"
    if len(parts) == 1 and isinstance(parts[0], Prediction):
        one = parts[0]
        return f"{name}: {str(one.with_file(None)).partition(' (')[0]}"
    if not means:
        values = _mean_values(parts)
        measured = ", ".join(f"{target} {value:.2f}" for target, value in values.items())
        return f"{name}: on average {measured}" if values else f"{name}: no speech"
    best = max(means, key=lambda label: means[label])
    return f"{name}: on average most likely {best}, {means[best]:.2f}"


def _draw_probabilities(axes: Any, spans: Sequence[Segment | Window]) -> None:
    """Stack the probabilities of each window or segment to 1, in the emotions' colours."""
    scored = [one for one in spans if one.scores]
    starts = np.array([one.start_s for one in scored])
    ends = np.array([one.end_s for one in scored])
    if isinstance(spans[0], Window):  # they overlap: each takes its hop, about its middle
        hop_s = float(np.median(np.diff([one.end_s for one in spans]))) if len(spans) > 1 else ends[0]
        middles = (starts + ends) / 2
        starts, ends = np.maximum(middles - hop_s / 2, 0.0), middles + hop_s / 2
    bottom = np.zeros(len(scored))
    for name in scored[0].scores:
        height = np.array([one.scores[name] for one in scored])
        axes.bar(
            starts, height, ends - starts, bottom, align="edge", color=colour(name), linewidth=0, label=name
        )
        bottom += height
    axes.set_ylim(0, 1)
    label_axes(axes, "time, s", "probability")


def _mean_values(parts: Sequence[Prediction | Segment | Window]) -> dict[str, float]:
    """Return the mean values, segments before windows, each weighted by its length."""
    valued = [one for one in parts if one.values]
    if any(isinstance(one, Segment) for one in valued):
        valued = [one for one in valued if not isinstance(one, Window)]
    if not valued:
        return {}
    lengths = [1.0 if isinstance(one, Prediction) else max(one.end_s - one.start_s, 1e-6) for one in valued]
    return {
        name: float(np.average([(one.values or {})[name] for one in valued], weights=lengths))
        for name in valued[0].values or ()
    }


def _draw_values(axes: Any, spans: Sequence[Segment | Window]) -> None:
    """Draw the values of each window or segment over time, a line for each target."""
    valued = [one for one in spans if one.values]
    for name in valued[0].values or ():
        middles = [(one.start_s + one.end_s) / 2 for one in valued]
        axes.plot(middles, [(one.values or {})[name] for one in valued], marker="o", markersize=3, label=name)
    axes.legend(fontsize=8.5, frameon=False, loc="best", labelcolor=INK)
    label_axes(axes, "time, s", "value")


def _draw_means(
    figure: Figure, place: Any, means: dict[str, float], parts: Sequence[Prediction | Segment | Window]
) -> None:
    """Draw the mean probabilities as a radar, as bars of one or two labels, or say why there are none."""
    places = () if place is None else (place,)
    if len(means) >= 3:
        axes: Any = figure.add_subplot(*places, projection="polar")
        paint_radar(axes, np.array([list(means.values())]), tuple(means))
    elif means:
        bars: Any = make_axes(figure, *places)
        bars.barh(
            [escape_text(name) for name in means],
            list(means.values()),
            height=0.4,
            color=[*map(colour, means)],
        )
        bars.set_xlim(0, 1)
        label_axes(bars, "probability", "")
    else:
        reasons = {one.reason for one in parts if not isinstance(one, Window) and one.reason}
        values = _mean_values(parts)
        text = "\n".join(f"{target} {value:.2f}" for target, value in values.items())
        text = text or (f"no label: {', '.join(sorted(reasons))}" if reasons else "no speech")
        empty: Any = figure.add_subplot(*places)
        empty.axis("off")
        empty.text(0.5, 0.5, text, ha="center", color=SOFT if reasons else INK, transform=empty.transAxes)
