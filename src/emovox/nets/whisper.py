"""The first layers of Whisper's encoder in plain torch, from the waveform to hidden states.

The log-mel front end is part of the module, and so part of an exported graph. The module needs neither
transformers nor faster-whisper; `load_encoder` reads the checkpoints of both. It is the one Whisper of the
package: features (``--set encoder:...``), the net ``encoder`` and the recipes use it.

Differences from the original, all of which leave a full clip of 30 s unchanged:

- Clips need not be padded to 30 s: the table of positions is cut to the length of the clip.
- A batch is padded with anything: samples, mel frames and states beyond a clip's length never reach it.
- The level may be normalised (`level`), so that gain changes nothing.

References:
    Radford et al. (2022), "Robust Speech Recognition via Large-Scale Weak Supervision". Weights: Copyright
    (c) 2022 OpenAI, MIT licence.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emovox._files import atomic_path
from emovox.audio import SAMPLE_RATE
from emovox.audio.stft import mel_filters
from emovox.errors import ConfigError
from emovox.nets.checkpoints import whisper_weights
from emovox.nets.layers import frame_mask

__all__ = [
    "HOP",
    "PAD",
    "Level",
    "LogMel",
    "WhisperConfig",
    "WhisperEncoder",
    "load_encoder",
    "read_config",
    "read_weights",
    "save_encoder",
]

Weights = dict[str, NDArray[Any]]
Shapes = dict[str, tuple[int, ...]]
Level = Literal["none", "peak", "mel"]

_N_FFT = 400
HOP = 160
"""Samples between frames of the spectrogram; a state covers two."""
PAD = _N_FFT // 2
"""Samples before and after a frame's centre that its spectrum spans."""
_HEAD_SIZE = 64  # of every published Whisper
_RANGE = 8.0  # powers of ten between the loudest mel value of a clip and the quietest that is kept
_MASKED = -1e9

# Limits of the readers. Whisper large has 1280 channels, 128 mel bands and 1.6e9 parameters.
_MAX_VARIABLES = 20_000
_MAX_RANK = 4
_MAX_BYTES = 8 << 30
_MAX_HEADER = 16 << 20


@dataclass(frozen=True)
class WhisperConfig:
    """Sizes of an encoder.

    Args:
        n_layers: transformer layers that are kept.
        size: channels of a hidden state.
        n_mels: mel bands.
        max_frames: length of the table of positions, 50 a second.
        level: `"none"` as Whisper was trained; `"peak"` scales the clip's largest sample to 0.5; `"mel"`
            shifts the log-mel spectrogram so that its maximum is always the same, which clipping and clicks
            change less than they change the peak.
    """

    n_layers: int = 4
    size: int = 512
    n_mels: int = 80
    max_frames: int = 1500
    level: Level = "peak"

    @property
    def max_samples(self) -> int:
        """The longest clip that the table of positions allows."""
        return self.max_frames * HOP * 2


class LogMel(nn.Module):
    """Whisper's log-mel spectrogram: ``waveform (b, n)``, ``lengths (b,)`` -> ``(b, n // 160, n_mels)``.

    The Fourier transform is a convolution, since graphs have no transform that every runtime runs.
    """

    kernels: Tensor
    filters: Tensor

    _QUIETEST_PEAK = 1e-4  # below it (-80 dB) nothing is amplified further: digital silence stays silent
    _MEL_MAXIMUM = 1.5  # log10 of the loudest mel value of speech whose peak is 0.5, about

    def __init__(self, n_mels: int = 80, level: Level = "none") -> None:
        super().__init__()
        if level not in get_args(Level):
            raise ConfigError(f"level is {level!r}; expected one of {', '.join(get_args(Level))}")
        self.level = level
        angles = (
            2 * math.pi / _N_FFT * torch.outer(torch.arange(_N_FFT // 2 + 1), torch.arange(_N_FFT)).double()
        )
        waves = torch.cat([angles.cos(), angles.sin()]) * torch.hann_window(_N_FFT, dtype=torch.float64)
        self.register_buffer("kernels", waves.float()[:, None], persistent=False)
        filters = mel_filters(
            SAMPLE_RATE, _N_FFT, n_mels, 0.0, SAMPLE_RATE / 2, scale="slaney", unit_area=True
        )
        self.register_buffer("filters", torch.from_numpy(filters.T.copy()), persistent=False)

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the spectrogram, zero beyond the end of a clip, and the mask of its frames ``(b, t)``."""
        x = reflect_ends(waveform, lengths, PAD)
        if self.level == "peak":
            x = x * (0.5 / x.abs().amax(1, keepdim=True).clamp(min=self._QUIETEST_PEAK))
        mel = self.measure_power(x)
        exists = frame_mask(mel, torch.div(lengths, HOP, rounding_mode="floor"))
        loudest = (mel * exists[..., None]).amax((1, 2), keepdim=True)
        return self.compress(mel, loudest) * exists[..., None], exists

    def measure_power(self, x: Tensor) -> Tensor:
        """Return the mel power ``(b, t, n_mels)`` of sound ``(b, n)`` and `PAD` samples at both ends."""
        real, imaginary = nn.functional.conv1d(x[:, None], self.kernels, stride=HOP)[..., :-1].chunk(2, dim=1)
        power: Tensor = (real.square() + imaginary.square()).transpose(1, 2) @ self.filters
        return power

    def find_gain(self, loudest: Tensor) -> Tensor:
        """Return the factor of the mel power of sounds whose loudest value is ``loudest``."""
        if self.level != "mel":
            return torch.ones_like(loudest)
        # A gain is a factor here, so the whole sound is scaled by its loudest value.
        return 10**self._MEL_MAXIMUM / loudest.clamp(min=self._QUIETEST_PEAK**2)

    def compress(self, mel: Tensor, loudest: Tensor) -> Tensor:
        """Take the logarithm of mel power ``(b, t, n_mels)`` whose loudest value is ``loudest (b, 1, 1)``."""
        gain = self.find_gain(loudest)
        values, largest = ((power * gain).clamp(min=1e-10).log10() for power in (mel, loudest))
        return (torch.maximum(values, largest - _RANGE) + 4) / 4


class WhisperEncoder(nn.Module):
    """``waveform (b, n)`` at 16 kHz, ``lengths (b,)`` -> hidden states of every layer.

    Layer 0 is what enters the transformer, layer i the output of its i-th block. The final normalisation of
    the original comes after its last layer only and is left out.

    >>> encoder = WhisperEncoder(WhisperConfig(n_layers=1, size=64, n_mels=8, max_frames=100))
    >>> states, exists = encoder(torch.zeros(2, 16_000), torch.tensor([16_000, 8_000]))
    >>> [tuple(state.shape) for state in states], exists.sum(1).tolist()
    ([(2, 50, 64), (2, 50, 64)], [50, 25])
    """

    positions: Tensor

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.size, self.max_samples = config.size, config.max_samples
        self.log_mel = LogMel(config.n_mels, config.level)
        self.conv1 = nn.Conv1d(config.n_mels, config.size, 3, padding=1)
        self.conv2 = nn.Conv1d(config.size, config.size, 3, stride=2, padding=1)
        self.register_buffer("positions", torch.zeros(config.max_frames, config.size))
        self.layers = nn.ModuleList([Layer(config.size) for _ in range(config.n_layers)])

    def frozen_modules(self) -> Iterable[nn.Module]:
        """Return the parts that are never trained."""
        return self.conv1, self.conv2

    def final_modules(self) -> Iterable[nn.Module]:
        """Return the parts after the last block: none, since the final normalisation is left out."""
        return ()

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the states ``(b, t, size)`` of layers 0 to n_layers, and the mask ``(b, t)`` of real
        frames."""
        mel, _ = self.log_mel(waveform, lengths)
        return self.encode(mel, torch.div(lengths, HOP, rounding_mode="floor"))

    def encode(self, mel: Tensor, n_frames: Tensor) -> tuple[list[Tensor], Tensor]:
        """The states from a log-mel spectrogram ``(b, t, n_mels)``, of which ``n_frames (b,)`` exist."""
        gelu = nn.functional.gelu
        # Each convolution finds zeros beyond the end of a clip, as it does when the clip is alone.
        z = gelu(self.conv1((mel * frame_mask(mel, n_frames)[..., None]).transpose(1, 2)))
        z = z * frame_mask(mel, n_frames)[:, None]
        z = gelu(self.conv2(z)).transpose(1, 2)
        exists = frame_mask(z, torch.div(n_frames + 1, 2, rounding_mode="floor"))
        z = z + self.positions[: z.shape[1]]
        return self.transform(z, exists), exists

    def transform(self, z: Tensor, exists: Tensor, first: int = 0) -> list[Tensor]:
        """Return ``z (b, t, size)``, the input of layer ``first`` (from 0), and the output of each layer."""
        bias = torch.where(exists, 0.0, _MASKED)[:, None, None]
        states = [z]
        for layer in self.layers[first:]:
            states.append(layer(states[-1], bias))
        return states


class Layer(nn.Module):
    """A transformer layer: attention and a feed-forward block, each behind a normalisation."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(size)
        self.qkv = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)
        self.feed_norm = nn.LayerNorm(size)
        self.feed1 = nn.Linear(size, 4 * size)
        self.feed2 = nn.Linear(4 * size, size)
        self.n_heads = size // _HEAD_SIZE

    def forward(self, z: Tensor, bias: Tensor) -> Tensor:
        return self.attend(z, *self.project(z), bias)

    def project(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the queries, keys and values ``(b, t, size)`` of frames."""
        query, key, value = self.qkv(self.attention_norm(z)).chunk(3, dim=-1)
        return query, key, value

    def attend(self, z: Tensor, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """Return the output of the layer; there may be more keys and values than frames in ``z``."""
        sizes = self.n_heads, _HEAD_SIZE
        query, key, value = (torch.unflatten(part, -1, sizes).transpose(1, 2) for part in (query, key, value))
        weight = (query @ key.transpose(2, 3) * _HEAD_SIZE**-0.5 + bias).softmax(-1)
        z = z + self.out((weight @ value).transpose(1, 2).flatten(2))
        z = z + self.feed2(nn.functional.gelu(self.feed1(self.feed_norm(z))))
        return z


def reflect_ends(waveform: Tensor, lengths: Tensor, n: int) -> Tensor:
    """``(b, n + longest + n)``: every clip mirrored at its own ends, and zeros beyond."""
    place = torch.nn.functional.pad(torch.ones_like(waveform), (n, n), value=1.0).cumsum(1).long() - (n + 1)
    last = (lengths - 1)[:, None]
    source = place.abs()
    source = torch.where(source > last, 2 * last - source, source)
    source = torch.minimum(source.clamp(min=0), last)  # clips shorter than n have no more to mirror
    reflected: Tensor = waveform.gather(1, source) * (place <= last + n)
    return reflected


# --- checkpoints -------------------------------------------------------------------------------------


def read_config(path: str | Path) -> WhisperConfig:
    """Read the sizes of an encoder from its weights, without loading these.

    Raises:
        ConfigError: there is no such checkpoint, or it is damaged or not a Whisper.
    """
    path = whisper_weights(Path(path))
    shapes, _ = _read_file(path, values=False)
    names = ("conv1.weight", "embed_positions.weight", "layers.{}.fc1.weight")
    if path.suffix != ".safetensors":
        names = (
            "encoder/conv1/weight",
            "encoder/position_encodings/encodings",
            "encoder/layer_{}/ffn/linear_0/weight",
        )
    plain = {name.split("encoder.", 1)[-1]: shape for name, shape in shapes.items()}
    depth = 0
    while names[2].format(depth) in plain:
        depth += 1
    convolution, positions = plain.get(names[0], ()), plain.get(names[1], ())
    if len(convolution) != 3 or len(positions) != 2:
        raise ConfigError(f"{path}: not the encoder of a Whisper; it lacks {names[0]} or {names[1]}")
    return WhisperConfig(depth, convolution[0], convolution[1], positions[0])


def load_encoder(path: str | Path, *, n_layers: int | None = None, level: Level = "none") -> WhisperEncoder:
    """Load the encoder of a Whisper checkpoint that is on this machine.

    Args:
        path: ``model.bin`` of faster-whisper (CTranslate2), ``model.safetensors`` of openai/whisper-*, or a
            folder that holds one of them, such as `save_encoder` writes.
        n_layers: layers to keep; all of them by default.
        level: see `WhisperConfig`.

    Raises:
        ConfigError: there is no such checkpoint, it is damaged, or it has fewer layers.
    """
    config = read_config(path)
    depth = config.n_layers
    if n_layers is not None and not 0 <= n_layers <= depth:
        raise ConfigError(f"{path}: n_layers is {n_layers}; the checkpoint has {depth} layers")
    config = replace(config, n_layers=depth if n_layers is None else n_layers, level=level)
    encoder, weights = WhisperEncoder(config), read_weights(path)
    for name, parameter in encoder.state_dict().items():
        if name not in weights:
            raise ConfigError(f"{path}: the checkpoint lacks {name}")
        value = weights[name]
        if value.shape != tuple(parameter.shape):
            raise ConfigError(
                f"{path}: {name} has the shape {value.shape}; expected {tuple(parameter.shape)}"
            )
        if not np.isfinite(value).all():
            raise ConfigError(f"{path}: {name} holds values that are not finite")
        parameter.copy_(torch.from_numpy(value.astype(np.float32)))
    return encoder.eval()


def read_weights(path: str | Path) -> Weights:
    """Read the encoder's arrays by the names of `WhisperEncoder`, in the type in which they are stored.

    Raises:
        ConfigError: there is no such checkpoint, or it is damaged.
    """
    path = whisper_weights(Path(path))
    _, weights = _read_file(path)
    try:
        return _rename_hub(weights) if path.suffix == ".safetensors" else _rename_ctranslate2(weights)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{path}: the checkpoint lacks {error}") from error


def _read_file(path: Path, *, values: bool = True) -> tuple[Shapes, Weights]:
    """Shapes of the encoder's variables by their stored names, and their values unless left out."""
    try:
        with path.open("rb") as file:
            if path.suffix == ".safetensors":
                return _read_safetensors(file, path.stat().st_size, values)
            return _read_ctranslate2(file, values)
    except (OSError, struct.error, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: this checkpoint cannot be read: {error}") from error


def save_encoder(encoder: WhisperEncoder, folder: str | Path) -> None:
    """Write ``model.safetensors`` (float32, names of openai/whisper-base) and a ``config.json`` of its
    sizes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = _to_hub({name: value.numpy() for name, value in encoder.state_dict().items()})
    header: dict[str, Any] = {}
    at = 0
    for name, value in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(folder / "model.safetensors") as partial, partial.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in arrays.values():
            file.write(np.ascontiguousarray(value, np.float32).tobytes())
    config = encoder.config
    sizes = {
        "model_type": "whisper",
        "encoder_layers": config.n_layers,
        "d_model": config.size,
        "num_mel_bins": config.n_mels,
        "max_source_positions": config.max_frames,
    }
    (folder / "config.json").write_text(json.dumps(sizes, indent=1) + "\n")


def _read_ctranslate2(file: BinaryIO, values: bool) -> tuple[Shapes, Weights]:
    """Variables of a CTranslate2 ``model.bin`` of version 6; only the encoder's are kept."""
    types = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}

    def number(form: str) -> int:
        return int(struct.unpack("<" + form, _read_exactly(file, struct.calcsize("<" + form)))[0])

    def string() -> str:
        return _read_exactly(file, number("H")).rstrip(b"\0").decode()

    if (version := number("I")) != 6:
        raise ValueError(f"version {version} of CTranslate2's format; expected 6")
    if (spec := string()) != "WhisperSpec":
        raise ValueError(f"a model of the kind {spec[:40]!r}; expected WhisperSpec")
    number("I")  # the revision of the spec
    n_variables = number("I")
    if n_variables > _MAX_VARIABLES:
        raise ValueError(f"{n_variables} variables; expected at most {_MAX_VARIABLES}")
    shapes: Shapes = {}
    weights: Weights = {}
    for _ in range(n_variables):
        name = string()
        rank = number("B")
        if rank > _MAX_RANK:
            raise ValueError(f"{name} has {rank} dimensions; expected at most {_MAX_RANK}")
        shape = tuple(number("I") for _ in range(rank))
        code, n_bytes = number("B"), number("I")
        if code not in types or n_bytes != math.prod(shape) * np.dtype(types[code]).itemsize:
            raise ValueError(f"{name} has {n_bytes} bytes of type {code} for the shape {shape}")
        if name.startswith("encoder/"):
            shapes[name] = shape
        if name.startswith("encoder/") and values:
            weights[name] = np.frombuffer(_read_exactly(file, n_bytes), types[code]).reshape(shape)
        else:
            file.seek(n_bytes, 1)
    return shapes, weights


def _read_safetensors(file: BinaryIO, n_bytes: int, values: bool) -> tuple[Shapes, Weights]:
    """Arrays of the encoder in a safetensors file of float32, float16 or bfloat16."""
    n_header = struct.unpack("<Q", _read_exactly(file, 8))[0]
    if not 2 <= n_header <= min(_MAX_HEADER, n_bytes - 8):
        raise ValueError(f"its header has {n_header} bytes")
    header = json.loads(_read_exactly(file, n_header))
    shapes: Shapes = {}
    weights: Weights = {}
    for name, entry in header.items():
        if "encoder." not in name:
            continue
        dtype = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}.get(entry["dtype"])
        if dtype is None:
            raise ValueError(f"{name} is of type {entry['dtype']}; expected F32, F16 or BF16")
        start, end = (int(offset) for offset in entry["data_offsets"])
        shape = tuple(int(n) for n in entry["shape"])
        if len(shape) > _MAX_RANK or end - start != math.prod(shape) * np.dtype(dtype).itemsize:
            raise ValueError(f"{name} has {end - start} bytes for the shape {shape}")
        if not 0 <= start <= end <= n_bytes - 8 - n_header:
            raise ValueError(f"{name} is outside of the file")
        shapes[name] = shape
        if not values:
            continue
        file.seek(8 + n_header + start)
        value = np.frombuffer(_read_exactly(file, end - start), dtype).reshape(shape)
        if entry["dtype"] == "BF16":
            value = (value.astype(np.uint32) << 16).view(np.float32)
        weights[name] = value
    return shapes, weights


def _read_exactly(file: BinaryIO, n: int) -> bytes:
    if not 0 <= n <= _MAX_BYTES or len(data := file.read(n)) != n:
        raise EOFError(f"it ends early, at byte {file.tell()}")
    return data


_PARTS = {  # ours -> CTranslate2's, Hugging Face's
    "attention_norm": ("self_attention/layer_norm", "self_attn_layer_norm"),
    "out": ("self_attention/linear_1", "self_attn.out_proj"),
    "feed_norm": ("ffn/layer_norm", "final_layer_norm"),
    "feed1": ("ffn/linear_0", "fc1"),
    "feed2": ("ffn/linear_1", "fc2"),
}


def _rename_ctranslate2(found: Weights) -> Weights:
    weights: Weights = {}
    names = {f"{theirs}/": f"{ours}." for ours, (theirs, _) in _PARTS.items()} | {
        "self_attention/linear_0/": "qkv."
    }
    for name, value in found.items():
        parts = name.removeprefix("encoder/").split("/", 1)
        if parts[0] == "position_encodings":
            weights["positions"] = value
        elif parts[0] in ("conv1", "conv2"):
            weights[".".join(parts)] = value
        elif parts[0].startswith("layer_") and parts[0] != "layer_norm":
            inner = parts[1].replace("gamma", "weight").replace("beta", "bias")
            for theirs, ours in names.items():
                if inner.startswith(theirs):
                    weights[f"layers.{int(parts[0][6:])}.{ours}{inner.removeprefix(theirs)}"] = value
    return weights


def _rename_hub(found: Weights) -> Weights:
    plain = {name.split("encoder.", 1)[1]: value for name, value in found.items()}
    weights = {name: plain[name] for name in plain if name.startswith(("conv1.", "conv2."))}
    weights["positions"] = plain["embed_positions.weight"]
    depth = 0
    while (layer := f"layers.{depth}") + ".fc1.weight" in plain:
        for ours, (_, theirs) in _PARTS.items():
            for kind in ("weight", "bias"):
                weights[f"{layer}.{ours}.{kind}"] = plain[f"{layer}.{theirs}.{kind}"]
        query, key, value = (f"{layer}.self_attn.{part}_proj" for part in "qkv")
        no_bias = np.zeros_like(plain[f"{query}.bias"])  # the key has none: softmax would cancel it
        weights[f"{layer}.qkv.weight"] = np.concatenate([plain[f"{p}.weight"] for p in (query, key, value)])
        weights[f"{layer}.qkv.bias"] = np.concatenate(
            [plain[f"{query}.bias"], no_bias, plain[f"{value}.bias"]]
        )
        depth += 1
    return weights


def _to_hub(weights: Mapping[str, NDArray[Any]]) -> Weights:
    found: Weights = {}
    for name, value in weights.items():
        if name == "positions":
            found["model.encoder.embed_positions.weight"] = value
        elif ".qkv." in name:
            layer, kind = name.split(".qkv.")
            for part, piece in zip("qkv", np.split(value, 3), strict=True):
                if part != "k" or kind != "bias":
                    found[f"model.encoder.{layer}.self_attn.{part}_proj.{kind}"] = piece
        elif name.startswith("layers."):
            _, number, part, kind = name.split(".")
            found[f"model.encoder.layers.{number}.{_PARTS[part][1]}.{kind}"] = value
        else:
            found[f"model.encoder.{name}"] = value
    return found
