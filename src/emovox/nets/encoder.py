"""``encoder``: a pretrained speech encoder, frozen or tuned, and a small head (extra ``ssl``).

::

    net = EncoderNet(EncoderConfig(checkpoint="openai/whisper-base", layers=4, mode="partial", n_labels=8))
    net(waveform, lengths)                              # (b, n), (b,) -> (b, 8)

The head takes a learnt weighted mean of the encoder's layers (Yang et al., 2021, SUPERB). What is trained of
the encoder is its ``mode``: ``frozen`` nothing, ``partial`` the last blocks, ``full`` everything except the
convolutions at its input, ``lora`` low-rank additions to the queries and values of its attention (Hu et al.,
2022), which are merged into the weights on export.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from emovox.errors import ConfigError, MissingExtraError
from emovox.nets import checkpoints
from emovox.nets.base import Head, check_ranges
from emovox.nets.layers import POOLINGS, PoolingName, frame_mask
from emovox.nets.pretrained import WaveEncoder, load_pretrained
from emovox.nets.whisper import Level, WhisperEncoder

__all__ = ["EncoderConfig", "EncoderNet", "Mode"]

Mode: TypeAlias = Literal["frozen", "partial", "full", "lora"]

_MIN_SAMPLES = 400
"""Shorter clips are padded with silence: a Whisper has no frame of fewer samples than its hop."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Settings of ``encoder``.

    Raises:
        ConfigError: a value is out of its range; the message names both.
    """

    checkpoint: str = ""
    """A folder, the file of a Whisper's weights, or a name on the Hugging Face Hub with a copy in its
    cache."""
    revision: str = ""
    """Of a name on the Hub."""
    download: bool = False
    """Whether to fetch what is not in the cache."""
    mode: Mode = "frozen"
    layers: int = 0
    """Blocks to keep, from the first; 0 for all."""
    output: Literal["weighted", "last"] = "weighted"
    """Input of the head: a learnt mean of all layers, or the last layer."""
    level: Level = "peak"
    """How a Whisper's input is scaled: by the ``peak``, by the loudest ``mel`` value, or ``none``."""
    n_tuned: int = 2
    """Last blocks that are trained with ``partial``."""
    rank: int = 8
    """Of the additions of ``lora``."""
    alpha: float = 16.0
    """The additions of ``lora`` are multiplied by ``alpha / rank``."""
    encoder_rate: float = 0.05
    """Learning rate of pretrained weights, as a share of that of new ones."""
    n_labels: int = 2
    """Set from the clips."""
    pooling: PoolingName = "attention"
    head: int = 128
    """Units between pooling and logits; 0 for none."""
    dropout: float = 0.2

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "layers": (0, 1000),
        "n_tuned": (1, 1000),
        "rank": (1, 4096),
        "alpha": (1e-3, 1e5),
        "encoder_rate": (1e-6, 1),
        "n_labels": (1, 1e4),
        "head": (0, 1e5),
        "dropout": (0, 0.99),
    }
    _CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "mode": get_args(Mode),
        "output": ("weighted", "last"),
        "level": get_args(Level),
        "pooling": POOLINGS,
    }

    def __post_init__(self) -> None:
        check_ranges(self, self._RANGES)
        for name, choices in self._CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        if not self.checkpoint or not isinstance(self.checkpoint, str):
            raise ConfigError(
                f"checkpoint is {self.checkpoint!r}; expected the folder of a wav2vec2, HuBERT, WavLM, "
                "data2vec-audio or Whisper, or its name on the Hugging Face Hub (it is downloaded only with "
                "download=true)"
            )


class EncoderNet(nn.Module):
    """``waveform (b, n)`` at 16 kHz, ``lengths (b,)`` -> logits ``(b, n_labels)``.

    Raises:
        ConfigError: the checkpoint is missing or not supported; more blocks to tune than it has.
        MissingExtraError: the extra ``ssl`` is not installed.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        path = checkpoints.find_checkpoint(
            config.checkpoint, revision=config.revision or None, download=config.download
        )
        if not checkpoints.is_whisper(path):
            checkpoints.read_transformers_config(path)  # checks that it is supported
        self.identity = " ".join(checkpoints.hash_checkpoint(path).values())
        self.encoder: WaveEncoder | WhisperEncoder = load_pretrained(
            path, n_layers=config.layers or None, level=config.level
        )
        n_layers = len(self.encoder.layers)
        if config.mode == "partial" and config.n_tuned > n_layers:
            raise ConfigError(f"n_tuned is {config.n_tuned}; the encoder has {n_layers} blocks")
        is_weighted = config.output == "weighted"
        self.layer_weights = nn.Parameter(Tensor(n_layers + 1).zero_()) if is_weighted else None
        self.norm = nn.LayerNorm(self.encoder.size)
        self.head = Head(self.encoder.size, config.pooling, config.head, config.dropout, config.n_labels)
        self._trained_modules = self._unfreeze()
        self.train()

    def _unfreeze(self) -> list[nn.Module]:
        """Set which weights of the encoder are trained; return its parts that are in training mode."""
        encoder, config = self.encoder, self.config
        encoder.requires_grad_(False)
        if config.mode == "frozen":
            return []
        if config.mode == "lora":
            try:
                from peft import LoraConfig, inject_adapter_in_model
            except ImportError as error:
                raise MissingExtraError("an encoder tuned by lora", "ssl") from error
            # Whisper's queries, keys and values are one matrix here.
            targets = ["qkv"] if isinstance(encoder, WhisperEncoder) else ["q_proj", "v_proj"]
            lora = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets)
            inject_adapter_in_model(lora, encoder.layers)
            return [encoder.layers]
        parts: list[nn.Module] = [encoder]
        if config.mode == "partial":
            parts = [*list(encoder.layers)[-config.n_tuned :], *encoder.final_modules()]
        for part in parts:
            part.requires_grad_(True)
        for part in encoder.frozen_modules():
            part.requires_grad_(False)
        return parts

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        # A short clip is padded with silence; a Whisper takes the first 30 s.
        x = nn.functional.pad(waveform, (0, _MIN_SAMPLES))
        x = torch.where(frame_mask(x, lengths), x, 0.0)[:, : self.encoder.max_samples]
        states, mask = self.encoder(x, lengths.clamp(_MIN_SAMPLES, self.encoder.max_samples))
        z = states[-1]
        if self.layer_weights is not None:
            weights = self.layer_weights.softmax(0)
            z = sum((weights[i] * state for i, state in enumerate(states[1:], 1)), weights[0] * states[0])
        logits: Tensor = self.head(self.norm(z), mask.sum(1))
        return logits

    def train(self, mode: bool = True) -> EncoderNet:
        """Set the training mode; frozen parts stay in evaluation mode, without dropout."""
        super().train(mode)
        self.encoder.eval()
        for part in self._trained_modules:
            part.train(mode)
        for part in self.encoder.frozen_modules():
            part.eval()
        return self

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Return the trained weights of the checkpoint, which have a learning rate of their own."""
        if self.config.mode not in ("partial", "full"):
            return []
        return [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]

    def merge_adapters(self) -> EncoderNet:
        """Return a copy with the additions of ``lora`` merged into the weights; its output is the same."""
        net = copy.deepcopy(self)
        if self.config.mode == "lora":
            from peft.tuners.lora import LoraLayer

            for parent in list(net.encoder.modules()):
                for name, child in list(parent.named_children()):
                    if isinstance(child, LoraLayer):
                        child.merge()
                        setattr(parent, name, child.get_base_layer())
        return net

    def extra_repr(self) -> str:
        """Return settings and hash of the weights: a checkpoint of another encoder is not resumed."""
        return f"{self.config}, {self.identity}"
