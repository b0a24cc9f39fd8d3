"""`AdaptiveNet`: batches, gain and offsets."""

from __future__ import annotations

import pytest
import torch

from emovox.nets.adaptive import AdaptiveConfig, AdaptiveNet, weigh_active
from emovox.nets.whisper import WhisperConfig, WhisperEncoder


@pytest.fixture
def net() -> AdaptiveNet:
    torch.manual_seed(0)
    encoder = WhisperEncoder(WhisperConfig(n_layers=2, size=64, n_mels=8, max_frames=200, level="mel"))
    return AdaptiveNet(encoder, AdaptiveConfig(n_labels=3, layers=(1, 2))).eval()


def test_padding_changes_nothing(net):
    clips = [torch.randn(n) * torch.linspace(0.01, 1, n) for n in (16_000, 9_973, 4_801)]
    batch = torch.full((3, 20_000), 7.0)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    offset = torch.zeros(1, 256)
    together = net(batch, torch.tensor([len(c) for c in clips]), offset.expand(3, -1))
    for i, clip in enumerate(clips):
        alone = net(clip[None], torch.tensor([len(clip)]), offset)
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a[0], b[i], atol=1e-5, rtol=1e-5)


def test_offset_is_subtracted_before_the_labels_alone(net):
    x, lengths, offset = torch.randn(1, 8_000), torch.tensor([8_000]), torch.randn(1, 256)
    logits, embedding, speech = net(x, lengths, torch.zeros_like(offset))
    adapted, same, as_before = net(x, lengths, offset)
    torch.testing.assert_close(logits, net.classify(embedding))
    torch.testing.assert_close(adapted, net.classify(embedding - offset))
    torch.testing.assert_close(same, embedding)
    torch.testing.assert_close(as_before, speech)


def test_gain_changes_nothing(net):
    x, lengths, offset = torch.randn(1, 8_000) * 0.1, torch.tensor([8_000]), torch.zeros(1, 256)
    for quiet, loud in zip(net(x * 0.01, lengths, offset), net(x, lengths, offset), strict=True):
        torch.testing.assert_close(quiet, loud, atol=1e-4, rtol=1e-4)


def test_active_frames_count_more(net):
    x = torch.cat([torch.randn(8_000), torch.zeros(8_000)])[None]
    mel, sounds = net.encoder.log_mel(x, torch.tensor([16_000]))
    _, exists = net.encoder.encode(mel, torch.tensor([100]))
    weight = weigh_active(mel, sounds, exists, 30.0, 3.0)
    assert weight.sum() == pytest.approx(1)
    assert weight[0, :27].sum() > 0.99


def test_far_from_the_training_is_less_sure(net):
    embedding = torch.randn(1, 256)
    with torch.no_grad():
        net.labels_head.bias.zero_()
    near, far = (net.classify(factor * embedding) for factor in (1.0, 3.0))
    torch.testing.assert_close(near, far)  # a linear head alone would be three times as sure
