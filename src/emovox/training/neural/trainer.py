"""Training of any net on clips: epochs on Lightning, early stopping on validation speakers, exact resuming.

::

    fitted = fit_net(net, training, validation, TrainingConfig(epochs=40), folder=Path("runs/x/training"))
    fitted.net(features, lengths)                      # the best epoch's weights, in evaluation mode

Randomness in a step depends on seed, epoch and step alone, and each epoch ends with a checkpoint of weights,
optimiser, schedule and average. A training that was killed and started again therefore ends with the weights
of an uninterrupted one. Checkpoints contain tensors and plain values, read by torch's ``weights_only``
loader, which runs no code.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from emovox.errors import ConfigError, MissingExtraError
from emovox.nets.base import FrameNet
from emovox.nets.vox import Vox
from emovox.training.config import TrainingConfig
from emovox.training.neural.clips import ClipSet, frame_statistics, pad_clips
from emovox.training.neural.curves import CHECKPOINT, Epoch
from emovox.training.neural.vectors import MIN_DEVIATION

__all__ = ["FittedNet", "fit_net", "fit_standardizer", "predict_logits"]


@dataclass(frozen=True, slots=True, eq=False)
class FittedNet:
    """A trained net."""

    net: nn.Module
    """With the weights of the best epoch, in evaluation mode, on the CPU."""
    epochs: tuple[Epoch, ...]
    best: int
    """Number of the epoch with the best validation UAR; the last one without validation."""
    uar: float | None
    """On validation clips, at that epoch."""
    ccc: float | None = None
    """Likewise, the mean over the targets."""


def fit_net(
    net: nn.Module,
    training: ClipSet,
    validation: ClipSet | None,
    config: TrainingConfig,
    *,
    seed: int = 0,
    folder: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    should_stop: Callable[[Epoch], bool] = lambda epoch: False,
) -> FittedNet:
    """Train ``net`` on ``training`` and keep the weights that are best on ``validation``.

    Args:
        net: a `FrameNet`, or a net that takes ``waveform (b, n), lengths (b,)``.
        training: training clips.
        validation: clips of other speakers, which select the epoch.
        config: settings of the training.
        seed: of sampling, augmentation and dropout.
        folder: for checkpoints, curves and TensorBoard; a training interrupted there is resumed. ``None``:
            nothing is saved.
        on_epoch: called after each epoch.
        should_stop: called after each epoch; the training ends if it returns True.

    Raises:
        ConfigError: the folder contains another training, or cannot be read; or there is no GPU.
        MissingExtraError: Lightning is not installed.
        KeyboardInterrupt: finished epochs are saved, and the same call resumes.
    """
    try:
        import lightning  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("training a net", "train") from error
    from emovox.training.neural.lightning_module import NetModule, run_training

    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if config.device == "gpu" and not has_gpu:
        raise ConfigError(
            "train.device is gpu, but PyTorch finds none; expected cpu, or auto, which uses one where it can"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fit_standardizer(net, training)
        module = NetModule(net, training, validation, config, seed, on_epoch, should_stop)
        digests = [None if clips is None else clips.digest for clips in (training, validation)]
        key = hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode())
        key.update(f"{seed} {net} {digests}".encode())
        module.key = key.hexdigest()[:16]
        checkpoint = None if folder is None else _read_checkpoint(folder, module.key)
        with _quiet_lightning():
            run_training(module, folder, checkpoint)
    net.load_state_dict(module.best_state, strict=not module.frozen)
    return FittedNet(
        net.cpu().eval(), tuple(module.epochs), module.best_epoch, module.best_uar, module.best_ccc
    )


def fit_standardizer(net: nn.Module, training: ClipSet) -> None:
    """Set mean and deviation of the net's inputs from the training clips."""
    if isinstance(net, FrameNet):
        net.standardizer.set_statistics(*frame_statistics(training.variants))
    elif isinstance(net, Vox):
        with torch.inference_mode():
            clips = [clip for variant in training.variants for clip in variant]
            rows = torch.cat([net.front(*pad_clips([clip])) for clip in clips]).clone()
        deviation = rows.std(0, unbiased=False)
        net.mean.copy_(rows.mean(0))
        net.scale.copy_(1 / torch.where(deviation < MIN_DEVIATION, 1.0, deviation))


@torch.inference_mode()
def predict_logits(
    net: nn.Module, clips: ClipSet, *, batch_size: int = 32
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the net's outputs ``(n, n_labels + n_values)`` of the clips without augmentation."""
    batches = range(0, len(clips), batch_size)
    return np.concatenate(
        [net(*pad_clips(clips.variants[0][first : first + batch_size])).numpy() for first in batches]
    )


def _read_checkpoint(folder: Path, key: str) -> Mapping[str, Any] | None:
    """Read the checkpoint in ``folder``, if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / CHECKPOINT
    if not file.exists():
        return None
    try:
        checkpoint: Mapping[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        found = checkpoint["key"]
    except Exception as error:  # torch's errors for broken and for unsafe files share no base class
        raise ConfigError(
            f"the checkpoint {str(file)!r} cannot be read: {error}; remove it to begin anew"
        ) from error
    if found != key:
        raise ConfigError(
            f"{str(file)!r} is of another training (other clips, net or settings): name another folder, or "
            "remove it to begin anew"
        )
    return checkpoint


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advice on workers and loggers, which does not apply here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
