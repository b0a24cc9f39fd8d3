"""``encoder``: a pretrained speech encoder, frozen or tuned, and a small head (extra ``ssl``).

::

    net = EncoderNet(EncoderConfig(checkpoint="microsoft/wavlm-base-plus", mode="lora", n_labels=8))
    net(waveform, lengths)                              # (b, n), (b,) -> (b, 8)

A learnt weighted mean of the encoder's layers (Yang et al., 2021, SUPERB), pooled over the frames that a clip
has. How the encoder learns is its ``mode``: ``frozen`` not at all, ``partial`` its last blocks, ``full``
all of it but the convolutions that hear the samples, ``lora`` by low-rank additions to the queries and values
of its attention (Hu et al., 2022), which are merged into the weights when the net is exported.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

from torch import Tensor, nn

from emovox.errors import ConfigError, MissingExtraError
from emovox.features import encoders
from emovox.nets.base import Head, check_ranges
from emovox.nets.layers import POOLINGS, PoolingName
from emovox.nets.pretrained import WaveEncoder
from emovox.nets.whisper import WhisperEncoder

__all__ = ["EncoderConfig", "EncoderNet", "Mode"]

Mode: TypeAlias = Literal["frozen", "partial", "full", "lora"]


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Which encoder, how it learns, what stands behind it.

    Raises:
        ConfigError: a value is out of its range; the message names both.
    """

    checkpoint: str = ""
    """A folder, or a name on the Hugging Face Hub of which a copy is in its cache here."""
    revision: str = ""
    """Of a name on the Hub."""
    download: bool = False
    """Fetch what is not here; else nothing is."""
    mode: Mode = "frozen"
    layers: Literal["weighted", "last"] = "weighted"
    """Of which the frames are: a learnt mean of all layers, or the last alone."""
    n_tuned: int = 2
    """Last blocks that learn, with ``partial``."""
    rank: int = 8
    """Of what ``lora`` adds."""
    alpha: float = 16.0
    """What ``lora`` adds is multiplied by ``alpha / rank``."""
    encoder_rate: float = 0.05
    """Share of the learning rate at which pretrained weights are taught; additions learn at all of it."""
    n_labels: int = 2
    """Known from the clips."""
    pooling: PoolingName = "attention"
    head: int = 128
    """Units between pooling and logits; 0 for none."""
    dropout: float = 0.2

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {
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
        "layers": ("weighted", "last"),
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
                "data2vec-audio or Whisper, or its name on the Hugging Face Hub (nothing of it is fetched, "
                "unless download is true)"
            )


class EncoderNet(nn.Module):
    """``waveform (b, n)`` at 16 kHz, ``lengths (b,)`` -> logits ``(b, n_labels)``.

    Raises:
        ConfigError: no such checkpoint here, or none that can be used; more blocks to tune than it has.
        MissingExtraError: the extra ``ssl`` is not installed.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.identity = _opened(config)
        size, n_layers = self.encoder.size, len(self.encoder.layers)
        if config.mode == "partial" and config.n_tuned > n_layers:
            raise ConfigError(f"n_tuned is {config.n_tuned}; the encoder has {n_layers} blocks")
        self.layer_weights = (
            nn.Parameter(Tensor(n_layers + 1).zero_()) if config.layers == "weighted" else None
        )
        self.norm = nn.LayerNorm(size)
        self.head = Head(size, config.pooling, config.head, config.dropout, config.n_labels)
        self._learning = _learning(self.encoder, config)
        self.train()

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        layers, n_frames = self.encoder(waveform, lengths)
        z = layers[-1]
        if self.layer_weights is not None:
            weights = self.layer_weights.softmax(0)
            z = sum((weights[i] * layer for i, layer in enumerate(layers[1:], 1)), weights[0] * layers[0])
        logits: Tensor = self.head(self.norm(z), n_frames)
        return logits

    def train(self, mode: bool = True) -> EncoderNet:
        """As any module's, but what does not learn is as in prediction: nothing of it is dropped."""
        super().train(mode)
        self.encoder.eval()
        for part in self._learning:
            part.train(mode)
        for part in self.encoder.untaught():
            part.eval()
        return self

    def pretrained(self) -> list[nn.Parameter]:
        """Weights of the checkpoint that learn, which they do more slowly than what is new."""
        slow = self.config.mode in ("partial", "full")
        return [p for p in self.encoder.parameters() if slow and p.requires_grad]

    def plain(self) -> EncoderNet:
        """A copy that answers the same without additions to its weights: they are merged."""
        net = copy.deepcopy(self)
        if self.config.mode == "lora":
            _merge(net.encoder)
        return net

    def extra_repr(self) -> str:
        """Names the very weights: a training of others is another training."""
        return f"{self.config}, {self.identity}"


def _opened(config: EncoderConfig) -> tuple[WaveEncoder | WhisperEncoder, str]:
    """The encoder with its checkpoint's weights, and what tells these from all others."""
    found = encoders.find_embedding(
        config.checkpoint, revision=config.revision or None, download=config.download
    )  # looks whether it can be used
    model, ear = encoders.load_encoder(found.folder)
    identity = " ".join(encoders.hash_checkpoint(found.folder).values())
    if found.family == "whisper":
        return WhisperEncoder(model, ear), identity
    return WaveEncoder(model, normalise=bool(ear.do_normalize)), identity


def _learning(encoder: WaveEncoder | WhisperEncoder, config: EncoderConfig) -> list[nn.Module]:
    """Let what is to learn do so, and nothing else; the parts that are heard as in training."""
    encoder.requires_grad_(False)
    if config.mode == "frozen":
        return []
    if config.mode == "lora":
        _add(encoder.layers, config)
        return [encoder.layers]
    partial = [*list(encoder.layers)[-config.n_tuned :], *encoder.last()]
    parts: list[nn.Module] = [encoder] if config.mode == "full" else partial
    for part in parts:
        part.requires_grad_(True)
    for part in encoder.untaught():
        part.requires_grad_(False)
    return parts


def _add(layers: nn.ModuleList, config: EncoderConfig) -> None:
    """Low-rank additions to the queries and values of every attention."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError("an encoder tuned by lora", "ssl") from error
    lora = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=["q_proj", "v_proj"])
    inject_adapter_in_model(lora, layers)


def _merge(encoder: nn.Module) -> None:
    from peft.tuners.lora import LoraLayer

    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLayer):
                child.merge()
                setattr(parent, name, child.get_base_layer())
