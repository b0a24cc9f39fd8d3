"""Which seconds and which frequency bands of a clip decided for a label, by occlusion.

A part of the sound is removed, the model is run, and the drop of the label's log-odds is the part's value, as
in M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks" (ECCV 2014), there with
images. Parts are removed in the spectrogram. Over time, and in the map of time and frequency, all that is
louder than the quiet noise of the clip is replaced by such noise, since digital silence would be a sound that
the model has never got. Over frequency a band is removed throughout, the noise included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from emovox._arrays import Doubles, Floats, Ints
from emovox.audio import SAMPLE_RATE, stft
from emovox.errors import AudioTooLongError, AudioValueError, ConfigError, LabelError
from emovox.inference.clip import RecordingReader, find_reason
from emovox.inference.scorer import Scorer
from emovox.labels import canonical_all
from emovox.results import Explanation

__all__ = ["MAX_RUNS", "explain_clip", "read_part"]

CELL_S = 0.1
"""Shortest part of a clip that is removed, about half a syllable; parts of long clips are longer."""

MAP_CELL_S = 0.2
"""Likewise of the map."""

MAX_TIMES, N_BANDS = 40, 16
"""Most parts over time, and the bands over frequency: evenly spaced on the mel scale, 0 to 8 kHz."""

MAX_MAP_TIMES, N_MAP_BANDS = 16, 8
"""Likewise of the map."""

MAX_RUNS = 1 + MAX_TIMES + N_BANDS + MAX_MAP_TIMES * N_MAP_BANDS
"""Most runs of the model for a clip that it scores in one run. A longer recording is scored by its windows;
only those are run again that a part overlaps: up to 506 runs for ten windows."""

LONGEST_S = 30.0
"""Longest recording: of a longer one the parts would be longer than a word."""

NOISE_QUANTILE = 0.05
"""Of the magnitudes of a frequency over time, the one that is taken for the clip's quiet noise."""

# The square of a Hann window, at steps of a quarter of it, adds up to 1.5.
_N_FFT, _STEP, _GAIN = 512, 128, 1.5
_WINDOW = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_N_FFT) / _N_FFT)


def read_part(
    blocks: Iterable[Floats],
    start_s: float = 0.0,
    end_s: float | None = None,
    *,
    longest_s: float = LONGEST_S,
) -> Floats:
    """Join blocks ``(n,)`` of a recording to the sound from ``start_s`` to ``end_s``, ``(n,)``.

    Raises:
        ConfigError: the times are in the wrong order.
        AudioTooLongError: there is more sound than ``longest_s``; no more is read.
        AudioValueError: the recording ends before ``start_s``.
    """
    if start_s < 0 or (end_s is not None and end_s <= start_s):
        raise ConfigError(f"start_s is {start_s!r} and end_s {end_s!r}; expected 0 <= start_s < end_s")
    first, longest = round(start_s * SAMPLE_RATE), round(longest_s * SAMPLE_RATE)
    end = None if end_s is None else round(end_s * SAMPLE_RATE)
    parts: list[Floats] = []
    n = n_kept = 0
    for block in blocks:
        stop = len(block) if end is None else max(0, end - n)
        parts.append(block[max(0, first - n) : stop])
        n, n_kept = n + len(block), n_kept + len(parts[-1])
        if n_kept > longest:
            raise AudioTooLongError(
                f"got more than {longest_s:g} s of sound, the most that is explained at once; "
                "name a part of the recording by start_s and end_s (--start-s and --end-s)"
            )
        if end is not None and n >= end:
            break
    if not n_kept:
        raise AudioValueError(f"the recording lasts {n / SAMPLE_RATE:.2f} s; start_s is {start_s:g}")
    return np.concatenate(parts)


def explain_clip(
    scorer: Scorer,
    x: Floats,
    label: str | None = None,
    *,
    vad: bool = True,
    start_s: float = 0.0,
    file: str | None = None,
    channel: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Explain the score of a label on a recording ``(n,)``; see `Recognizer.explain`.

    Args:
        start_s: of ``x`` in its recording, whose times the explanation has.

    Raises:
        AudioValueError: it is too short, or silence, or without speech.
        LabelError: the label is unknown, or the only one of the model.
    """
    names = scorer.names
    if len(names) < 2:
        what = f"{names[0]!r} alone" if names else "values and no labels"
        raise LabelError(f"the model predicts {what}; expected two labels to compare")
    column = None if label is None else names.index(canonical_all([label], names)[0])
    parts = _score_parts(scorer, x, vad=vad)
    scores = _pool(scorer, parts)
    if column is None:
        column = int(scores.argmax())
    before = _log_odds(scorer, parts, column)
    offset, end = min(part.start for part in parts), max(part.end for part in parts)
    x = x[offset:end]
    occlusion = _Occlusion(x)
    edges = _divide(len(x), CELL_S, MAX_TIMES)
    coarse_edges = _divide(len(x), MAP_CELL_S, MAX_MAP_TIMES)
    bands, coarse_bands = _mel_bands(N_BANDS), _mel_bands(N_MAP_BANDS)
    changes = [occlusion.to_noise(span, (0, SAMPLE_RATE)) for span in pairwise(edges)]
    changes += [occlusion.remove_band(band) for band in pairwise(bands)]
    changes += [
        occlusion.to_noise(span, band) for span in pairwise(coarse_edges) for band in pairwise(coarse_bands)
    ]
    drops, n_runs = [], len(parts)
    for done, change in enumerate(changes, 1):
        changed = []
        for part in parts:
            span = slice(part.start - offset, part.end - offset)
            if change[span].any():  # else there was nothing to remove, and the answer is known
                n_runs += 1
                part = replace(part, logits=scorer.score(x[span] - change[span]).logits)
            changed.append(part)
        drops.append(before - _log_odds(scorer, changed, column))
        if progress is not None:
            progress(done, len(changes))
    of_map = np.reshape(drops[len(edges) - 1 + N_BANDS :], (-1, N_MAP_BANDS))
    times_s, coarse_times_s = (
        tuple(start_s + (offset + edge) / SAMPLE_RATE for edge in both) for both in (edges, coarse_edges)
    )
    return Explanation(
        label=names[column],
        score=float(scores[column]),
        scores=scorer.label_scores(scores),
        times_s=times_s,
        time_drops=tuple(drops[: len(edges) - 1]),
        bands_hz=tuple(bands),
        band_drops=tuple(drops[len(edges) - 1 : len(edges) - 1 + N_BANDS]),
        map_times_s=coarse_times_s,
        map_bands_hz=tuple(coarse_bands),
        map_drops=tuple(tuple(row) for row in of_map.tolist()),
        n_runs=n_runs,
        file=file,
        channel=channel,
        model=f"{scorer.spec.name} {scorer.spec.version}",
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """What is scored in one run: the clip, or a window of a longer recording."""

    start: int
    end: int
    weight: int
    """In the mean of the probabilities: frames of speech that it speaks for."""
    logits: Floats


def _score_parts(scorer: Scorer, x: Floats, *, vad: bool) -> list[_Part]:
    """Score a recording as `ClipPredictor` does, and keep which spans were scored.

    They are found once: a detector that ran on the occluded sound would cut it in other places.
    """
    reader = RecordingReader(scorer, vad=vad)
    windows = [*reader.push(x), *reader.flush()]
    if (reason := find_reason(reader.quality())) in ("silence", "too_short"):
        raise AudioValueError(f"there is nothing to explain: {reason}; expected speech of some length")
    if reader.clip_span is not None:
        start, end = reader.clip_span
        return [_Part(start, end, 1, scorer.score(x[start:end]).logits)]
    parts: list[_Part | None] = []
    for window in windows:
        if window.sound is not None:
            scored = scorer.score_window(window)
            start, end = (window.start + edge for edge in scorer.find_scored_span(window))
            parts.append(None if scored is None else _Part(start, end, 0, scored.logits))
        if parts and (last := parts[-1]) is not None:
            parts[-1] = replace(last, weight=last.weight + window.n_speech)
    found = [part for part in parts if part is not None and part.weight]
    if not found:
        raise AudioValueError("there is nothing to explain: no_speech; expected speech of some length")
    return found


def _pool(scorer: Scorer, parts: Sequence[_Part]) -> Doubles:
    """Probabilities ``(n_labels,)``: the mean over the parts by their speech, as of `MeanPool`."""
    if len(parts) == 1:
        return scorer.probabilities(parts[0].logits)
    total = sum(part.weight * scorer.probabilities(part.logits) for part in parts)
    pooled: Doubles = np.asarray(total) / np.sum(total)
    return pooled


def _log_odds(scorer: Scorer, parts: Sequence[_Part], column: int) -> float:
    """Logarithm of ``p / (1 - p)`` of a label, p of the mean over the parts, without rounding near 1."""
    z = np.stack([part.logits for part in parts]).astype(np.float64) / scorer.spec.temperature
    logs = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    logs += np.log([[part.weight] for part in parts])
    others = np.delete(logs, column, axis=1)
    return float(np.logaddexp.reduce(logs[:, column]) - np.logaddexp.reduce(others, axis=None))


class _Occlusion:
    """What has to be subtracted from a clip ``(n,)`` to remove parts of it."""

    def __init__(self, clip: Floats) -> None:
        self._n = len(clip)
        # Frames reach over both ends, so that all samples are in four of them.
        padded = np.pad(clip.astype(np.float64), (_N_FFT, 2 * _N_FFT))
        frames = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::_STEP]
        self._spectra = np.fft.rfft(frames * _WINDOW, axis=1)
        self._centres = np.arange(len(frames)) * _STEP - _N_FFT // 2
        self._hz = np.fft.rfftfreq(_N_FFT, 1 / SAMPLE_RATE)
        inside = (self._centres >= 0) & (self._centres < self._n)
        level = np.quantile(np.abs(self._spectra[inside]), NOISE_QUANTILE, axis=0)
        # With the phases of the sound, speech would be intelligible even in noise.
        phases = np.random.default_rng(0).uniform(0, 2 * np.pi, self._spectra.shape)
        louder = np.abs(self._spectra) > level
        self._above_noise = np.where(louder, self._spectra - level * np.exp(1j * phases), 0)

    def to_noise(self, span: tuple[int, int], band_hz: tuple[float, float]) -> Floats:
        """What makes a band of a span of samples as quiet as the noise: ``(n,)``, 0 where it is already."""
        # The first and the last part include the frames whose centres are outside of the clip.
        start = -_N_FFT if span[0] == 0 else span[0]
        end = self._n + 2 * _N_FFT if span[1] == self._n else span[1]
        rows = np.flatnonzero((self._centres >= start) & (self._centres < end))
        return self._synthesize(self._above_noise, rows, band_hz)

    def remove_band(self, band_hz: tuple[float, float]) -> Floats:
        """What is in a band: ``(n,)``."""
        return self._synthesize(self._spectra, np.arange(len(self._spectra)), band_hz)

    def _synthesize(
        self, spectra: NDArray[np.complex128], rows: Ints, band_hz: tuple[float, float]
    ) -> Floats:
        low_hz, high_hz = band_hz
        top_hz = high_hz if high_hz < SAMPLE_RATE / 2 else np.inf  # the last band includes half the rate
        kept = np.where((self._hz >= low_hz) & (self._hz < top_hz), spectra[rows], 0)
        pieces = np.fft.irfft(kept, _N_FFT, axis=1) * (_WINDOW / _GAIN)
        sound: Doubles = np.zeros(len(self._spectra) * _STEP + _N_FFT)
        for row, piece in zip(rows, pieces, strict=True):
            sound[row * _STEP : row * _STEP + _N_FFT] += piece
        return sound[_N_FFT : _N_FFT + self._n].astype(np.float32)


def _divide(n: int, cell_s: float, most: int) -> list[int]:
    """Edges of parts of equal length, ``cell_s`` or more, of ``n`` samples."""
    n_cells = int(np.clip(n // round(cell_s * SAMPLE_RATE), 1, most))
    return [round(n * i / n_cells) for i in range(n_cells + 1)]


def _mel_bands(n: int) -> list[float]:
    """Edges in Hz of ``n`` bands from 0 to half the rate, evenly spaced on the mel scale."""
    edges: list[float] = stft.mel_to_hz(
        np.linspace(0, stft.hz_to_mel(np.array(SAMPLE_RATE / 2)), n + 1)
    ).tolist()
    return edges
