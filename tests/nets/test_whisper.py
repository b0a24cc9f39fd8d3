"""The Whisper encoder: against faster-whisper's own, on padded batches, and on damaged checkpoints.

The real checkpoint is found through EMOVOX_CHECKPOINTS, a folder with ``model.bin``, ``config.json`` and
``tokenizer.json`` of whisper-base in faster-whisper's format. faster-whisper is run from the interpreter in
EMOVOX_FASTER_WHISPER_PYTHON where it is not installed beside emovox.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from emovox.errors import ConfigError  # noqa: E402
from emovox.nets import whisper  # noqa: E402

TINY = whisper.WhisperConfig(n_layers=2, size=64, n_mels=8, max_frames=100)


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    folder = os.environ.get("EMOVOX_CHECKPOINTS")
    if not folder or not (Path(folder) / "model.bin").is_file():
        pytest.skip("EMOVOX_CHECKPOINTS names no folder with model.bin of whisper-base")
    return Path(folder)


@pytest.fixture
def tiny() -> whisper.WhisperEncoder:
    torch.manual_seed(0)
    encoder = whisper.WhisperEncoder(TINY).eval()
    torch.nn.init.normal_(encoder.positions)
    return encoder


def speech_like(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(n) / 16_000
    wave = sum(np.sin(2 * np.pi * 140 * k * t + rng.uniform(0, 6)) / k for k in range(1, 20))
    return (0.05 * wave * (1 + np.sin(2 * np.pi * 3 * t)) + 0.001 * rng.standard_normal(n)).astype(np.float32)


ENCODE = """
import sys, numpy as np
from faster_whisper import WhisperModel
x = np.load(sys.argv[2])
model = WhisperModel(sys.argv[1], device="cpu", compute_type="float32", cpu_threads=1)
mel = model.feature_extractor(x, padding=0)[..., :3000]
states = np.asarray(model.encode(mel))
np.savez(sys.argv[3], mel=mel, states=states)
"""


def test_states_equal_faster_whisper(checkpoint, tmp_path):
    python = os.environ.get("EMOVOX_FASTER_WHISPER_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import faster_whisper"], capture_output=True).returncode:
        pytest.skip("faster-whisper is not installed; EMOVOX_FASTER_WHISPER_PYTHON may name its interpreter")
    x = np.zeros(480_000, np.float32)
    x[:80_000] = speech_like(80_000)
    np.save(tmp_path / "x.npy", x)
    run = [python, "-c", ENCODE, str(checkpoint), str(tmp_path / "x.npy"), str(tmp_path / "out.npz")]
    subprocess.run(run, check=True, capture_output=True)
    theirs = np.load(tmp_path / "out.npz")
    encoder = whisper.load_encoder(checkpoint)
    with torch.inference_mode():
        wave, length = torch.from_numpy(x)[None], torch.tensor([len(x)])
        mel, _ = encoder.log_mel(wave, length)
        states, _ = encoder(wave, length)
        # The original normalises what leaves its last layer; its gamma and beta are not part of our encoder.
        last = _final_norm(checkpoint, states[-1])
    np.testing.assert_allclose(mel[0].T.numpy(), theirs["mel"].reshape(80, -1), atol=1e-3)
    np.testing.assert_allclose(last[0].numpy(), theirs["states"].reshape(1500, 512), atol=1e-3)


def _final_norm(checkpoint: Path, states: torch.Tensor) -> torch.Tensor:
    with (checkpoint / "model.bin").open("rb") as file:
        _, found = whisper._read_ctranslate2(file, True)
    gamma, beta = (
        torch.from_numpy(found[f"encoder/layer_norm/{n}"].astype(np.float32)) for n in ("gamma", "beta")
    )
    return torch.nn.functional.layer_norm(states, (512,), gamma, beta)


@pytest.mark.parametrize("level", ["none", "peak", "mel"])
def test_padding_changes_nothing(level):
    torch.manual_seed(0)
    encoder = whisper.WhisperEncoder(whisper.WhisperConfig(2, 64, 8, 100, level)).eval()
    clips = [speech_like(n, n) for n in (16_000, 9_973, 4_801)]
    batch = torch.full((3, 20_000), 7.0)  # what is behind a clip is anything
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    with torch.inference_mode():
        together, exists = encoder(batch, torch.tensor([len(c) for c in clips]))
        for i, clip in enumerate(clips):
            alone, _ = encoder(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))
            n = alone[0].shape[1]
            assert int(exists[i].sum()) == n
            for a, b in zip(alone, together, strict=True):
                torch.testing.assert_close(a[0], b[i, :n], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("level", ["peak", "mel"])
def test_gain_changes_nothing(level):
    log_mel = whisper.LogMel(80, level)
    x = torch.from_numpy(speech_like(16_000))[None]
    quiet, _ = log_mel(x * 0.01, torch.tensor([16_000]))
    loud, _ = log_mel(x, torch.tensor([16_000]))
    torch.testing.assert_close(quiet, loud, atol=1e-4, rtol=0)


def test_mel_filters_equal_transformers():
    audio_utils = pytest.importorskip("transformers.audio_utils")
    expected = audio_utils.mel_filter_bank(201, 80, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(whisper.LogMel(80).filters, expected, atol=1e-7)


def test_saved_encoder_is_loaded(tiny, tmp_path):
    whisper.save_encoder(tiny, tmp_path)
    again = whisper.load_encoder(tmp_path)
    for name, value in tiny.state_dict().items():
        if "qkv.bias" in name:
            value = value.clone()
            value[64:128] = 0  # the key's bias cancels in the softmax and is not stored
        torch.testing.assert_close(again.state_dict()[name], value)


def test_first_layers_are_kept(tiny, tmp_path):
    whisper.save_encoder(tiny, tmp_path)
    assert whisper.read_config(tmp_path) == replace(TINY, level="peak")
    assert len(whisper.load_encoder(tmp_path, n_layers=1).layers) == 1
    with pytest.raises(ConfigError, match="has 2 layers"):
        whisper.load_encoder(tmp_path, n_layers=3)


def test_damaged_checkpoints_are_refused(tiny, tmp_path):
    whisper.save_encoder(tiny, tmp_path)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    for damaged in (b"", whole[:7], whole[:200], whole[:-4], b"\xff" * 64, b"\x02" + b"\0" * 7 + b"{}"):
        file.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"model\.safetensors"):
            whisper.load_encoder(tmp_path)
    other = tmp_path / "other" / "model.bin"
    other.parent.mkdir()
    for damaged in (b"", b"\x05\0\0\0", b"\x06\0\0\0\x04\0abc\0" + b"\0" * 8, b"\x06\0\0\0\xff\xff"):
        other.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"model\.bin"):
            whisper.load_encoder(other.parent)
    with pytest.raises(ConfigError, match="no such checkpoint"):
        whisper.load_encoder(tmp_path / "none.bin")


def test_truncated_model_bin_is_refused(checkpoint, tmp_path):
    with (checkpoint / "model.bin").open("rb") as file:
        (tmp_path / "model.bin").write_bytes(file.read(1 << 20))
    with pytest.raises(ConfigError, match="ends early"):
        whisper.load_encoder(tmp_path)


def test_graph_equals_net(tiny):
    pytest.importorskip("onnxscript")
    from emovox.training.export import to_onnx

    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = tiny

        def forward(self, waveform, lengths):
            states, exists = self.encoder(waveform, lengths)
            mask = exists[..., None].float()
            return torch.cat([(s * mask).sum(1) / mask.sum(1) for s in states], 1)

    to_onnx(Pooled().eval(), [speech_like(n) for n in (16_000, 8_000, 4_801, 31_999)])
