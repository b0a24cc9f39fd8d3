"""From a config of a net to a bundle: clips as the net takes them, a split, a training, a graph.

::

    table = clip_table(problem.manifest, config)
    trained = train_net(config, problem.manifest, plan.splits[0], table, folder=Path("runs/x/training"))

As in `emovox.training.experiment`: the weights are learnt from the training part alone, the validation part
says which
epoch is kept and what temperature, and nobody looks at the test. Needs the extra ``train``.

A net takes the features that the config names, or the waveform itself; then nobody asks for features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.augment.clips import augmented_id
from emovox.bundles import Features, Input
from emovox.datasets.manifest import Manifest
from emovox.datasets.splits import Split
from emovox.errors import ConfigError, MissingExtraError
from emovox.features import FeatureSet, find_feature_set
from emovox.features.cache import FeatureCache
from emovox.features.extraction import Clip, iter_features, list_clips, read_clips
from emovox.labels import sort_labels
from emovox.training.config import Config, NetModel
from emovox.training.experiment import Trained, spec_of

if TYPE_CHECKING:
    from torch import nn

    from emovox.training.calibration import Calibration
    from emovox.training.neural.clips import ClipSet
    from emovox.training.neural.curves import Epoch

__all__ = ["ClipTable", "check_net", "clip_sets", "clip_table", "train_net"]

Kind: TypeAlias = Literal["frames", "vector", "waveform"]

_N_WEIGHTS = 500_000_000
"""4 bytes each, and a file of ONNX holds 2 GB."""

_TRACED = 6
"""Clips on which graph and net must agree."""


@dataclass(frozen=True, eq=False)
class ClipTable:
    """Clips along their time: features, or samples."""

    ids: tuple[str, ...]
    clips: Mapping[str, Floats]
    """id -> ``(t, d)``, one row for a set of the kind vector, samples ``(n,)``; not what failed."""
    columns: tuple[str, ...]
    errors: Mapping[str, str]
    """id -> why there are no features."""
    reference: Mapping[str, Any]
    kind: Kind
    copies: tuple[Mapping[str, Floats], ...] = ()
    """As ``clips``, of the first changed copy of each training clip, of the second ..."""


def check_net(config: Config) -> None:
    """See early that the net can be made.

    Raises:
        ConfigError: the net, a setting or a value is unknown, or does not suit the rest of the config.
        MissingExtraError: PyTorch, or what the net needs, is not installed.
    """
    net = _made(config, n_in=1, n_labels=2)
    if not _takes_waveform(config):
        return
    if config.train.mask_time or config.train.mask_columns:
        raise ConfigError(
            f"the net {config.model.name!r} takes the waveform, which has no frames to hide: expected "
            "train.mask_time and train.mask_columns 0"
        )
    if (n_weights := sum(weight.numel() for weight in net.parameters())) > _N_WEIGHTS:
        raise ConfigError(
            f"the net has {n_weights} weights; expected at most {_N_WEIGHTS}, which one ONNX file can hold"
        )
    hears = getattr(getattr(net, "encoder", None), "hears", None)
    if hears is not None and config.windows.clip_s * SAMPLE_RATE > hears:
        longest_s = hears / SAMPLE_RATE
        raise ConfigError(
            f"windows.clip_s is {config.windows.clip_s:g}; this encoder hears {longest_s:g} s at most"
        )


def clip_table(
    manifest: Manifest,
    config: Config,
    *,
    training: Sequence[str] = (),
    workers: int = 1,
    store: FeatureCache | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ClipTable:
    """What the net takes of every clip: features (see `emovox.features.extraction`), or the sound.

    Args:
        training: ids of the clips whose changed copies are wanted too, where the config has some.

    Raises:
        ConfigError: the set, or a step of the augmentation, is unknown.
    """
    augmentation = config.augmentation()
    clips = list_clips(manifest)
    if augmentation is not None:
        clips += augmentation.clips(manifest.select(training))
    if _takes_waveform(config):
        found, errors = _sounds(clips, workers, progress)
        features = None
    else:
        features = find_feature_set(config.features.set, config.features.overrides)
        found, errors = _frames(clips, features, workers, store, progress)
    numbers = range(1, config.augment.copies + 1) if len(clips) > len(manifest) else ()
    return ClipTable(
        manifest.ids,
        {key: found[key] for key in manifest.ids if key in found},
        () if features is None else features.columns,
        errors,
        {} if features is None else features.reference(),
        "waveform" if features is None else _kind(features),
        tuple(
            {key: found[name] for key in training if (name := augmented_id(key, n)) in found} for n in numbers
        ),
    )


def _frames(
    clips: Sequence[Clip],
    features: FeatureSet,
    workers: int,
    store: FeatureCache | None,
    progress: Callable[[int, int], None],
) -> tuple[Mapping[str, Floats], Mapping[str, str]]:
    """Features and errors by id."""
    found, errors = {}, {}
    for n, one in enumerate(iter_features(clips, [features], workers=workers, cache=store)):
        if one.error is not None:
            errors[one.clip.id] = one.error
        elif not len(one.values[0]):
            errors[one.clip.id] = "it is too short for a frame"
        else:
            found[one.clip.id] = np.atleast_2d(one.values[0])
        progress(n + 1, len(clips))
    return found, errors


def _sounds(
    clips: Sequence[Clip], workers: int, progress: Callable[[int, int], None]
) -> tuple[Mapping[str, Floats], Mapping[str, str]]:
    """Samples and errors by id."""
    from emovox.training.neural.clips import WaveformCache

    shelf, errors = WaveformCache(), {}
    for n, one in enumerate(read_clips(clips, workers=workers)):
        if one.error is not None:
            errors[one.clip.id] = one.error
        else:
            shelf.add(one.clip.id, one.values[0])
        progress(n + 1, len(clips))
    return shelf.finish(), errors


def train_net(
    config: Config,
    manifest: Manifest,
    split: Split,
    table: ClipTable,
    *,
    folder: Path | None = None,
    tell: Callable[[Epoch], None] = lambda epoch: None,
) -> Trained:
    """Teach the net, set the temperature on the validation part, export.

    Args:
        folder: where checkpoints lie; a training that was stopped there goes on.
        tell: called after each epoch.

    Raises:
        ConfigError: a setting is impossible, or there is too little to train on.
        BundleError: graph and net disagree.
        KeyboardInterrupt: what was finished is saved in ``folder``.
    """
    from emovox.training.export import to_onnx
    from emovox.training.neural.trainer import fit_net

    labels, taught, held = clip_sets(manifest, split, table)
    net = _made(config, n_in=len(table.columns), n_labels=len(labels))
    fitted = fit_net(net, taught, held, config.train, seed=config.seed, folder=folder, on_epoch=tell)
    calibration = _calibrated(fitted.net, held, len(labels), config)
    model = to_onnx(*_traced(fitted.net, taught, table.kind), name=config.name, kind=table.kind)
    spec = spec_of(
        config,
        manifest,
        split,
        labels=labels,
        heard=Input(kind=table.kind, features=Features(**table.reference) if table.reference else None),
        calibration=calibration,
        pretrained=_pretrained(config),
        unread=table.errors,
    )
    n_weights = sum(weight.numel() for weight in fitted.net.parameters())
    notes = (
        f"{config.model.name}: {n_weights} parameters, epoch {fitted.best} of {len(fitted.epochs)} is kept",
    )
    return Trained(model, spec, fitted.uar, None, n_weights, notes)


def _made(config: Config, *, n_in: int, n_labels: int) -> nn.Module:
    """A net with fresh weights, always the same for one seed."""
    try:
        import torch

        from emovox.nets.registry import make_net
    except ImportError as error:
        raise MissingExtraError("training a net", "train") from error
    if not isinstance(config.model, NetModel):
        raise ConfigError(f"model.kind is {config.model.kind!r}; expected net")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return make_net(config.model.name, config.model.params, n_in=n_in, n_labels=n_labels)


def _takes_waveform(config: Config) -> bool:
    from emovox.nets.registry import find_net

    return find_net(config.model.name).input == "waveform"


def _pretrained(config: Config) -> str | None:
    """What the checkpoint is called of which the net begins, if it does; a folder by its last name."""
    assert isinstance(config.model, NetModel)
    checkpoint = config.model.params.get("checkpoint")
    return None if checkpoint is None else Path(checkpoint).name if Path(checkpoint).is_dir() else checkpoint


def _kind(features: FeatureSet) -> Kind:
    return "frames" if features.kind == "frames" else "vector"


def _labels(manifest: Manifest, split: Split) -> tuple[str, ...]:
    """Emotions of the training, in the order of the house."""
    there = {u.emotion for u in manifest.select(split.train)}
    labels = sort_labels(there)
    if len(labels) < 2:
        raise ConfigError(
            f"{split.name}: the training shows {', '.join(labels) or 'nothing'}; expected two emotions"
        )
    return labels


def clip_sets(
    manifest: Manifest, split: Split, table: ClipTable
) -> tuple[tuple[str, ...], ClipSet, ClipSet | None]:
    """Labels, training clips and validation clips, if there are any.

    Raises:
        ConfigError: no training clip could be read, or all express the same.
    """
    labels = _labels(manifest, split)
    taught = _clip_set(manifest, table, split.train, labels, table.copies)
    if taught is None:
        raise ConfigError(f"{split.name}: none of the {len(split.train)} training clips could be read")
    return labels, taught, _clip_set(manifest, table, split.validation, labels)


def _clip_set(
    manifest: Manifest,
    table: ClipTable,
    ids: Sequence[str],
    labels: Sequence[str],
    copies: Sequence[Mapping[str, Floats]] = (),
) -> ClipSet | None:
    """Clips that could be read and whose emotion is known; ``None`` if there are none.

    A copy that failed (an error of the table) is taught as its clip is.
    """
    from emovox.training.neural.clips import ClipSet, label_mask

    kept = [key for key in ids if key in table.clips and manifest[key].emotion in labels]
    if not kept:
        return None
    truth = np.array([labels.index(manifest[key].emotion) for key in kept], np.int64)
    homes = np.array([manifest.corpora.index(manifest[key].corpus) for key in kept], np.int64)
    variants = [[table.clips[key] for key in kept]]
    variants += [[copy.get(key, table.clips[key]) for key in kept] for copy in copies]
    return ClipSet(variants, truth, homes, label_mask(truth, homes, len(labels)))


def _calibrated(net: nn.Module, held: ClipSet | None, n_labels: int, config: Config) -> Calibration:
    from emovox.training.calibration import calibrated
    from emovox.training.neural.trainer import predict_logits

    if held is None:
        return calibrated(np.zeros((0, n_labels)), np.zeros(0, np.int64), config.coverage)
    logits = predict_logits(net, held, batch_size=config.train.batch_size)
    return calibrated(logits.astype(np.float64), held.labels, config.coverage)


def _traced(net: nn.Module, taught: ClipSet, kind: Kind) -> tuple[nn.Module, list[Floats]]:
    """What is exported, and items of different lengths to try it on."""
    from emovox.nets.base import SingleFrameNet

    clips = list(taught.variants[0])
    some = clips[:: max(1, len(clips) // _TRACED)][:_TRACED]
    if kind == "vector":
        rows = [clip[0] for clip in some]
        return SingleFrameNet(net), rows if len(rows) > 1 else rows * 2
    longest = max(some, key=len)
    return net, [np.concatenate([longest, longest]), longest, *some, longest[: max(1, len(longest) // 3)]]
