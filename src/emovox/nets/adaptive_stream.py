"""`AdaptiveNet` for clips and streams: sound that follows earlier sound is encoded once.

A stream is encoded in blocks. A block attends to itself and to the frames in the ``memory`` that the block
before returned, and any frames of both are averaged: overlapping windows share what was encoded. With an
empty memory the net is the `AdaptiveNet` that it was made from.

A row of the memory is all that later blocks need of one frame of the encoder (20 ms): keys and values of each
layer, the states that are pooled, 320 samples of sound (of the last two frames), the level in dB and the
loudest mel value before any gain, and the position that the frame was encoded at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from emovox.errors import ConfigError
from emovox.nets.adaptive import AdaptiveNet, measure_levels, weigh_levels
from emovox.nets.layers import frame_mask
from emovox.nets.whisper import HOP, PAD, Layer, reflect_ends

__all__ = ["BLOCK", "FRAME", "MEMORY", "StreamingNet"]

FRAME = 2 * HOP
"""Samples of a frame of the encoder."""
BLOCK = 50
"""Frames of a block, 1 s. Blocks begin at multiples of this position."""
MEMORY = 100
"""Frames that are remembered, 2 s. Positions start anew after them and one more block: a window of 3 s holds
each position once."""

_BEFORE = 2  # mel frames before a block that its first frame depends on
_MASKED = -1e9


class StreamingNet(nn.Module):
    """Add a memory and a choice of frames to an `AdaptiveNet`.

    ``waveform (b, n)``, ``lengths (b,)``, ``offset (b, d)``, ``memory (b, p, n_columns)``, ``span (b, 2)``
    -> logits, embedding, logit of speech and the next memory ``(b, at most MEMORY, n_columns)``. The span is
    the first frame that is averaged, and the one past the last, counted from the memory's first.

    The net returns the memory of all sounds of a batch alike, so only sounds of one length can be continued
    together. Blocks that are to be continued have a multiple of `FRAME` samples.

    Raises:
        ConfigError: the level of the encoder is not ``mel``.
    """

    def __init__(self, net: AdaptiveNet) -> None:
        super().__init__()
        if net.encoder.config.level != "mel":
            raise ConfigError(f"the level of the encoder is {net.encoder.config.level!r}; expected 'mel'")
        self.net = net
        size, n_layers = net.encoder.config.size, net.encoder.config.n_layers
        self._widths = [*[size] * (2 * n_layers + len(net.config.layers)), FRAME, 1, 1, 1]

    @property
    def n_columns(self) -> int:
        """Columns of the memory."""
        return sum(self._widths)

    def forward(
        self, waveform: Tensor, lengths: Tensor, offset: Tensor, memory: Tensor, span: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        pooled, memory = self.pool(waveform, lengths, memory, span)
        embedding = (pooled.flatten(1) - self.net.mean) * self.net.scale
        speech = self.net.speech_head(embedding)[:, 0]
        return self.net.classify(embedding - offset), embedding, speech, memory

    def pool(self, waveform: Tensor, lengths: Tensor, memory: Tensor, span: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a block, and average frames of the memory and the block: ``(b, layers, 2, size)``."""
        encoder, config = self.net.encoder, self.net.config
        *columns, sound, levels, loudest, places = torch.split(memory, self._widths, 2)
        # Not from the size of the memory, which the exporter would take for a constant.
        is_continued = torch.ones_like(levels).sum(1) > 0  # (b, 1)
        mel, sounds, own_sound, own_levels, own_loudest = self._compute_mel(
            waveform, lengths, is_continued, sound, loudest
        )
        gelu = nn.functional.gelu
        z = gelu(encoder.conv1(mel.transpose(1, 2))) * sounds[:, None]
        z = gelu(encoder.conv2(z)).transpose(1, 2)[:, _BEFORE // 2 :]
        n_frames = torch.div(torch.div(lengths, HOP, rounding_mode="floor") + 1, 2, rounding_mode="floor")
        exists = frame_mask(z, n_frames)
        last = torch.cat([-torch.ones_like(is_continued, dtype=torch.float32)[:, None], places], 1)[:, -1:, 0]
        own_places = _find_first(last) + torch.ones_like(exists, dtype=torch.float32).cumsum(1) - 1
        z = z + encoder.positions.index_select(0, own_places.long().flatten()).view_as(z)

        bias = torch.cat([0 * levels[..., 0], torch.where(exists, 0.0, _MASKED)], 1)[:, None, None]
        keys_values, states = [], [z]
        for i, layer in enumerate(cast("Iterable[Layer]", encoder.layers)):
            query, *pair = layer.project(z)
            key, value = (torch.cat([columns[2 * i + j], part], 1) for j, part in enumerate(pair))
            z = layer.attend(z, query, key, value, bias)
            keys_values += [key, value]
            states.append(z)
        remembered = columns[2 * len(encoder.layers) :]
        pooled_states = [
            torch.cat([old, states[i]], 1) for old, i in zip(remembered, config.layers, strict=True)
        ]
        levels = torch.cat([levels[..., 0], own_levels], 1)
        frames = torch.ones_like(levels).cumsum(1) - 1
        chosen = (bias[:, 0, 0] == 0) & (frames >= span[:, :1]) & (frames < span[:, 1:])
        every = chosen / chosen.sum(1, keepdim=True)
        active = weigh_levels(levels, chosen, config.active_db, config.slope_db)
        weights = torch.stack([every, active], 1)
        rows = [*keys_values, *pooled_states, torch.cat([sound, own_sound], 1), levels[..., None]]
        rows += [torch.cat([loudest, own_loudest], 1), torch.cat([places, own_places[..., None]], 1)]
        memory = torch.cat([column[:, -MEMORY:] for column in rows], 2)
        return torch.stack([weights @ state for state in pooled_states], 1), memory

    def _compute_mel(
        self, waveform: Tensor, lengths: Tensor, is_continued: Tensor, sound: Tensor, loudest: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return the log-mel spectrogram with `_BEFORE` frames before the block, and its mask, and the sound,
        levels and loudest values of the block's frames."""
        log_mel = self.net.encoder.log_mel
        n = _BEFORE * HOP
        x = reflect_ends(waveform, lengths, PAD)
        # Sound before the block: that in the memory, or what mirrors its beginning.
        earlier = nn.functional.pad(sound, (0, 0, _BEFORE, 0))[:, -_BEFORE:].flatten(1)[:, -(n + PAD) :]
        before = torch.where(is_continued, earlier, nn.functional.pad(x[:, :PAD], (n, 0)))
        power = log_mel.measure_power(torch.cat([before, x[:, PAD:]], 1))
        n_mel = torch.div(lengths, HOP, rounding_mode="floor")
        exists = frame_mask(power[:, _BEFORE:], n_mel).float()
        sounds = torch.cat([is_continued.float().expand(-1, _BEFORE), exists], 1)
        # As the second convolution, so that the exporter knows that both have as many frames.
        values = (power.amax(2) * nn.functional.pad(exists, (_BEFORE, 0)))[:, None]
        own_loudest = nn.functional.conv1d(values, torch.eye(3)[:, None], stride=2, padding=1)
        own_loudest = own_loudest.amax(1)[:, _BEFORE // 2 :, None]
        largest = torch.cat([loudest, own_loudest], 1).amax(1, keepdim=True)
        mel = log_mel.compress(power, largest) * sounds[..., None]
        gain = log_mel.find_gain(largest)[..., 0]
        levels = measure_levels(mel, sounds)[:, _BEFORE // 2 :] - 10 * gain.log10()
        # Of the sound only what the next block needs: the rows before are zeros.
        newest = nn.functional.pad(waveform, (2 * FRAME, 0))[:, -2 * FRAME :].view(-1, 2, FRAME)
        own_sound = nn.functional.pad(newest, (0, 0, levels.shape[1] - 2, 0))
        return mel, sounds, own_sound, levels, own_loudest


def _find_first(last: Tensor) -> Tensor:
    """Position of the first frame of a block after a frame at position ``last``; -1: there is none before."""
    return ((last + BLOCK) / BLOCK).floor().mul(BLOCK).remainder(MEMORY + BLOCK)
