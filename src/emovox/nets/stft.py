"""Spectra of overlapping frames by products with matrices a quarter of the usual size.

A graph has no fast Fourier transform that every runtime runs, but it multiplies matrices well. Two symmetries
save most of the work, exactly: about the middle of a frame cosines are even and sines odd, so that a frame is
folded there; and bin ``n_fft/2 - b`` differs from bin ``b`` in the sign of every second sample alone, so that
both come from the same two sums (the first step of a radix-2 transform: Cooley & Tukey, 1965).

Frames are a whole number of hops long, as many before their middle as behind it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Bins", "Fold", "HalfBins"]


class Fold(nn.Module):
    """``x (b, n)`` -> frames folded about their middles: what is even of them, and what is odd.

    Each ``(b, t, 2, length / 4)``: the samples at even distances from the middle, 0, 2, ..., then those at
    odd ones. ``t`` counts whole frames, ``(n - length) // hop + 1``.
    """

    def __init__(self, length: int, hop: int) -> None:
        super().__init__()
        if hop % 2 or length % (2 * hop):
            raise ValueError(f"length {length}, hop {hop}: expected an even number of even hops")
        self.hop, self.n_hops = hop, length // (2 * hop)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        m = x.shape[1] // self.hop
        # Distance k from the middle lies at k behind it, and at k - 1 before the sample in front of it.
        behind = self._blocks(x, m)
        before = self._blocks(nn.functional.pad(x[:, 1:], (0, 1)), m, backwards=True)
        n, t = self.n_hops, m - 2 * self.n_hops + 1
        pairs = [(behind[:, n + i : n + i + t], before[:, n - 1 - i : n - 1 - i + t]) for i in range(n)]
        return torch.cat([a + b for a, b in pairs], 3), torch.cat([a - b for a, b in pairs], 3)

    def _blocks(self, x: Tensor, m: int, backwards: bool = False) -> Tensor:
        """``(b, n)`` -> ``(b, m, 2, hop / 2)``: hops, their samples at even places before the others."""
        x = x[:, : m * self.hop].reshape(x.shape[0], m, self.hop)
        if backwards:
            x = x.flip(2)
        return x.reshape(x.shape[0], m, self.hop // 2, 2).transpose(2, 3)


class Bins(nn.Module):
    """Power ``(b, t, high - low)`` of bins ``low .. high - 1``, under a Hann window as long as a frame."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, length: int, n_fft: int, low: int, high: int) -> None:
        super().__init__()
        cosines, sines = _kernels(length, length, n_fft, low, high)
        self.register_buffer("cosines", cosines.flatten(0, 1), persistent=False)
        self.register_buffer("sines", sines.flatten(0, 1), persistent=False)

    def forward(self, even: Tensor, odd: Tensor) -> Tensor:
        return (even.flatten(2) @ self.cosines) ** 2 + (odd.flatten(2) @ self.sines) ** 2


class HalfBins(nn.Module):
    """Power of all bins of folded frames, of which a Hann window of ``window`` samples shows the middle.

    In two halves: bins 0 to ``n_fft / 4`` ``(b, t, n_fft / 4 + 1)``, and those above, highest first, with
    ``n_fft / 4`` once more as the last: their bin is ``n_fft / 2`` less the place.
    """

    cosines: Tensor
    sines: Tensor

    def __init__(self, length: int, window: int, n_fft: int) -> None:
        super().__init__()
        cosines, sines = _kernels(length, window, n_fft, 0, n_fft // 4 + 1)
        self.n = math.ceil(window / 4)
        self.register_buffer("cosines", cosines[:, : self.n].contiguous(), persistent=False)
        self.register_buffer("sines", sines[:, : self.n].contiguous(), persistent=False)

    def forward(self, even: Tensor, odd: Tensor) -> tuple[Tensor, Tensor]:
        n = self.n
        real = [even[:, :, i, :n] @ self.cosines[i] for i in (0, 1)]
        imaginary = [odd[:, :, i, :n] @ self.sines[i] for i in (0, 1)]
        low = (real[0] + real[1]) ** 2 + (imaginary[0] + imaginary[1]) ** 2
        return low, (real[0] - real[1]) ** 2 + (imaginary[0] - imaginary[1]) ** 2


def _kernels(length: int, window: int, n_fft: int, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Windowed cosines and sines of distances from the middle, each ``(2, length / 4, high - low)``."""
    k = torch.arange(length // 2, dtype=torch.float64)
    hann = torch.where(k < window / 2, 0.5 + 0.5 * torch.cos(2 * math.pi * k / window), 0.0)
    angle = 2 * math.pi * k[:, None] * torch.arange(low, high, dtype=torch.float64) / n_fft
    cosines, sines = torch.cos(angle) * hann[:, None], torch.sin(angle) * hann[:, None]
    cosines[0] /= 2  # the middle itself is folded onto itself
    return tuple(torch.stack([part[::2], part[1::2]]).float() for part in (cosines, sines))  # type: ignore[return-value]
