"""`StreamingNet`: the net it is made from when nothing is remembered, and one definition for any steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emovox.errors import ConfigError
from emovox.nets.adaptive import AdaptiveConfig, AdaptiveNet
from emovox.nets.adaptive_stream import BLOCK, FRAME, MEMORY, StreamingNet
from emovox.nets.whisper import WhisperConfig, WhisperEncoder

ALL = torch.tensor([[0, 1 << 40]])


@pytest.fixture(scope="module")
def net() -> StreamingNet:
    torch.manual_seed(0)
    encoder = WhisperEncoder(WhisperConfig(n_layers=2, size=64, n_mels=8, max_frames=400, level="mel"))
    encoder.positions.normal_()
    net = AdaptiveNet(encoder, AdaptiveConfig(n_labels=3, layers=(1, 2))).eval()
    return StreamingNet(net).eval()


def make_sound(n: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy((0.1 * rng.standard_normal(n) * np.linspace(1, 0.2, n)).astype(np.float32))


def step(net: StreamingNet, x: torch.Tensor, memory: torch.Tensor | None = None, span: torch.Tensor = ALL):
    memory = torch.zeros(1, 0, net.n_columns) if memory is None else memory
    with torch.inference_mode():
        return net(x[None], torch.tensor([len(x)]), torch.zeros(1, len(net.net.mean)), memory, span)


@pytest.mark.parametrize("n", [400, 4_801, 16_000, 30_003, 70_000])
def test_without_memory_equals_adaptive_net(net, n):
    x = make_sound(n)
    with torch.inference_mode():
        expected = net.net(x[None], torch.tensor([n]), torch.zeros(1, len(net.net.mean)))
    for a, b in zip(step(net, x)[:3], expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing(net):
    clips = [make_sound(n, n) for n in (16_000, 9_973, 4_801)]
    batch = torch.full((3, 20_000), 7.0)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    lengths, memory = torch.tensor([len(c) for c in clips]), torch.zeros(3, 0, net.n_columns)
    offset = torch.zeros(3, len(net.net.mean))
    with torch.inference_mode():
        together = net(batch, lengths, offset, memory, ALL.expand(3, -1))
    for i, clip in enumerate(clips):
        for a, b in zip(step(net, clip)[:3], together[:3], strict=True):
            torch.testing.assert_close(a[0], b[i], atol=1e-5, rtol=1e-5)


def test_voices_together_equal_each_alone(net):
    sounds = torch.stack([make_sound(48_000, seed) for seed in range(3)])
    lengths, memory = torch.full((3,), 16_000), torch.zeros(3, 0, net.n_columns)
    alone = [torch.zeros(1, 0, net.n_columns)] * 3
    for at in range(0, 48_000, 16_000):
        block = sounds[:, at : at + 16_000]
        with torch.inference_mode():
            *together, memory = net(
                block, lengths, torch.zeros(3, len(net.net.mean)), memory, ALL.expand(3, -1)
            )
        for i in range(3):
            *single, alone[i] = step(net, block[i], alone[i])
            for a, b in zip(single, together, strict=True):
                torch.testing.assert_close(a[0], b[i], atol=1e-5, rtol=1e-5)


def encode_by_definition(net: StreamingNet, pieces: list[torch.Tensor], n_averaged: int) -> torch.Tensor:
    """Encode all pieces anew for the last window, each with masks over the whole sound."""
    encoder, config = net.net.encoder, net.net.config
    log_mel, gelu = encoder.log_mel, torch.nn.functional.gelu
    bounds = np.cumsum([0] + [len(piece) // FRAME for piece in pieces])
    sound = torch.cat(pieces)
    z, levels, loudest = [], [], []
    first = 0
    for i, piece in enumerate(pieces):
        start, end = bounds[i] * FRAME, bounds[i] * FRAME + len(piece)
        lead = 640 if i else 0
        padded = torch.nn.functional.pad(sound[None, None, start - lead : end], (200, 200), mode="reflect")[0]
        power = log_mel.measure_power(padded)
        values = torch.nn.functional.pad(power[0, lead // 160 :].amax(1), (1, 0))
        loudest.append(values.unfold(0, 3, 2).amax(1))
        window = torch.cat(loudest)[-(len(loudest[-1]) + MEMORY) :].max()
        mel = log_mel.compress(power, window[None, None, None])
        block = gelu(encoder.conv2(gelu(encoder.conv1(mel.transpose(1, 2))))).transpose(1, 2)
        energy = torch.nn.functional.pad((10 ** (mel[0] * 4 - 4)).mean(1), (1, 0))
        energy = energy.unfold(0, 3, 2).sum(1)[lead // FRAME :]
        levels.append(10 * energy.log10() - 10 * log_mel.find_gain(window).log10())
        n = bounds[i + 1] - bounds[i]
        z.append(block[0, lead // FRAME :] + encoder.positions[first : first + n])
        first = -(-(first + int(n)) // BLOCK) * BLOCK % 150
    z = torch.cat(z)[None]
    place = torch.arange(bounds[-1])
    block = torch.from_numpy(np.searchsorted(bounds, place.numpy(), "right") - 1)
    begin = torch.from_numpy(bounds)[block]
    visible = (place[None] < torch.from_numpy(bounds)[block + 1][:, None]) & (
        place[None] >= begin[:, None] - MEMORY
    )
    states = encoder_states = [z]
    for layer in encoder.layers:
        states.append(layer(states[-1], torch.where(visible, 0.0, -1e9)[None, None]))
    level = torch.cat(levels)[-n_averaged:]
    weight = torch.sigmoid((level - level.max() + config.active_db) / config.slope_db)
    weights = torch.stack([torch.full((n_averaged,), 1 / n_averaged), weight / weight.sum()])
    return torch.stack([weights @ encoder_states[i][0, -n_averaged:] for i in config.layers])


@pytest.mark.parametrize("first", [16_000, 320 * 37, 48_000])
def test_steps_equal_one_definition(net, first):
    sound = make_sound(first + 5 * 16_000, 1)
    pieces = [sound[:first], *sound[first:].split(16_000)]
    memory = torch.zeros(1, 0, net.n_columns)
    for i, piece in enumerate(pieces):
        n_frames = len(piece) // FRAME + memory.shape[1]
        with torch.inference_mode():
            pooled, memory = net.pool(piece[None], torch.tensor([len(piece)]), memory, ALL)
            expected = encode_by_definition(net, pieces[: i + 1], n_frames)
        torch.testing.assert_close(pooled[0], expected, atol=1e-4, rtol=1e-4)
    assert memory.shape == (1, MEMORY, net.n_columns)


def test_span_chooses_the_averaged_frames(net):
    x = make_sound(48_000)
    memory = step(net, x[:16_000])[3]
    whole = step(net, x[16_000:32_000], memory)[1]
    part = step(net, x[16_000:32_000], memory, torch.tensor([[20, 90]]))[1]
    assert not torch.allclose(whole, part)
    same = step(net, x[16_000:32_000], memory, torch.tensor([[0, 100]]))[1]
    torch.testing.assert_close(whole, same)


def test_gain_changes_nothing(net):
    x = make_sound(32_000)
    quiet, loud = (
        step(net, factor * x[16_000:], step(net, factor * x[:16_000])[3])[1] for factor in (0.01, 1.0)
    )
    torch.testing.assert_close(quiet, loud, atol=1e-4, rtol=1e-4)


def test_other_levels_are_refused():
    encoder = WhisperEncoder(WhisperConfig(n_layers=1, size=64, n_mels=8, max_frames=100, level="peak"))
    with pytest.raises(ConfigError, match="peak"):
        StreamingNet(AdaptiveNet(encoder, AdaptiveConfig(n_labels=3, layers=(1,))))
