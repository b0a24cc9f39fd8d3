"""Describe a trained model in the spec of its bundle: labels, input, calibration, split and licence."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import asdict

import numpy as np

from emovox._arrays import Doubles
from emovox.bundles import Abstain, Input, Licence, Spec, Target
from emovox.datasets import CORPORA
from emovox.datasets.manifest import Manifest
from emovox.datasets.splits import Split
from emovox.datasets.targets import UNITS
from emovox.errors import ConfigError
from emovox.evaluation.leakage import pack_hashes
from emovox.features import FeatureSet, find_feature_set
from emovox.labels import EMOTIONS
from emovox.training.calibration import Calibration
from emovox.training.config import Config

__all__ = ["check_spec", "find_licence", "make_spec", "make_targets"]

_OWN_LICENCE = "Apache-2.0"


def make_spec(
    config: Config,
    manifest: Manifest,
    split: Split,
    *,
    labels: tuple[str, ...],
    targets: tuple[Target, ...] = (),
    input: Input,
    calibration: Calibration,
    pretrained: str | None = None,
    unread: Container[str] = (),
) -> Spec:
    """Describe a model that was trained on a split with the settings of ``config``.

    Args:
        targets: what the values of the graph are of.
        input: what the graph takes.
        pretrained: the checkpoint that the weights started from, if any.
        unread: ids of clips that were not trained on, since they could not be read.

    Raises:
        ConfigError: the values are not possible in a bundle.
    """
    trained_on = manifest.select([*split.train, *split.validation])
    features = None
    if input.kind != "waveform":
        features = find_feature_set(config.features.set, config.features.overrides)
    source = config.features.set if features else pretrained or "the waveform"
    predicted = f"{config.model.name} on {source}"
    if targets:
        predicted = f"{', '.join(config.targets)} by {predicted}"
    try:
        return Spec(
            schema=2 if targets else 1,
            name=config.name,
            version="1",
            description=f"{predicted}, trained on {', '.join(trained_on.corpora)}",
            labels=labels,
            targets=targets,
            input=input,
            **asdict(config.windows),
            temperature=calibration.temperature,
            abstain=Abstain(confidence=calibration.threshold),
            corpora=trained_on.corpora,
            protocol=f"{split.name}#{split.digest}",
            taught=pack_hashes(trained_on.keep(lambda u: u.id not in unread)),
            licence=find_licence(trained_on.corpora, features, pretrained),
        )
    except ValueError as error:
        raise ConfigError(f"no bundle can be made of this config: {error}") from error


def check_spec(config: Config) -> None:
    """Check, before the work, the name and the windows of the bundle to come.

    Raises:
        ConfigError: they are not possible in a bundle.
    """
    try:
        for name in config.targets:
            Target(name=name, low=0.0, high=1.0)
        Spec(
            name=config.name,
            version="1",
            description="",
            labels=EMOTIONS[:2],
            input=Input(kind="waveform"),
            **asdict(config.windows),
            temperature=1.0,
            abstain=Abstain(confidence=0.0),
            corpora=(),
            protocol="",
            licence=Licence(code=_OWN_LICENCE, weights=_OWN_LICENCE, commercial=True),
        )
    except ValueError as error:
        raise ConfigError(f"no bundle can be made of this config: {error}") from error


def make_targets(config: Config, values: Doubles) -> tuple[Target, ...]:
    """Describe the targets of a config by their values ``(n, n_targets)`` in the training."""
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    return tuple(
        Target(
            name=name,
            low=float(low[k]),
            high=float(high[k]),
            unit=UNITS.get(name, ""),
            words=dict(config.target_words),
        )
        for k, name in enumerate(config.targets)
    )


def find_licence(
    corpora: Sequence[str], features: FeatureSet | None = None, pretrained: str | None = None
) -> Licence:
    """Combine the licences that bind the weights: those of the corpora and of the library of the features.

    Commercial use is granted only where each is known to allow it. The licence of a checkpoint
    (``pretrained``) is not known here.
    """
    terms = {name: CORPORA[name].licence if name in CORPORA else "not stated" for name in corpora}
    commercial = all(name in CORPORA and CORPORA[name].commercial for name in corpora)
    weights = "as its corpora: " + ", ".join(f"{name} ({licence})" for name, licence in terms.items())
    if features is not None and features.licence != _OWN_LICENCE:
        weights += f"; features: {features.licence}"
        commercial = False
    if pretrained is not None:
        weights += f"; as its checkpoint: {pretrained} (not known here)"
        commercial = False
    return Licence(code=_OWN_LICENCE, weights=weights, commercial=commercial)
