"""Power spectra by products with matrices of a quarter of the usual size.

Graph runtimes have no common fast Fourier transform, but they multiply matrices well. Two symmetries save
most of the work, exactly. About the middle of a frame cosines are even and sines odd, so the frame is folded
there. And bin ``n_fft/2 - b`` differs from bin ``b`` in the sign of every second sample only, so both come
from the same two sums (the first step of a radix-2 transform: Cooley & Tukey, 1965).

A frame is an even number of hops long.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["BandPower", "FoldedFrames", "FullPower"]


class FoldedFrames(nn.Module):
    """``x (b, n)`` -> even and odd parts of its frames about their middles.

    Each is ``(b, t, 2, length / 4)``: the samples at even distances from the middle, 0, 2, ..., then those at
    odd ones. ``t`` counts whole frames, ``(n - length) // hop + 1``.
    """

    def __init__(self, length: int, hop: int) -> None:
        super().__init__()
        if hop % 2 or length % (2 * hop):
            raise ValueError(f"length {length}, hop {hop}: expected an even number of even hops")
        self.hop, self.n_hops = hop, length // (2 * hop)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        m = x.shape[1] // self.hop
        # Distance k from the middle is at k after it, and at k - 1 before the sample in front of it. The last
        # hop is in front of no middle.
        n, t = self.n_hops, m - 2 * self.n_hops + 1
        after = self._split_hops(x, self.hop * n, m - n)
        before = self._split_hops(x, 1, m - n, backwards=True)
        pairs = [(after[:, i : i + t], before[:, n - 1 - i : n - 1 - i + t]) for i in range(n)]
        return torch.cat([a + b for a, b in pairs], 3), torch.cat([a - b for a, b in pairs], 3)

    def _split_hops(self, x: Tensor, start: int, m: int, backwards: bool = False) -> Tensor:
        """``(b, n)`` -> ``(b, m, 2, hop / 2)``: the even samples of each hop before its odd ones."""
        x = x[:, start : start + m * self.hop].reshape(x.shape[0], m, self.hop)
        if backwards:
            x = x.flip(2)
        return x.reshape(x.shape[0], m, self.hop // 2, 2).transpose(2, 3)


class BandPower(nn.Module):
    """Power ``(b, t, high - low)`` of bins ``low .. high - 1``, under a Hann window as long as a frame."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, length: int, n_fft: int, low: int, high: int) -> None:
        super().__init__()
        cosines, sines = _make_kernels(length, length, n_fft, low, high)
        self.register_buffer("cosines", cosines.flatten(0, 1), persistent=False)
        self.register_buffer("sines", sines.flatten(0, 1), persistent=False)

    def forward(self, even: Tensor, odd: Tensor) -> Tensor:
        return _square(even.flatten(2) @ self.cosines) + _square(odd.flatten(2) @ self.sines)


class FullPower(nn.Module):
    """Power of all bins of folded frames, under a Hann window of ``window`` samples in the middle.

    In two halves: bins 0 to ``n_fft / 4`` ``(b, t, n_fft / 4 + 1)``, and those above in descending order,
    with ``n_fft / 4`` again as the last: entry ``i`` is bin ``n_fft / 2 - i``.
    """

    cosines: Tensor
    sines: Tensor

    def __init__(self, length: int, window: int, n_fft: int) -> None:
        super().__init__()
        cosines, sines = _make_kernels(length, window, n_fft, 0, n_fft // 4 + 1)
        self.n = math.ceil(window / 4)
        self.register_buffer("cosines", cosines[:, : self.n].contiguous(), persistent=False)
        self.register_buffer("sines", sines[:, : self.n].contiguous(), persistent=False)

    def forward(self, even: Tensor, odd: Tensor) -> tuple[Tensor, Tensor]:
        n = self.n
        real = [even[:, :, i, :n] @ self.cosines[i] for i in (0, 1)]
        imaginary = [odd[:, :, i, :n] @ self.sines[i] for i in (0, 1)]
        low = _square(real[0] + real[1]) + _square(imaginary[0] + imaginary[1])
        return low, _square(real[0] - real[1]) + _square(imaginary[0] - imaginary[1])


def _square(z: Tensor) -> Tensor:
    # Runtimes compute a power of two as a power, which takes twice as long as a product.
    return z * z


def _make_kernels(length: int, window: int, n_fft: int, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Windowed cosines and sines by distance from the middle, each ``(2, length / 4, high - low)``."""
    k = torch.arange(length // 2, dtype=torch.float64)
    hann = torch.where(k < window / 2, 0.5 + 0.5 * torch.cos(2 * math.pi * k / window), 0.0)
    angle = 2 * math.pi * k[:, None] * torch.arange(low, high, dtype=torch.float64) / n_fft
    cosines, sines = torch.cos(angle) * hann[:, None], torch.sin(angle) * hann[:, None]
    cosines[0] /= 2  # the middle itself is folded onto itself
    return tuple(torch.stack([part[::2], part[1::2]]).float() for part in (cosines, sines))  # type: ignore[return-value]
