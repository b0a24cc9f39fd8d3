"""How any net is trained: epochs on Lightning, watched by validation speakers, resumed exactly.

::

    fitted = fit_net(net, training, validation, TrainingConfig(epochs=40), folder=Path("runs/x/training"))
    fitted.net(features, lengths)                      # the best epoch's weights, in evaluation mode

**Exactly resumed.** Whatever is random in a step depends on the seed, the epoch and the step alone, and each
epoch ends with a checkpoint of weights, optimiser, schedule and average. So a run that was killed and started
again ends with the weights of one that was not. Checkpoints hold tensors and plain values, and are read by
torch's ``weights_only`` loader, which runs no code.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emovox.errors import ConfigError, MissingExtraError
from emovox.nets.base import FrameNet
from emovox.nets.vox import Vox
from emovox.training.config import TrainingConfig
from emovox.training.neural.clips import ClipSet, frame_statistics, padded
from emovox.training.neural.epochs import CHECKPOINT, Epoch
from emovox.training.neural.vectors import LEAST_DEVIATION

__all__ = ["Fitted", "fit_net", "learn_scale", "logits_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A trained net."""

    net: nn.Module
    """With the weights of the best epoch, in evaluation mode, on the CPU."""
    epochs: tuple[Epoch, ...]
    best: int
    """Number of the epoch whose weights these are: the best validation UAR, the last without validation."""
    uar: float | None
    """Of the validation, at that epoch."""


def fit_net(
    net: nn.Module,
    training: ClipSet,
    validation: ClipSet | None,
    config: TrainingConfig,
    *,
    seed: int = 0,
    folder: Path | None = None,
    tell: Callable[[Epoch], None] = lambda epoch: None,
    give_up: Callable[[Epoch], bool] = lambda epoch: False,
) -> Fitted:
    """Train ``net`` on ``training``; keep the weights that are best for the speakers of ``validation``.

    Args:
        net: a `FrameNet`, or one that takes ``waveform (b, n), lengths (b,)``.
        folder: for checkpoints, curves and TensorBoard; a run that was stopped there goes on. ``None``: all
            is forgotten.
        tell: called after each epoch.
        give_up: asked after each epoch; the training ends where it says so.

    Raises:
        ConfigError: the folder holds the training of something else, or cannot be read; or there is no GPU.
        MissingExtraError: Lightning is not installed.
        KeyboardInterrupt: the epochs that were finished are saved; the same call goes on.
    """
    try:
        import lightning  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("training a net", "train") from error
    from emovox.training.neural.lightning_module import Course, run_course

    _check_device(config.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learn_scale(net, training)
        course = Course(net, training, validation, config, seed, tell, give_up)
        saved = None if folder is None else _saved(folder, _key(course))
        with _quiet():
            run_course(course, folder, saved)
    net.load_state_dict(course.best_state(), strict=not course.untaught)
    return Fitted(net.cpu().eval(), tuple(course.epochs), course.best, course.best_uar)


def learn_scale(net: nn.Module, training: ClipSet) -> None:
    """Let the net know mean and deviation of its inputs, from the training's clips alone."""
    if isinstance(net, FrameNet):
        net.standardizer.set_statistics(*frame_statistics(training.variants))
    elif isinstance(net, Vox):
        with torch.inference_mode():
            clips = [clip for variant in training.variants for clip in variant]
            rows = torch.cat([net.front(*padded([clip])) for clip in clips]).clone()
        deviation = rows.std(0, unbiased=False)
        net.mean.copy_(rows.mean(0))
        net.scale.copy_(1 / torch.where(deviation < LEAST_DEVIATION, 1.0, deviation))


def logits_of(
    net: nn.Module, clips: ClipSet, *, batch_size: int = 32
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What the net answers to the clips as they are, ``(n, n_labels)``."""
    rows = []
    with torch.inference_mode():
        for first in range(0, len(clips), batch_size):
            rows.append(net(*padded(clips.variants[0][first : first + batch_size])))
    answers: Tensor = torch.cat(rows)
    return answers.numpy()


def _check_device(device: str) -> None:
    if device == "gpu" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise ConfigError(
            "train.device is gpu, but none is there that PyTorch can use; expected cpu, or auto, which takes "
            "a GPU where there is one"
        )


def _key(course: Any) -> str:
    """Names what is trained, how and on what: only the training of the same is gone on with."""
    seen = hashlib.sha256(json.dumps(asdict(course.config), sort_keys=True).encode())
    clips = [None if one is None else one.digest for one in (course.taught, course.held)]
    seen.update(f"{course.seed} {course.net} {clips}".encode())
    course.key = seen.hexdigest()[:16]
    return str(course.key)


def _saved(folder: Path, key: str) -> Mapping[str, Any] | None:
    """The checkpoint in ``folder``, if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / CHECKPOINT
    if not file.exists():
        return None
    try:
        found: Mapping[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        known = found["key"]
    except Exception as error:  # torch's errors for broken and for unsafe files share no base class
        raise ConfigError(
            f"the checkpoint {str(file)!r} cannot be read: {error}; remove it to begin anew"
        ) from error
    if known != key:
        raise ConfigError(
            f"{str(file)!r} is of another training (other clips, net or settings): name another folder, or "
            "remove it to begin anew"
        )
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice: what it says of workers and loggers does not hold here."""
    import logging

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
