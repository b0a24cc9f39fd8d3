"""The nets by name, each with its settings.

::

    net = make("bilstm", {"hidden": 64}, n_in=26, n_labels=8)
    net(features, lengths)                              # (b, t, 26), (b,) -> (b, 8)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from torch import nn

from emovox.errors import ConfigError, did_you_mean
from emovox.nets.conformer import Conformer, ConformerConfig
from emovox.nets.convolutional import Clstm, ClstmConfig, Cnn1d, Cnn1dConfig, Tcn, TcnConfig
from emovox.nets.convolutional_2d import Cnn2d, Cnn2dConfig, Crnn, CrnnConfig
from emovox.nets.encoder import EncoderConfig, EncoderNet
from emovox.nets.perceptron import Perceptron, PerceptronConfig
from emovox.nets.recurrent import BiLstmConfig, GruConfig, RecurrentConfig, RecurrentNet
from emovox.nets.vox import Vox, VoxConfig

__all__ = ["NETS", "NetEntry", "find_net", "make"]


@dataclass(frozen=True, slots=True)
class NetEntry:
    """One kind of net."""

    config: type[Any]
    """A frozen dataclass of its settings, which checks them."""
    build: Callable[[Any], nn.Module]
    source: str
    takes: Literal["frames", "waveform"] = "frames"


NETS: Mapping[str, NetEntry] = {
    "mlp": NetEntry(PerceptronConfig, Perceptron, "Rumelhart, Hinton & Williams, 1986"),
    "lstm": NetEntry(RecurrentConfig, RecurrentNet, "Hochreiter & Schmidhuber, 1997"),
    "bilstm": NetEntry(BiLstmConfig, RecurrentNet, "Graves & Schmidhuber, 2005"),
    "gru": NetEntry(GruConfig, RecurrentNet, "Cho et al., 2014"),
    "cnn1d": NetEntry(Cnn1dConfig, Cnn1d, "LeCun et al., 1998; along time"),
    "cnn2d": NetEntry(Cnn2dConfig, Cnn2d, "LeCun et al., 1998"),
    "clstm": NetEntry(ClstmConfig, Clstm, "Trigeorgis et al., 2016"),
    "crnn": NetEntry(CrnnConfig, Crnn, "Shi, Bai & Yao, 2017"),
    "tcn": NetEntry(TcnConfig, Tcn, "Bai, Kolter & Koltun, 2018"),
    "conformer": NetEntry(ConformerConfig, Conformer, "Gulati et al., 2020"),
    "encoder": NetEntry(
        EncoderConfig, EncoderNet, "Yang et al., 2021, and its checkpoint's", takes="waveform"
    ),
    "vox": NetEntry(VoxConfig, Vox, "the default model's", takes="waveform"),
}
"""Name -> net."""

_KNOWN_FROM_DATA = ("n_in", "n_labels", "front")
"""Settings that nobody types: the data say them, and the front end of ``vox`` is one."""


def find_net(name: str) -> NetEntry:
    """The entry ``name``.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    if name in NETS:
        return NETS[name]
    raise ConfigError(f"no net {name!r}; {did_you_mean(name, NETS)}")


def make(name: str, params: Mapping[str, Any] | None = None, *, n_in: int, n_labels: int) -> nn.Module:
    """A net with fresh weights.

    Args:
        params: settings that differ from the defaults, as YAML has them.
        n_in: columns of the features.
        n_labels: emotions.

    Raises:
        ConfigError: an unknown net or setting, or a value out of its range; the message names the nearest.
    """
    entry = find_net(name)
    known = [one.name for one in fields(entry.config) if one.name not in _KNOWN_FROM_DATA]
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in (params or {}).items()}
    for key in given:
        if key not in known:
            raise ConfigError(f"the net {name!r} has no setting {key!r}; {did_you_mean(key, known)}")
    given["n_labels"] = n_labels
    if entry.takes == "frames":
        given["n_in"] = n_in
    try:
        return entry.build(entry.config(**given))
    except ConfigError as error:
        raise ConfigError(f"the net {name!r}: {error}") from None
