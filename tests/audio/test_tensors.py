"""Tensors of torch as recordings: the answer of the array, or an AudioError."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import emovox
from emovox.audio import SAMPLE_RATE
from emovox.errors import AudioError

torch = pytest.importorskip("torch")


def test_tensors_equal_arrays(tiny_bundle: Path) -> None:
    model = emovox.load(tiny_bundle)
    x = (0.1 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)).astype(np.float32)
    tensor = torch.from_numpy(x)
    expected = model.predict(x, sample_rate=SAMPLE_RATE)
    for given in (tensor, tensor.clone().requires_grad_(), tensor.double()):
        assert model.predict(given, sample_rate=SAMPLE_RATE) == expected
    rounded = tensor.to(torch.bfloat16)
    assert model.predict(rounded, sample_rate=SAMPLE_RATE) == model.predict(
        rounded.float().numpy(), sample_rate=SAMPLE_RATE
    )
    stream, same = (model.stream(sample_rate=SAMPLE_RATE) for _ in range(2))
    assert [*stream.push(tensor.clone().requires_grad_()), *stream.flush()] == [*same.push(x), *same.flush()]


def test_unusable_tensor(tiny_bundle: Path) -> None:
    with pytest.raises(AudioError, match="Tensor"):
        emovox.load(tiny_bundle).predict(torch.zeros(100, device="meta"), sample_rate=SAMPLE_RATE)
