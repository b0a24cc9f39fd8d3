"""The front end of the default model: low-level descriptors and functionals, computed inside the graph.

It maps a waveform to one vector. Descriptors every 10 ms: 40 log-mel bands, 15 MFCCs, energy, voicing, log F0
and seven measures of spectral shape. Functionals over the active frames (within 32 dB of the loudest) and the
voiced ones: mean, deviation, quantiles, skewness, slope, the same of the deltas, pauses, rate and the
modulation spectrum of the energy envelope.

It follows openSMILE (Eyben et al., 2010; Schuller et al., ComParE 2013) and eGeMAPS (Eyben et al., 2016);
pitch is the peak of the normalised autocorrelation, divided by the window's own autocorrelation, with a cost
per octave (Boersma, 1993).

Gain does not change the output: the waveform is scaled to unit RMS first, and every floor is relative to the
clip's own maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from emovox.audio import SAMPLE_RATE
from emovox.audio.stft import mel_filters
from emovox.nets.folded_stft import BandPower, FoldedFrames, FullPower
from emovox.nets.layers import (
    LARGE,
    frame_mask,
    masked_max,
    masked_quantiles,
)

__all__ = ["LN10", "MODULATION_HZ", "QUANTILES", "FrontEnd", "FrontEndConfig"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MODULATION_HZ = (0.4, 1.0, 2.0, 3.0, 4.5, 6.5, 10.0, 16.0, 30.0)
LN10 = math.log(10.0)
FLOOR = 1e-8
"""Least power; a clip has unit RMS."""


@dataclass(frozen=True)
class FrontEndConfig:
    """Frame settings in samples at 16 kHz, ranges in Hz, floors in dB."""

    sample_rate: int = SAMPLE_RATE
    hop: int = 160
    window: int = 400
    n_fft: int = 512
    pitch_window: int = 640
    pitch_n_fft: int = 1024
    pitch_top_hz: float = 1500.0
    f0_min_hz: float = 60.0
    f0_max_hz: float = 500.0
    n_lags: int = 192
    octave_cost: float = 0.04
    """Extra correlation that a pitch an octave lower needs, since a periodic sound repeats there, too."""
    n_mels: int = 40
    mel_min_hz: float = 60.0
    mel_max_hz: float = 7600.0
    n_mfcc: int = 15
    active_db: float = 32.0
    floor_db: float = 70.0
    voiced: float = 0.5
    lags: tuple[int, ...] = ()
    """Lags in frames of the correlations between descriptors; none in version 1."""
    quantile_step: int = 1
    """Quantiles use every n-th frame only: sorting is the most expensive part of the graph."""
    delta_quantiles: bool = True
    """Whether deltas have quantiles; True in version 1."""


class FrontEnd(nn.Module):
    """``waveform (b, n)`` and ``lengths (b,)`` -> ``(b, n_out)`` float32."""

    mel: Tensor
    summed: Tensor
    dct: Tensor
    log_f0: Tensor
    autocorrelation: Tensor
    modulation: Tensor

    def __init__(self, config: FrontEndConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or FrontEndConfig()
        self.fold = FoldedFrames(c.pitch_window, c.hop)
        self.spectrum = FullPower(c.pitch_window, c.window, c.n_fft)
        self.low_bin = 3
        self.high_bin = int(c.pitch_top_hz * c.pitch_n_fft / c.sample_rate)
        self.pitch_spectrum = BandPower(c.pitch_window, c.pitch_n_fft, self.low_bin, self.high_bin)
        mel = mel_filters(c.sample_rate, c.n_fft, c.n_mels, c.mel_min_hz, c.mel_max_hz, unit_area=True)
        self.register_buffer("mel", torch.from_numpy(mel.T.copy()), persistent=False)
        self.register_buffer("summed", _make_bin_weights(c, self.mel), persistent=False)
        self.register_buffer("dct", _make_dct(c.n_mels, c.n_mfcc), persistent=False)
        f0, autocorrelation = _make_autocorrelation(c, self.low_bin, self.high_bin)
        self.register_buffer("log_f0", torch.log2(f0 / 100.0), persistent=False)
        self.register_buffer("autocorrelation", autocorrelation, persistent=False)
        self.register_buffer("modulation", _make_modulation_waves(c), persistent=False)
        self.n_out = len(self.names())

    # -- descriptors -------------------------------------------------------------------------------

    def _normalize_level(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Zero mean and unit RMS over the samples that exist; ``(b, n)``."""
        number = torch.arange(waveform.shape[1], dtype=torch.int32, device=waveform.device)
        mask = (number < lengths[:, None].int()).to(waveform.dtype)
        n = lengths.clamp(min=1)[:, None].to(waveform.dtype)
        x = (waveform - (waveform * mask).sum(1, keepdim=True) / n) * mask
        rms = ((x * x).sum(1, keepdim=True) / n).sqrt()
        return x / rms.clamp(min=1e-9)

    def n_frames(self, lengths: Tensor) -> Tensor:
        """Whole frames in ``lengths`` samples, at least one."""
        c = self.config
        return torch.div(lengths - c.pitch_window, c.hop, rounding_mode="floor").clamp(min=0) + 1

    def descriptors(self, waveform: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Low-level descriptors: ``mask (b, t)`` and series ``(b, t)`` or ``(b, t, d)``."""
        c = self.config
        x = self._normalize_level(waveform, lengths)
        # Even the shortest clip has a few (masked) frames, so that differences can be taken.
        missing = torch.sym_max(c.pitch_window + 4 * c.hop - x.shape[1], 0)  # type: ignore[no-untyped-call]
        x = nn.functional.pad(x, (0, missing))
        even, odd = self.fold(x)
        low, high = self.spectrum(even, odd)
        mask = frame_mask(low, self.n_frames(lengths))

        sums = low @ self.summed[0] + high @ self.summed[1]
        mel = sums[..., : c.n_mels]
        energy = _log(mel.sum(2))
        log_mel = _log(mel)
        floor = masked_max(log_mel.amax(2), mask) - c.floor_db / 10 * LN10
        log_mel = torch.maximum(log_mel, floor[:, None, None])

        pitch_power = self.pitch_spectrum(even, odd)
        r = pitch_power @ self.autocorrelation / pitch_power.sum(2, keepdim=True).clamp(min=1e-9)
        lag = (r + c.octave_cost * self.log_f0).argmax(2)
        return {
            "mask": mask,
            "energy": energy,
            "log_mel": log_mel,
            "mfcc": log_mel @ self.dct,
            "voicing": r.amax(2),
            "log_f0": self.log_f0[lag],
            "shape": self._compute_shape(low, high, sums[..., c.n_mels :], log_mel),
        }

    def _compute_shape(self, low: Tensor, high: Tensor, sums: Tensor, log_mel: Tensor) -> Tensor:
        """Spectral centroid, spread, alpha ratio, Hammarberg index, treble share, flux, flatness.

        ``low`` and ``high`` are the halves of `FullPower`, ``sums (b, t, 7)`` what `_make_bin_weights` sums
        after the mel bands.
        """
        c = self.config
        total, moments, bands = sums[..., :1], sums[..., 1:3], _log(sums[..., 3:])
        centroid, second = (moments / total.clamp(min=1e-9)).unbind(2)
        spread = (second - centroid * centroid).clamp(min=0).sqrt()
        two, five = (round(hz * c.n_fft / c.sample_rate) for hz in (2000, 5000))
        upper = high[..., c.n_fft // 2 - five + 1 : c.n_fft // 4]
        high_peak = torch.maximum(low[..., two:].amax(2), upper.amax(2))
        step = log_mel[:, 1:] - log_mel[:, :-1]
        flux = (step * step).mean(2).sqrt()
        n_bins = c.n_fft // 2 + 1
        # The sum of the logarithms of all bins, two bins in one; the last of both halves is the same bin.
        pairs = torch.log(low.clamp(min=FLOOR) * high.clamp(min=FLOOR))
        logs = pairs.sum(2) - _log(low[..., -1])
        return torch.stack(
            [
                torch.log(centroid + 1),
                torch.log(spread + 1),
                bands[..., 0] - bands[..., 1],
                _log(low[..., :two].amax(2)) - _log(high_peak),
                bands[..., 2] - bands[..., 3],
                nn.functional.pad(flux, (1, 0)),
                logs / n_bins - _log(total[..., 0] / n_bins),
            ],
            dim=2,
        )

    # -- functionals -------------------------------------------------------------------------------

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        d = self.descriptors(waveform, lengths)
        is_active, span = self._find_active(d["energy"], d["mask"])
        active = _Frames(is_active)
        level = active.mean(d["energy"][..., None])
        energy = d["energy"][..., None] - level
        timbre = torch.cat([d["mfcc"], energy, d["voicing"][..., None], d["shape"]], 2)
        series = torch.cat([d["log_mel"] - level, timbre], 2)
        voiced = _Frames(is_active & (d["voicing"] > self.config.voiced))

        f0 = d["log_f0"][..., None]
        # Relative to the clip's mean pitch; unvoiced frames have none, hence no step to or from them.
        f0 = torch.where(voiced.mask[..., None], f0 - voiced.mean(f0), 0.0)
        delta, delta_mask = _compute_delta(series, is_active, span)
        moving = _Frames(delta_mask)
        return torch.cat(
            [
                *self._compute_statistics(series, active),
                *moving.moments(delta.abs())[:2],
                *self._compute_statistics(delta, moving, quantiles=self.config.delta_quantiles)[1:],
                *voiced.moments(timbre)[:2],
                *self._compute_pitch(d["log_f0"], voiced),
                self._compute_rhythm(energy[..., 0], is_active, span, voiced.mask)[:, None],
                *self._compute_lagged(torch.cat([timbre, f0], 2), active),
            ],
            dim=2,
        )[:, 0]

    def _find_active(self, energy: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the active frames, and all frames from the first of them to the last."""
        threshold = masked_max(energy, mask) - self.config.active_db / 10 * LN10
        active = mask & (energy >= threshold[:, None])
        t = torch.arange(energy.shape[1], device=energy.device).to(energy.dtype)[None]
        first = torch.where(active, t, LARGE).amin(1, keepdim=True)
        last = torch.where(active, t, -LARGE).amax(1, keepdim=True)
        return active, (t >= first) & (t <= last)

    def _compute_statistics(self, z: Tensor, frames: _Frames, quantiles: bool = True) -> list[Tensor]:
        mean, std, skew = frames.moments(z)
        step = self.config.quantile_step
        found = []
        if quantiles:
            found = [masked_quantiles(z[:, ::step], frames.mask[:, ::step], QUANTILES)[:, None]]
        return [mean, std, *found, skew, frames.slope(z - mean)]

    def _compute_pitch(self, log_f0: Tensor, voiced: _Frames) -> list[Tensor]:
        """Functionals of log F0 (octaves around 100 Hz) and of its steps within voiced stretches."""
        step = (log_f0[:, 1:] - log_f0[:, :-1]) * 10
        # A quarter of an octave in 10 ms is an error of the pitch tracker, not a movement of the pitch.
        smooth = _Frames(voiced.mask[:, 1:] & voiced.mask[:, :-1] & (step.abs() < 2.5))
        return [
            *self._compute_statistics(log_f0[..., None], voiced),
            *self._compute_statistics(step[..., None], smooth),
            *smooth.moments(step.abs()[..., None])[:2],
        ]

    def _compute_rhythm(self, energy: Tensor, active: Tensor, span: Tensor, voiced: Tensor) -> Tensor:
        """Return duration, energy peaks per second, shares, voiced segments, modulation spectrum."""
        hop_s = self.config.hop / self.config.sample_rate
        inside = span.to(energy.dtype)
        n = inside.sum(1)
        seconds = n * hop_s
        energy = energy * inside

        def five_frames(z: Tensor) -> Tensor:
            return nn.functional.avg_pool1d(z[:, None], 5, 1, 2, count_include_pad=True)[:, 0]

        smooth = five_frames(energy) / five_frames(inside).clamp(min=0.1)
        here = smooth[:, 1:-1]
        peak = (here > smooth[:, :-2]) & (here >= smooth[:, 2:]) & (here > -1) & span[:, 2:] & span[:, :-2]
        voice = voiced.to(energy.dtype)
        runs = (voice > nn.functional.pad(voice, (1, 0))[:, :-1]).to(energy.dtype).sum(1)
        rhythm = torch.stack(
            [
                torch.log(seconds + 0.01),
                peak.to(energy.dtype).sum(1) / seconds.clamp(min=0.05),
                active.to(energy.dtype).sum(1) / n.clamp(min=1),
                voice.sum(1) / n.clamp(min=1),
                runs / seconds.clamp(min=0.05),
                voice.sum(1) / runs.clamp(min=1) * hop_s,
            ],
            dim=1,
        )
        return torch.cat([rhythm, self._compute_modulation(energy, inside, n)], 1)

    def _compute_lagged(self, z: Tensor, active: _Frames) -> list[Tensor]:
        """Correlations ``(b, 1, d * d)`` of all descriptors with all a few frames earlier, for each lag."""
        mean, std, _ = active.moments(z)
        z = torch.where(active.mask[..., None], (z - mean) / (std + 1e-2), 0.0)
        out = []
        for lag in self.config.lags:
            later = nn.functional.pad(z, (0, 0, 0, lag))[:, lag:]
            out.append((later.transpose(1, 2) @ z).flatten(1)[:, None] / active.n)
        return out

    def _compute_modulation(self, energy: Tensor, inside: Tensor, n: Tensor) -> Tensor:
        """Log power of the energy envelope in eight bands of modulation frequency."""
        mean = (energy * inside).sum(1, keepdim=True) / n.clamp(min=1)[:, None]
        place = inside.cumsum(1) * inside
        hann = (0.5 - 0.5 * torch.cos(2 * math.pi * place / n.clamp(min=1)[:, None])) * inside
        envelope = (energy - mean).clamp(min=-4) * hann
        power, grid = self._envelope_power(envelope), _make_modulation_grid()
        bands = [power[:, (grid >= low) & (grid < high)].mean(1) for low, high in pairwise(MODULATION_HZ)]
        return torch.log(torch.stack(bands, 1) / n.clamp(min=1)[:, None] + 1e-3)

    def _envelope_power(self, envelope: Tensor) -> Tensor:
        """Power ``(b, n_grid)`` of an envelope ``(b, t)`` at the frequencies of the grid.

        Block by block, each with the phase at which the wave enters it, so that one table serves any length.
        """
        size = self.modulation.shape[0]
        blocks = nn.functional.pad(envelope, (0, -envelope.shape[1] % size))
        blocks = blocks.reshape(blocks.shape[0], -1, size)
        cosine, sine = (blocks @ self.modulation).chunk(2, dim=2)
        hop_s = self.config.hop / self.config.sample_rate
        start_s = torch.arange(blocks.shape[1], device=envelope.device) * (size * hop_s)
        phase = 2 * math.pi * start_s[:, None] * _make_modulation_grid().to(envelope)
        turned_cosine, turned_sine = torch.cos(phase), torch.sin(phase)
        real = (cosine * turned_cosine - sine * turned_sine).sum(1)
        return real**2 + (cosine * turned_sine + sine * turned_cosine).sum(1) ** 2

    # -- names -------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """A name for each output column, in order."""
        c = self.config
        shape = ["centroid", "spread", "alpha", "hammarberg", "treble", "flux", "flatness"]
        timbre = [*(f"mfcc{i + 1}" for i in range(c.n_mfcc)), "energy", "voicing", *shape]
        series = [*(f"mel{i}" for i in range(c.n_mels)), *timbre]
        quantiles = [f"q{round(q * 100):02d}" for q in QUANTILES]
        tail = ["std", *quantiles, "skew", "slope"]
        delta_tail = tail if c.delta_quantiles else ["std", "skew", "slope"]
        names = [f"{s}_{f}" for f in ["mean", *tail] for s in series]
        names += [f"{s}_absdelta_{f}" for f in ("mean", "std") for s in series]
        names += [f"{s}_delta_{f}" for f in delta_tail for s in series]
        names += [f"{s}_voiced_{f}" for f in ("mean", "std") for s in timbre]
        names += [f"{s}_{f}" for s in ("log_f0", "f0_step") for f in ["mean", *tail]]
        names += ["f0_step_abs_mean", "f0_step_abs_std"]
        names += ["log_seconds", "peaks_a_s", "active", "voiced", "voiced_runs_a_s", "voiced_run_s"]
        names += [f"modulation{i}" for i in range(len(MODULATION_HZ) - 1)]
        moving = [*timbre, "log_f0"]
        return [*names, *(f"{a}_{b}_lag{lag}" for lag in c.lags for a in moving for b in moving)]


class _Frames:
    """Frames that count, ``mask (b, t)``, and statistics over them of ``z (b, t, d)``, each ``(b, 1, d)``.

    As `masked_moments` and `masked_slope`, but what depends on the mask alone is computed once: the graph of
    a clip of 3 s has so few operations per node that each node counts.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        m = mask[:, None].to(torch.float32)
        n = m.sum(2, keepdim=True)
        self.n = n.clamp(min=1)
        self._weights = m / self.n
        position = ((m.cumsum(2) - 1) / (n - 1).clamp(min=1) * 2 - 1) * m
        position = position - position.sum(2, keepdim=True) * self._weights
        self._slope = position * (2 / (position * position).sum(2, keepdim=True).clamp(min=1e-3))

    def mean(self, z: Tensor) -> Tensor:
        return self._weights @ z

    def moments(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean, standard deviation and skewness."""
        mean = self.mean(z)
        centred = z - mean
        squares = centred * centred
        std = self.mean(squares).clamp(min=1e-10).sqrt()
        scale = std + 1e-3
        return mean, std, self.mean(squares * centred) / (scale * scale * scale)

    def slope(self, centred: Tensor) -> Tensor:
        """Return the least-squares slope per whole length of ``centred``, which has a mean of 0."""
        return self._slope @ centred


def _log(z: Tensor) -> Tensor:
    # A floor, not an added epsilon: the exporter takes ``+ 1e-8`` for ``+ 0`` and drops it.
    return torch.log(z.clamp(min=FLOOR))


def _compute_delta(z: Tensor, active: Tensor, span: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences over two hops, and where both neighbours exist."""
    delta = nn.functional.pad(z[:, 2:] - z[:, :-2], (0, 0, 1, 1))
    inner = nn.functional.pad(span[:, 2:] & span[:, :-2], (1, 1))
    return delta, active & inner


def _make_bin_weights(c: FrontEndConfig, mel: Tensor) -> Tensor:
    """Weights of the sums over bins, in the halves of `FullPower`: ``(2, n_fft / 4 + 1, n_mels + 7)``.

    The columns are the mel bands, all bins, frequency in Hz and its square, and the bands of the ratios.
    """
    hz = torch.arange(c.n_fft // 2 + 1) * (c.sample_rate / c.n_fft)
    bands = ((50, 1000), (1000, 5000), (4000, 8000), (50, 4000))
    shares = [((hz >= low) & (hz < high)).float() for low, high in bands]
    whole = torch.cat([mel, torch.stack([torch.ones_like(hz), hz, hz**2, *shares], 1)], 1)
    half = c.n_fft // 4 + 1
    upper = whole[half - 1 :].flip(0).clone()
    upper[-1] = 0  # the bin in the middle is in both halves
    return torch.stack([whole[:half], upper])


def _make_modulation_grid() -> Tensor:
    """Hz of the envelope's waves."""
    return torch.arange(0.4, 30.0, 0.2)


def _make_modulation_waves(c: FrontEndConfig, size: int = 64) -> Tensor:
    """Cosines, then sines, of the grid over a block of frames: ``(size, 2 * n_grid)``."""
    t = torch.arange(size, dtype=torch.float64) * (c.hop / c.sample_rate)
    angle = 2 * math.pi * t[:, None] * _make_modulation_grid().double()
    return torch.cat([torch.cos(angle), torch.sin(angle)], 1).float()


def _make_dct(n_mels: int, n_mfcc: int) -> Tensor:
    """DCT-II rows 1..n_mfcc as columns: ``(n_mels, n_mfcc)``. The zeroth would repeat the energy."""
    m = (torch.arange(n_mels, dtype=torch.float64)[:, None] + 0.5) / n_mels
    k = torch.arange(1, n_mfcc + 1, dtype=torch.float64)[None]
    return (torch.cos(math.pi * m * k) * math.sqrt(2.0 / n_mels)).float()


def _make_autocorrelation(c: FrontEndConfig, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Candidate F0s (Hz, log-spaced) and the matrix from power bins to their autocorrelation."""
    octaves = math.log2(c.f0_max_hz / c.f0_min_hz)
    f0 = c.f0_min_hz * 2 ** (torch.arange(c.n_lags, dtype=torch.float64) / c.n_lags * octaves)
    lags = c.sample_rate / f0
    bins = torch.arange(low, high, dtype=torch.float64)[:, None]
    cosines = torch.cos(2 * math.pi * bins * lags[None] / c.pitch_n_fft)
    window = torch.hann_window(c.pitch_window, dtype=torch.float64)
    own = torch.fft.irfft(torch.fft.rfft(window, 4 * c.pitch_n_fft).abs() ** 2)
    whole = lags.floor().long()
    share = lags - whole
    own = (own[whole] * (1 - share) + own[whole + 1] * share) / own[0]
    return f0.float(), (cosines / own).float()
