"""A front end of low-level descriptors and functionals, wholly inside the graph.

Waveform in, one vector a clip out. Descriptors every 10 ms: 40 log-mel bands, 15 MFCCs, energy,
voicing, log F0 and seven numbers of spectral shape. Functionals over the frames that carry sound
(within 32 dB of the loudest) and over the voiced ones: mean, deviation, quantiles, skewness, slope, the
same of the deltas, pauses, rate and the spectrum of the energy envelope's modulation.

The idea is openSMILE's (Eyben et al., 2010; Schuller et al., ComParE 2013) and eGeMAPS's (Eyben et al.,
2016); pitch is the peak of the normalised autocorrelation with the window's own autocorrelation divided
out and a price for each octave down (Boersma, 1993). The sets and the code are ours.

A constant gain never changes the answer: the sound is brought to unit RMS first, and every floor is
relative to the clip's own maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from emovox.nets.blocks import (
    BIG,
    frame_mask,
    masked_max,
    masked_mean,
    masked_moments,
    masked_quantiles,
    masked_slope,
)

__all__ = ["LN10", "MODULATION_HZ", "QUANTILES", "Functionals", "FunctionalsConfig"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MODULATION_HZ = (0.4, 1.0, 2.0, 3.0, 4.5, 6.5, 10.0, 16.0, 30.0)
LN10 = math.log(10.0)


@dataclass(frozen=True)
class FunctionalsConfig:
    """Frame settings in samples at 16 kHz, ranges in Hz, floors in dB."""

    sample_rate: int = 16_000
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
    """How much more correlation a pitch an octave lower must show: what is periodic repeats there too."""
    n_mels: int = 40
    mel_min_hz: float = 60.0
    mel_max_hz: float = 7600.0
    n_mfcc: int = 15
    active_db: float = 32.0
    floor_db: float = 70.0
    voiced: float = 0.5
    lags: tuple[int, ...] = ()
    """Frames between two descriptors whose correlation is taken; none in the sets of version 1."""


class Functionals(nn.Module):
    """``waveform (b, n)`` and ``lengths (b,)`` -> ``(b, n_out)`` float32."""

    dft: Tensor
    pitch_dft: Tensor
    mel: Tensor
    dct: Tensor
    log_f0: Tensor
    autocorrelation: Tensor
    hz: Tensor
    bands: Tensor

    def __init__(self, config: FunctionalsConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or FunctionalsConfig()
        self.register_buffer("dft", _dft_kernels(c.window, c.n_fft, 0, c.n_fft // 2 + 1), persistent=False)
        self.low_bin = 3
        self.high_bin = int(c.pitch_top_hz * c.pitch_n_fft / c.sample_rate)
        self.register_buffer(
            "pitch_dft",
            _dft_kernels(c.pitch_window, c.pitch_n_fft, self.low_bin, self.high_bin),
            persistent=False,
        )
        self.register_buffer("mel", _mel_filters(c), persistent=False)
        self.register_buffer("dct", _dct(c.n_mels, c.n_mfcc), persistent=False)
        f0, autocorrelation = _autocorrelation(c, self.low_bin, self.high_bin)
        self.register_buffer("log_f0", torch.log2(f0 / 100.0), persistent=False)
        self.register_buffer("autocorrelation", autocorrelation, persistent=False)
        hz = torch.arange(c.n_fft // 2 + 1) * (c.sample_rate / c.n_fft)
        self.register_buffer("hz", hz, persistent=False)
        bands = ((50, 1000), (1000, 5000), (4000, 8000), (50, 4000))
        sums = torch.stack([((hz >= low) & (hz < high)).float() for low, high in bands], 1)
        self.register_buffer("bands", sums, persistent=False)
        self.n_out = len(self.names())

    # -- descriptors -------------------------------------------------------------------------------

    def _normalised(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Zero mean and unit RMS over the samples that exist; ``(b, n)``."""
        mask = frame_mask(lengths, waveform.shape[1]).to(waveform.dtype)
        n = lengths.clamp(min=1)[:, None].to(waveform.dtype)
        x = (waveform - (waveform * mask).sum(1, keepdim=True) / n) * mask
        rms = ((x**2).sum(1, keepdim=True) / n).sqrt()
        return x / rms.clamp(min=1e-9)

    def _power(self, x: Tensor, kernels: Tensor, lead: int) -> Tensor:
        """Power spectrogram ``(b, t, bins)``; ``lead`` samples are skipped so that frames share centres."""
        spectrum = nn.functional.conv1d(x[:, None, lead:], kernels, stride=self.config.hop)
        real, imaginary = spectrum.chunk(2, dim=1)
        return (real**2 + imaginary**2).transpose(1, 2)

    def n_frames(self, lengths: Tensor) -> Tensor:
        """Whole frames in ``lengths`` samples, at least one."""
        c = self.config
        return torch.div(lengths - c.pitch_window, c.hop, rounding_mode="floor").clamp(min=0) + 1

    def descriptors(self, waveform: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Low-level descriptors: ``mask (b, t)`` and series ``(b, t)`` or ``(b, t, d)``."""
        c = self.config
        x = self._normalised(waveform, lengths)
        # However short the sound, there are a few frames (masked) to take differences of.
        x = nn.functional.pad(x, (0, c.pitch_window + 4 * c.hop))
        lead = (c.pitch_window - c.window) // 2
        # Cut the tail so that both transforms give the same number of frames.
        power = self._power(x[:, : x.shape[1] - lead], self.dft, lead)
        pitch_power = self._power(x, self.pitch_dft, 0)
        mask = frame_mask(self.n_frames(lengths), power.shape[1])

        mel = power @ self.mel
        energy = _log(mel.sum(2))
        log_mel = _log(mel)
        floor = masked_max(log_mel.amax(2), mask) - c.floor_db / 10 * LN10
        log_mel = torch.maximum(log_mel, floor[:, None, None])

        r = pitch_power @ self.autocorrelation / pitch_power.sum(2, keepdim=True).clamp(min=1e-9)
        lag = (r + c.octave_cost * self.log_f0).argmax(2)
        return {
            "mask": mask,
            "energy": energy,
            "log_mel": log_mel,
            "mfcc": log_mel @ self.dct,
            "voicing": r.amax(2),
            "log_f0": self.log_f0[lag],
            "shape": self._shape(power, log_mel),
        }

    def _shape(self, power: Tensor, log_mel: Tensor) -> Tensor:
        """Spectral centroid, spread, alpha ratio, Hammarberg index, treble share, flux, flatness."""
        share = power / power.sum(2, keepdim=True).clamp(min=1e-9)
        centroid = share @ self.hz
        spread = ((share @ self.hz**2) - centroid**2).clamp(min=0).sqrt()
        band = _log(power @ self.bands)
        bin_hz = self.config.sample_rate / self.config.n_fft
        two, five = round(2000 / bin_hz), round(5000 / bin_hz)
        low_peak, high_peak = power[..., :two].amax(2), power[..., two:five].amax(2)
        flux = ((log_mel[:, 1:] - log_mel[:, :-1]) ** 2).mean(2).sqrt()
        return torch.stack(
            [
                torch.log(centroid + 1),
                torch.log(spread + 1),
                band[..., 0] - band[..., 1],
                _log(low_peak) - _log(high_peak),
                band[..., 2] - band[..., 3],
                nn.functional.pad(flux, (1, 0)),
                _log(power).mean(2) - _log(power.mean(2)),
            ],
            dim=2,
        )

    # -- functionals -------------------------------------------------------------------------------

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        d = self.descriptors(waveform, lengths)
        active, span = self._active(d["energy"], d["mask"])
        level = masked_mean(d["energy"][..., None], active)[:, None]
        energy = d["energy"][..., None] - level
        timbre = torch.cat([d["mfcc"], energy, d["voicing"][..., None], d["shape"]], 2)
        series = torch.cat([d["log_mel"] - level, timbre], 2)
        voiced = active & (d["voicing"] > self.config.voiced)

        f0 = d["log_f0"][..., None]
        # Around the voice's own pitch, and no step where it is silent.
        f0 = torch.where(voiced[..., None], f0 - masked_mean(f0, voiced)[:, None], 0.0)
        delta, delta_mask = _delta(series, active, span)
        timbre_mean, timbre_std, _ = masked_moments(timbre, voiced)
        return torch.cat(
            [
                *self._statistics(series, active),
                *masked_moments(delta.abs(), delta_mask)[:2],
                *self._statistics(delta, delta_mask)[1:],
                timbre_mean,
                timbre_std,
                *self._pitch(d["log_f0"], voiced),
                self._rhythm(energy[..., 0], active, span, voiced),
                *self._lagged(torch.cat([timbre, f0], 2), active),
            ],
            dim=1,
        )

    def _active(self, energy: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Frames that carry sound, and all frames from the first of them to the last."""
        threshold = masked_max(energy, mask) - self.config.active_db / 10 * LN10
        active = mask & (energy >= threshold[:, None])
        t = torch.arange(energy.shape[1], device=energy.device).to(energy.dtype)[None]
        first = torch.where(active, t, BIG).amin(1, keepdim=True)
        last = torch.where(active, t, -BIG).amax(1, keepdim=True)
        return active, (t >= first) & (t <= last)

    def _statistics(self, z: Tensor, mask: Tensor) -> list[Tensor]:
        mean, std, skew = masked_moments(z, mask)
        return [mean, std, masked_quantiles(z, mask, QUANTILES), skew, masked_slope(z, mask)]

    def _pitch(self, log_f0: Tensor, voiced: Tensor) -> list[Tensor]:
        """Functionals of log F0 (octaves around 100 Hz) and of its steps within voiced stretches."""
        step = (log_f0[:, 1:] - log_f0[:, :-1]) * 10
        # A step of a quarter octave in 10 ms is an octave error, not a voice.
        smooth = voiced[:, 1:] & voiced[:, :-1] & (step.abs() < 2.5)
        mean_abs, std_abs, _ = masked_moments(step.abs()[..., None], smooth)
        return [
            *self._statistics(log_f0[..., None], voiced),
            *self._statistics(step[..., None], smooth),
            mean_abs,
            std_abs,
        ]

    def _rhythm(self, energy: Tensor, active: Tensor, span: Tensor, voiced: Tensor) -> Tensor:
        """Duration, syllable-like peaks a second, shares, voiced stretches, modulation spectrum."""
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
        return torch.cat([rhythm, self._modulation(energy, inside, n)], 1)

    def _lagged(self, z: Tensor, active: Tensor) -> list[Tensor]:
        """Correlations ``(b, d * d)`` of all descriptors with all a few frames earlier, for each lag."""
        mean, std, _ = masked_moments(z, active)
        z = torch.where(active[..., None], (z - mean[:, None]) / (std[:, None] + 1e-2), 0.0)
        n = active.sum(1).clamp(min=1).to(z.dtype)[:, None]
        out = []
        for lag in self.config.lags:
            later = nn.functional.pad(z, (0, 0, 0, lag))[:, lag:]
            out.append((later.transpose(1, 2) @ z).flatten(1) / n)
        return out

    def _modulation(self, energy: Tensor, inside: Tensor, n: Tensor) -> Tensor:
        """Log power of the energy envelope in eight bands of modulation frequency."""
        hop_s = self.config.hop / self.config.sample_rate
        mean = (energy * inside).sum(1, keepdim=True) / n.clamp(min=1)[:, None]
        place = inside.cumsum(1) * inside
        hann = (0.5 - 0.5 * torch.cos(2 * math.pi * place / n.clamp(min=1)[:, None])) * inside
        envelope = (energy - mean).clamp(min=-4) * hann
        grid = torch.arange(0.4, 30.0, 0.2, device=energy.device, dtype=energy.dtype)
        t = torch.arange(energy.shape[1], device=energy.device).to(energy.dtype) * hop_s
        angle = 2 * math.pi * t[:, None] * grid[None]
        power = (envelope @ torch.cos(angle)) ** 2 + (envelope @ torch.sin(angle)) ** 2
        bands = [power[:, (grid >= low) & (grid < high)].mean(1) for low, high in pairwise(MODULATION_HZ)]
        return torch.log(torch.stack(bands, 1) / n.clamp(min=1)[:, None] + 1e-3)

    # -- names -------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """A name for each output column, in order."""
        c = self.config
        shape = ["centroid", "spread", "alpha", "hammarberg", "treble", "flux", "flatness"]
        timbre = [*(f"mfcc{i + 1}" for i in range(c.n_mfcc)), "energy", "voicing", *shape]
        series = [*(f"mel{i}" for i in range(c.n_mels)), *timbre]
        quantiles = [f"q{round(q * 100):02d}" for q in QUANTILES]
        tail = ["std", *quantiles, "skew", "slope"]
        names = [f"{s}_{f}" for f in ["mean", *tail] for s in series]
        names += [f"{s}_absdelta_{f}" for f in ("mean", "std") for s in series]
        names += [f"{s}_delta_{f}" for f in tail for s in series]
        names += [f"{s}_voiced_{f}" for f in ("mean", "std") for s in timbre]
        names += [f"{s}_{f}" for s in ("log_f0", "f0_step") for f in ["mean", *tail]]
        names += ["f0_step_abs_mean", "f0_step_abs_std"]
        names += ["log_seconds", "peaks_a_s", "active", "voiced", "voiced_runs_a_s", "voiced_run_s"]
        names += [f"modulation{i}" for i in range(len(MODULATION_HZ) - 1)]
        moving = [*timbre, "log_f0"]
        return [*names, *(f"{a}_{b}_lag{lag}" for lag in c.lags for a in moving for b in moving)]


def _log(z: Tensor) -> Tensor:
    # A floor, not an added epsilon: the exporter takes ``+ 1e-8`` for ``+ 0`` and drops it.
    return torch.log(z.clamp(min=1e-8))


def _delta(z: Tensor, active: Tensor, span: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences over two hops, and where both neighbours exist."""
    delta = nn.functional.pad(z[:, 2:] - z[:, :-2], (0, 0, 1, 1))
    inner = nn.functional.pad(span[:, 2:] & span[:, :-2], (1, 1))
    return delta, active & inner


def _dft_kernels(window: int, n_fft: int, low: int, high: int) -> Tensor:
    """Windowed cosines, then sines, of bins ``low..high-1``: ``(2 * bins, 1, window)``."""
    n = torch.arange(window, dtype=torch.float64)
    hann = torch.hann_window(window, dtype=torch.float64)
    angle = 2 * math.pi * torch.arange(low, high, dtype=torch.float64)[:, None] * n / n_fft
    return torch.cat([torch.cos(angle) * hann, torch.sin(angle) * hann])[:, None].float()


def _mel_filters(c: FunctionalsConfig) -> Tensor:
    """Triangles on the mel scale (O'Shaughnessy), area-normalised: ``(bins, n_mels)``."""

    def to_mel(hz: Tensor) -> Tensor:
        return 2595.0 * torch.log10(1.0 + hz / 700.0)

    ends = torch.tensor([c.mel_min_hz, c.mel_max_hz], dtype=torch.float64)
    low, high = to_mel(ends).tolist()
    edges = 700.0 * (10 ** (torch.linspace(low, high, c.n_mels + 2, dtype=torch.float64) / 2595.0) - 1.0)
    hz = torch.arange(c.n_fft // 2 + 1, dtype=torch.float64)[:, None] * (c.sample_rate / c.n_fft)
    rise = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    triangle = torch.minimum(rise, fall).clamp(min=0)
    return (triangle * 2.0 / (edges[2:] - edges[:-2])).float()


def _dct(n_mels: int, n_mfcc: int) -> Tensor:
    """DCT-II rows 1..n_mfcc as columns: ``(n_mels, n_mfcc)``. The zeroth is the energy's business."""
    m = (torch.arange(n_mels, dtype=torch.float64)[:, None] + 0.5) / n_mels
    k = torch.arange(1, n_mfcc + 1, dtype=torch.float64)[None]
    return (torch.cos(math.pi * m * k) * math.sqrt(2.0 / n_mels)).float()


def _autocorrelation(c: FunctionalsConfig, low: int, high: int) -> tuple[Tensor, Tensor]:
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
