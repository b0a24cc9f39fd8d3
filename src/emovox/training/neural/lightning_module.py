"""A training as Lightning has it: a module that draws its own batches, and what keeps its state."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn

from emovox._files import replaced
from emovox.evaluation import metrics
from emovox.nets.base import FrameNet
from emovox.nets.encoder import EncoderNet
from emovox.training.config import TrainingConfig
from emovox.training.neural.batches import Lesson, loss_of, mixed, spec_augmented
from emovox.training.neural.clips import ClipSet, drawn, padded
from emovox.training.neural.epochs import CHECKPOINT, Epoch, write_curves
from emovox.training.neural.vectors import soft_targets

__all__ = ["Course", "learning_rate_at", "run_course"]


def learning_rate_at(step: int, n_steps: int, config: TrainingConfig) -> float:
    """Share of the highest learning rate at a step.

    ``one-cycle`` climbs during the warm-up and falls to nothing (Smith & Topin, 2018), ``cosine`` only falls
    (Loshchilov & Hutter, 2017), ``constant`` stays after the warm-up.
    """
    warm = config.warm_up * n_steps if config.schedule != "cosine" else 0.0
    if step < warm:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / warm))
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1.0, n_steps - warm))))


class Course(L.LightningModule):
    """A net, its clips, and where its training stands."""

    key = ""
    """Names what is trained, how and on what."""

    def __init__(
        self,
        net: nn.Module,
        taught: ClipSet,
        held: ClipSet | None,
        config: TrainingConfig,
        seed: int,
        tell: Callable[[Epoch], None],
        give_up: Callable[[Epoch], bool],
    ) -> None:
        super().__init__()
        self.net, self.config, self.seed = net, config, seed
        self.tell, self.give_up = tell, give_up
        self.taught, self.held = taught, held
        self.average = copy.deepcopy(net).requires_grad_(False) if config.ema else None
        self.untaught = {name for name, weight in net.named_parameters() if not weight.requires_grad}
        """Pretrained weights that stay as they are: no checkpoint holds them."""
        self.strict_loading = not self.untaught
        self.chances = taught.chances() if config.balance == "draws" else None
        self.class_weights = _class_weights(taught) if config.balance == "weights" else None
        # A single clip left over joins the batch before it: a batch norm cannot learn from one alone.
        self.n_steps = max(1, math.ceil((len(taught) - 1) / config.batch_size))
        self.epochs: list[Epoch] = []
        self.best = 0
        self.best_uar: float | None = None
        self._best_state: dict[str, Tensor] = {}
        self._losses: list[Tensor] = []
        self._answers: list[Tensor] = []
        self._began_s = 0.0

    # ------------------------------------------------------------------------------------ teaching

    def configure_optimizers(self) -> Any:
        rate = self.config.learning_rate
        optimiser = torch.optim.AdamW(_groups(self.net, rate), lr=rate, weight_decay=self.config.weight_decay)
        n_steps = self.n_steps * self.config.epochs
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: learning_rate_at(step, n_steps, self.config)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        self._began_s, self._losses = time.monotonic(), []
        self._order = drawn(self.chances, len(self.taught), self.seed, self.current_epoch)

    def training_step(self, step: int) -> Tensor:
        # All that is random in a step follows from these three, whatever happened before.
        _sow(_mixed_seed(self.seed, self.current_epoch, step), self.device)
        lesson = self._lesson(self._rows(step), step)
        if self.config.mixup:
            lesson = mixed(lesson, self.config.mixup)
        loss = loss_of(self._answer(self.net, lesson), lesson)
        self._losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, *args: Any) -> None:
        if self.average is not None:
            _follow(self.average, self.net, self.config.ema, self.global_step, self.untaught)

    def _rows(self, step: int) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Clips of a step; of several machines each takes its share."""
        size = self.config.batch_size
        rows = self._order[step * size : None if step + 1 == self.n_steps else (step + 1) * size]
        mine = rows[self.global_rank :: self.trainer.world_size]
        return mine if len(mine) > 1 else rows[:2]

    def _lesson(self, rows: np.ndarray[Any, np.dtype[np.intp]], step: int) -> Lesson:
        set_, rng = self.taught, np.random.default_rng([self.seed, self.current_epoch, step])
        n, clean = len(set_.variants), self.config.clean
        which = (
            np.where(rng.random(len(rows)) < clean, 0, rng.integers(1, n, len(rows))) if n > 1 else rows * 0
        )
        clips = [
            _cropped(set_.variants[v][row], self.config.crop, rng) for v, row in zip(which, rows, strict=True)
        ]
        x, lengths = (part.to(self.device) for part in padded(clips))
        labels = torch.from_numpy(set_.labels[rows])
        shown = torch.from_numpy(set_.shown[set_.corpora[rows]])
        weights = torch.ones(len(rows)) if self.class_weights is None else self.class_weights[labels]
        target = soft_targets(labels, shown, self.config.label_smoothing)
        if isinstance(self.net, FrameNet):
            x = self.net.standardize(x, lengths)
        return Lesson(x, lengths, *(part.to(self.device) for part in (target, shown, weights)))

    def _answer(self, net: nn.Module, lesson: Lesson) -> Tensor:
        if not isinstance(net, FrameNet):
            logits: Tensor = net(lesson.z, lesson.lengths)
            return logits
        shares = {"time_share": self.config.mask_time, "column_share": self.config.mask_columns}
        z = spec_augmented(lesson.z, lesson.lengths, **shares) if any(shares.values()) else lesson.z
        return net.classify(z, lesson.lengths)

    # ------------------------------------------------------------------------------------ judging

    def on_validation_epoch_start(self) -> None:
        self._answers = []

    def validation_step(self, step: int) -> None:
        assert self.held is not None
        size = self.config.batch_size
        x, lengths = padded(self.held.variants[0][step * size : (step + 1) * size])
        judged = self.net if self.average is None else self.average
        self._answers.append(judged(x.to(self.device), lengths.to(self.device)).float().cpu())

    def finish_epoch(self) -> None:
        """Note the epoch, and its weights if they are the best."""
        loss = float(torch.stack(self._losses).mean())
        validation_loss, uar = self._judged()
        if uar is None or self.best_uar is None or uar > self.best_uar:
            self.best, self.best_uar = self.current_epoch + 1, uar
            judged = self.net if self.average is None else self.average
            state = judged.state_dict().items()
            self._best_state = {k: v.detach().cpu().clone() for k, v in state if k not in self.untaught}
        epoch = Epoch(
            self.current_epoch + 1,
            self.config.epochs,
            loss,
            validation_loss,
            uar,
            float(self.trainer.optimizers[0].param_groups[0]["lr"]),
            time.monotonic() - self._began_s,
        )
        self.epochs.append(epoch)

    def _judged(self) -> tuple[float | None, float | None]:
        if self.held is None or not self._answers:
            return None, None
        logits, labels = torch.cat(self._answers), torch.from_numpy(self.held.labels)
        loss = float(nn.functional.cross_entropy(logits, labels))
        return loss, metrics.uar(self.held.labels.tolist(), logits.argmax(1).tolist())

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or the validation has not gained for long enough."""
        done = len(self.epochs)
        waited = self.held is not None and done - self.best >= self.config.patience
        return done >= self.config.epochs or waited

    def best_state(self) -> Mapping[str, Tensor]:
        """Weights of the best epoch, but those that nobody teaches."""
        return self._best_state

    # ------------------------------------------------------------------------------------ going on

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["key"] = self.key
        state = checkpoint["state_dict"].items()
        checkpoint["state_dict"] = {k: v for k, v in state if k.partition(".")[2] not in self.untaught}
        checkpoint["epochs"] = [asdict(epoch) for epoch in self.epochs]
        checkpoint["best"] = {"number": self.best, "uar": self.best_uar, "state": self._best_state}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.epochs = [Epoch(**row) for row in checkpoint["epochs"]]
        best = checkpoint["best"]
        self.best, self.best_uar, self._best_state = best["number"], best["uar"], dict(best["state"])


class _Keeper(Checkpoint):
    """Ends each epoch: notes it, saves where the training stands, tells, stops when it is over."""

    def __init__(self, folder: Path | None, board: Any) -> None:
        self.folder, self.board = folder, board

    def on_train_epoch_end(self, trainer: L.Trainer, course: Any) -> None:
        course.finish_epoch()
        epoch = course.epochs[-1]
        if self.folder is not None:
            _save(trainer, self.folder / CHECKPOINT)
            if trainer.is_global_zero:
                write_curves(self.folder, course.epochs)
        if self.board is not None:
            told = {"loss": epoch.loss, "validation_loss": epoch.validation_loss, "uar": epoch.uar}
            self.board.log_metrics({k: v for k, v in told.items() if v is not None}, epoch.number)
        if trainer.is_global_zero:
            course.tell(epoch)
        trainer.should_stop = course.is_over or course.give_up(epoch)


def _save(trainer: L.Trainer, file: Path) -> None:
    """All machines take part in a checkpoint, and the first one writes it."""
    if not trainer.is_global_zero:
        trainer.save_checkpoint(file)
        return
    with replaced(file) as half:
        trainer.save_checkpoint(half)


def run_course(course: Course, folder: Path | None, saved: Mapping[str, Any] | None) -> None:
    """Teach until it is over, from ``saved`` where there is something.

    Raises:
        KeyboardInterrupt: as typed.
    """
    if saved is not None:
        course.on_load_checkpoint(dict(saved))
        if course.is_over:
            return
    config, board = course.config, _board(folder, course.config)
    trainer = L.Trainer(
        accelerator=config.device,
        devices="auto" if config.device != "cpu" else 1,
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        max_epochs=config.epochs,
        gradient_clip_val=config.gradient_norm,
        callbacks=[_Keeper(folder, board)],
        logger=board or False,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    held = None if course.held is None else range(math.ceil(len(course.held) / config.batch_size))
    place = None if saved is None or folder is None else str(folder / CHECKPOINT)
    try:
        trainer.fit(course, range(course.n_steps), held, ckpt_path=place, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    if trainer.interrupted:
        raise KeyboardInterrupt


def _board(folder: Path | None, config: TrainingConfig) -> Any:
    if folder is None or not config.tensorboard:
        return None
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name="", version="tensorboard")


def _groups(net: nn.Module, rate: float) -> list[dict[str, Any]]:
    """What learns; pretrained weights at a share of the rate."""
    slow = net.pretrained() if isinstance(net, EncoderNet) else []
    apart = {id(weight) for weight in slow}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in net.parameters() if p.requires_grad and id(p) not in apart]}
    ]
    if isinstance(net, EncoderNet) and slow:
        groups.append({"params": slow, "lr": rate * net.config.encoder_rate})
    return groups


def _class_weights(clips: ClipSet) -> Tensor:
    """What a clip of each label counts, so that labels count alike; 1 on average."""
    counts = np.bincount(clips.labels, minlength=clips.shown.shape[1])
    n_present = max(1, int((counts > 0).sum()))
    weights = np.where(counts > 0, len(clips) / np.maximum(counts, 1) / n_present, 0.0)
    return torch.from_numpy(weights.astype(np.float32))


def _cropped(clip: np.ndarray[Any, Any], crop: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """A stretch of ``crop`` frames, anywhere in a longer clip; 0: all of it."""
    if not crop or len(clip) <= crop:
        return clip
    first = int(rng.integers(len(clip) - crop + 1))
    return clip[first : first + crop]


def _sow(seed: int, device: torch.device) -> None:
    """Seed what draws in a step: torch's own way keeps a stack trace for each accelerator that sleeps."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _mixed_seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


@torch.no_grad()
def _follow(average: nn.Module, net: nn.Module, decay: float, n_steps: int, untaught: Set[str]) -> None:
    """Move the average of weights towards the net's; faster at first, lest its beginning stays in it."""
    share = 1 - min(decay, (1 + n_steps) / (10 + n_steps))
    news = net.state_dict()
    for name, old in average.state_dict().items():
        new = news[name]
        if name in untaught:
            continue
        if new.is_floating_point():
            old.lerp_(new, share)
        else:
            old.copy_(new)
