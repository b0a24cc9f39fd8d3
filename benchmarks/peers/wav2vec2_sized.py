"""A net of the size of wav2vec2-base with random weights: what such an encoder costs.

Seven convolutions of 512 channels (320 samples a frame), a grouped positional convolution, 12 transformer
layers of 768 with 12 heads and 3072 in between: 94 M parameters, as in Baevski et al. 2020, table 6 (base).
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Wav2Vec2Sized"]

CONVOLUTIONS = [(10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2]
"""(kernel, stride) of each."""


class Wav2Vec2Sized(nn.Module):
    """Waveform (b, n) at 16 kHz -> (b, n_labels)."""

    def __init__(self, n_labels: int = 8, width: int = 768, n_layers: int = 12) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (kernel, stride) in enumerate(CONVOLUTIONS):
            layers.append(nn.Conv1d(1 if i == 0 else 512, 512, kernel, stride, bias=False))
            layers += [nn.GroupNorm(512, 512)] if i == 0 else []
            layers.append(nn.GELU())
        self.front = nn.Sequential(*layers)
        self.project = nn.Sequential(nn.LayerNorm(512), nn.Linear(512, width))
        self.position = nn.Conv1d(width, width, 128, padding=64, groups=16)
        layer = nn.TransformerEncoderLayer(width, 12, 4 * width, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, n_layers)
        self.head = nn.Linear(width, n_labels)

    def forward(self, waveform: Tensor) -> Tensor:
        """Mean over time, then the head."""
        x = self.project(self.front(waveform[:, None]).transpose(1, 2))
        x = x + nn.functional.gelu(self.position(x.transpose(1, 2))[..., :-1]).transpose(1, 2)
        return self.head(self.encoder(x).mean(dim=1))
