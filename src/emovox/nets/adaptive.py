"""The net of the models 3 (`default`, `permissive`): frozen Whisper layers, means over time, linear heads.

One graph gives the logits of the labels, the embedding that adaptation needs, and the logit of speech. The
heads are linear in the embedding, so adapting to a source without labels is one subtraction: pass the
source's mean embedding, shrunken, as ``offset``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emovox.nets.whisper import HOP, WhisperEncoder

__all__ = ["AdaptiveConfig", "AdaptiveNet", "measure_levels", "weigh_active", "weigh_levels"]


@dataclass(frozen=True)
class AdaptiveConfig:
    """Settings of `AdaptiveNet`.

    Args:
        n_labels: number of labels.
        layers: hidden states that are pooled; 0 is what enters the transformer.
        active_db: frames this far below the loudest frame have half its weight.
        slope_db: how fast the weight falls there.
    """

    n_labels: int
    layers: tuple[int, ...] = (2, 3, 4)
    active_db: float = 30.0
    slope_db: float = 3.0


class AdaptiveNet(nn.Module):
    """``waveform (b, n)``, ``lengths (b,)``, ``offset (b, d)`` -> logits, embedding and logit of speech.

    The embedding ``(b, d)`` is standardised by the training clips; the offset is subtracted from it before
    the labels' head; zeros adapt nothing. The speech head takes the embedding without the offset: whether a
    sound is speech does not depend on the source.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, encoder: WhisperEncoder, config: AdaptiveConfig) -> None:
        super().__init__()
        self.encoder, self.config = encoder, config
        size = 2 * encoder.config.size * len(config.layers)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.labels_head = nn.Linear(size, config.n_labels)
        self.speech_head = nn.Linear(size, 1)

    def forward(self, waveform: Tensor, lengths: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        embedding = (self.pool(waveform, lengths).flatten(1) - self.mean) * self.scale
        return self.classify(embedding - offset), embedding, self.speech_head(embedding)[:, 0]

    def classify(self, embedding: Tensor) -> Tensor:
        """Compute the logits ``(b, n_labels)`` of an embedding ``(b, d)``, the offset already subtracted.

        They are divided by the root mean square of the embedding: far from the training clips, where it is
        large, predictions are less sure.
        """
        logits: Tensor = self.labels_head(embedding) / embedding.square().mean(1, keepdim=True).sqrt()
        return logits

    def pool(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Average each layer over all frames and over active frames: ``(b, layers, 2, size)``.

        Pauses depend on how the clips of a corpus were cut, but also on how the speaker speaks: the mean over
        active frames is better on some corpora, the mean over all frames on others.
        """
        mel, sounds = self.encoder.log_mel(waveform, lengths)
        states, exists = self.encoder.encode(mel, torch.div(lengths, HOP, rounding_mode="floor"))
        active = weigh_active(mel, sounds, exists, self.config.active_db, self.config.slope_db)
        every = exists / exists.sum(1, keepdim=True)
        weights = torch.stack([every, active], 1)
        return torch.stack([weights @ states[i] for i in self.config.layers], 1)


def weigh_active(mel: Tensor, sounds: Tensor, exists: Tensor, active_db: float, slope_db: float) -> Tensor:
    """Compute weights ``(b, t)`` that sum to 1: high near the level of the loudest frame, low in pauses.

    Args:
        mel: Whisper's log-mel spectrogram ``(b, 2t, n_mels)``.
        sounds: mask ``(b, 2t)`` of its frames within the clip.
        exists: mask ``(b, t)`` of the frames of the encoder.
        active_db: frames this far below the loudest frame have half its weight.
        slope_db: how fast the weight falls there.
    """
    return weigh_levels(measure_levels(mel, sounds), exists, active_db, slope_db)


def measure_levels(mel: Tensor, sounds: Tensor) -> Tensor:
    """Compute the level in dB ``(b, t)`` of the frames of the encoder; arguments as in `weigh_active`."""
    power = (10 ** (mel * 4 - 4)).mean(2) * sounds  # beyond its end a clip has no power
    # The second convolution of the encoder spans three mel frames and keeps every second one.
    power = nn.functional.conv1d(power[:, None], power.new_ones(1, 1, 3), stride=2, padding=1)[:, 0]
    return 10 * power.clamp(min=1e-10).log10()


def weigh_levels(levels: Tensor, exists: Tensor, active_db: float, slope_db: float) -> Tensor:
    """Compute the weights of `weigh_active` from levels in dB ``(b, t)``."""
    levels = torch.where(exists, levels, -1000.0)
    weight = torch.sigmoid((levels - levels.amax(1, keepdim=True) + active_db) / slope_db) * exists
    return weight / weight.sum(1, keepdim=True)
