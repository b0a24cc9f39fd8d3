"""Small random speech encoders, made on the spot: one of each kind that transformers has, and a sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emovox._arrays import Floats

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5")

RATE, SIZE, LAYERS = 16_000, 64, 3
CONVOLUTIONS = {
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 4, 4),
    "conv_stride": (5, 8, 8),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
BLOCKS = {
    "hidden_size": SIZE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def group_norm(kind: str) -> Callable[[], Any]:
    return lambda: getattr(transformers, f"{kind}Model")(
        getattr(transformers, f"{kind}Config")(**CONVOLUTIONS, **BLOCKS, feat_extract_norm="group")
    )


def layer_norm(kind: str) -> Callable[[], Any]:
    return lambda: getattr(transformers, f"{kind}Model")(
        getattr(transformers, f"{kind}Config")(
            **CONVOLUTIONS, **BLOCKS, feat_extract_norm="layer", do_stable_layer_norm=True
        )
    )


def data2vec() -> Any:
    config = transformers.Data2VecAudioConfig(
        **(CONVOLUTIONS | {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}), **BLOCKS
    )
    return transformers.Data2VecAudioModel(config)


def whisper() -> Any:
    return transformers.WhisperModel(
        transformers.WhisperConfig(
            vocab_size=20,
            num_mel_bins=20,
            d_model=SIZE,
            encoder_layers=LAYERS,
            decoder_layers=1,
            encoder_attention_heads=1,
            decoder_attention_heads=1,
            encoder_ffn_dim=4 * SIZE,
            decoder_ffn_dim=32,
            max_source_positions=50,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
            decoder_start_token_id=1,
        )
    )


MAKERS: dict[str, Callable[[], Any]] = {
    "wav2vec2": group_norm("Wav2Vec2"),
    "wav2vec2-layer": layer_norm("Wav2Vec2"),
    "hubert": group_norm("Hubert"),
    "hubert-layer": layer_norm("Hubert"),
    "wavlm": group_norm("WavLM"),
    "wavlm-layer": layer_norm("WavLM"),
    "data2vec": data2vec,
    "whisper": whisper,
}


def saved(root: Path) -> Path:
    """``root``, with a folder for each of `MAKERS`."""
    for name, make in MAKERS.items():
        with torch.random.fork_rng():
            torch.manual_seed(7)
            model = make()
        model.save_pretrained(root / name)
        ear = (
            transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=1)
            if name == "whisper"
            else transformers.Wav2Vec2FeatureExtractor(do_normalize=name != "wavlm")
        )
        ear.save_pretrained(root / name)
    return root


def sound(seconds: float = 0.4, *, seed: int = 0) -> Floats:
    """A tone that moves, and noise, with a peak of 0.5."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    x = 0.3 * np.sin(2 * np.pi * (200 + 50 * seed) * t * (1 + t)) + 0.05 * rng.standard_normal(t.size)
    return (0.5 * x / np.abs(x).max()).astype(np.float32)
