"""The nets by name, each with its settings.

>>> net = make_net("bilstm", {"hidden": 64}, n_in=26, n_labels=8)
>>> net(torch.zeros(2, 100, 26), torch.tensor([100, 80])).shape
torch.Size([2, 8])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from torch import nn

from emovox.errors import ConfigError, did_you_mean
from emovox.nets.base import Perceptron, PerceptronConfig
from emovox.nets.conformer import Conformer, ConformerConfig
from emovox.nets.convolutional import (
    Clstm,
    ClstmConfig,
    Cnn1d,
    Cnn1dConfig,
    Cnn2d,
    Cnn2dConfig,
    Crnn,
    CrnnConfig,
    Tcn,
    TcnConfig,
)
from emovox.nets.encoder import EncoderConfig, EncoderNet
from emovox.nets.recurrent import BiLstmConfig, GruConfig, RecurrentConfig, RecurrentNet
from emovox.nets.vox import Vox, VoxConfig

__all__ = ["NETS", "NetEntry", "find_net", "make_net"]


@dataclass(frozen=True, slots=True)
class NetEntry:
    """One kind of net."""

    config: type[Any]
    """Frozen dataclass of its settings, which checks them."""
    build: Callable[[Any], nn.Module]
    source: str
    input: Literal["frames", "waveform"] = "frames"


NETS: Mapping[str, NetEntry] = {
    "mlp": NetEntry(PerceptronConfig, Perceptron, "Rumelhart, Hinton & Williams, 1986"),
    "lstm": NetEntry(RecurrentConfig, RecurrentNet, "Hochreiter & Schmidhuber, 1997"),
    "bilstm": NetEntry(BiLstmConfig, RecurrentNet, "Graves & Schmidhuber, 2005"),
    "gru": NetEntry(GruConfig, RecurrentNet, "Cho et al., 2014"),
    "cnn1d": NetEntry(Cnn1dConfig, Cnn1d, "LeCun et al., 1998; over time"),
    "cnn2d": NetEntry(Cnn2dConfig, Cnn2d, "LeCun et al., 1998"),
    "clstm": NetEntry(ClstmConfig, Clstm, "Trigeorgis et al., 2016"),
    "crnn": NetEntry(CrnnConfig, Crnn, "Shi, Bai & Yao, 2017"),
    "tcn": NetEntry(TcnConfig, Tcn, "Bai, Kolter & Koltun, 2018"),
    "conformer": NetEntry(ConformerConfig, Conformer, "Gulati et al., 2020"),
    "encoder": NetEntry(EncoderConfig, EncoderNet, "Yang et al., 2021, and its checkpoint's", "waveform"),
    "vox": NetEntry(VoxConfig, Vox, "model version 2", "waveform"),
}
"""Name -> net."""

_SET_FROM_DATA = ("n_in", "n_labels", "front")
"""Settings that users do not give: they follow from the data, and ``vox`` has one front end only."""


def find_net(name: str) -> NetEntry:
    """Return the entry ``name``.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    if name in NETS:
        return NETS[name]
    raise ConfigError(f"no net {name!r}; {did_you_mean(name, NETS)}")


def make_net(name: str, params: Mapping[str, Any] | None = None, *, n_in: int, n_labels: int) -> nn.Module:
    """Build a net with fresh weights.

    Args:
        name: a key of `NETS`.
        params: settings that differ from the defaults, as YAML has them.
        n_in: columns of the features.
        n_labels: number of emotions.

    Raises:
        ConfigError: an unknown net or setting, or a value out of its range; the message names the nearest.
    """
    entry = find_net(name)
    known = [field.name for field in fields(entry.config) if field.name not in _SET_FROM_DATA]
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in (params or {}).items()}
    for key in given:
        if key not in known:
            raise ConfigError(f"the net {name!r} has no setting {key!r}; {did_you_mean(key, known)}")
    given["n_labels"] = n_labels
    if entry.input == "frames":
        given["n_in"] = n_in
    try:
        return entry.build(entry.config(**given))
    except ConfigError as error:
        raise ConfigError(f"the net {name!r}: {error}") from None
