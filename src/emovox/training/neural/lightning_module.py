"""The training loop on Lightning: a module that draws its own batches, checkpoints that resume exactly."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn

from emovox._arrays import Floats
from emovox._files import atomic_path
from emovox.evaluation import metrics
from emovox.nets.base import FrameNet
from emovox.nets.encoder import EncoderNet
from emovox.training.config import TrainingConfig
from emovox.training.neural.batches import (
    Batch,
    compute_loss,
    concordance_loss,
    mix_clips,
    soft_targets,
    spec_augment,
)
from emovox.training.neural.clips import ClipSet, draw_epoch, pad_clips
from emovox.training.neural.curves import CHECKPOINT, Epoch, find_score, write_curves

__all__ = ["NetModule", "learning_rate_at", "run_training"]


def learning_rate_at(step: int, n_steps: int, config: TrainingConfig) -> float:
    """Return the learning rate at a step, as a share of the highest.

    ``one-cycle`` rises during the warm-up and falls to 0 (Smith & Topin, 2018), ``cosine`` only falls
    (Loshchilov & Hutter, 2017), ``constant`` stays after the warm-up.
    """
    warm_up = config.warm_up * n_steps if config.schedule != "cosine" else 0.0
    if step < warm_up:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / warm_up))
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1.0, n_steps - warm_up))))


def _mean_ccc(true: Floats, predicted: Floats) -> float | None:
    """Return the mean CCC of the values for which it is defined; ``None``: for none."""
    scores = []
    for k in range(true.shape[1]):
        known = ~np.isnan(true[:, k])
        if known.sum() > 1:
            scores.append(metrics.ccc(true[known, k], predicted[known, k]))
    defined = [score for score in scores if not math.isnan(score)]
    return sum(defined) / len(defined) if defined else None


class NetModule(L.LightningModule):
    """A net, its clips, and the state of its training."""

    key = ""
    """Identifies net, settings and clips; a checkpoint of another key is not resumed."""

    def __init__(
        self,
        net: nn.Module,
        train_set: ClipSet,
        validation_set: ClipSet | None,
        config: TrainingConfig,
        seed: int,
        on_epoch: Callable[[Epoch], None],
        should_stop: Callable[[Epoch], bool],
    ) -> None:
        super().__init__()
        self.net, self.config, self.seed = net, config, seed
        self.on_epoch, self.should_stop = on_epoch, should_stop
        self.train_set, self.validation_set = train_set, validation_set
        self.average = copy.deepcopy(net).requires_grad_(False) if config.ema else None
        self.frozen = {name for name, weight in net.named_parameters() if not weight.requires_grad}
        """Pretrained weights that are not trained: no checkpoint contains them."""
        self.strict_loading = not self.frozen
        self.probabilities = train_set.draw_probabilities() if config.balance == "draws" else None
        self.class_weights: Tensor | None = None
        if config.balance == "weights":  # inverse frequencies, 1 on average
            counts = np.bincount(train_set.labels, minlength=train_set.corpus_labels.shape[1])
            n_present = max(1, int((counts > 0).sum()))
            weights = np.where(counts > 0, len(train_set) / np.maximum(counts, 1) / n_present, 0.0)
            self.class_weights = torch.from_numpy(weights.astype(np.float32))
        # A single last clip joins the batch before it, since batch norm cannot train on one clip.
        self.n_steps = max(1, math.ceil((len(train_set) - 1) / config.batch_size))
        self.epochs: list[Epoch] = []
        self.best_epoch = 0
        self.best_uar: float | None = None
        self.best_ccc: float | None = None
        self.best_score: float | None = None
        self.best_state: dict[str, Tensor] = {}
        self._losses: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._started_s = 0.0

    @property
    def evaluated_net(self) -> nn.Module:
        """The average of the weights, where there is one: it is validated and kept."""
        return self.net if self.average is None else self.average

    # --- training ---------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        net, config = self.net, self.config
        pretrained = net.pretrained_parameters() if isinstance(net, EncoderNet) else []
        is_pretrained = {id(weight) for weight in pretrained}
        new = [p for p in net.parameters() if p.requires_grad and id(p) not in is_pretrained]
        groups: list[dict[str, Any]] = [{"params": new}]
        if isinstance(net, EncoderNet) and pretrained:
            groups.append({"params": pretrained, "lr": config.learning_rate * net.config.encoder_rate})
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
        n_steps = self.n_steps * config.epochs
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_at(step, n_steps, config)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        self._started_s, self._losses = time.monotonic(), []
        self._order = draw_epoch(self.probabilities, len(self.train_set), self.seed, self.current_epoch)

    def training_step(self, step: int) -> Tensor:
        # All randomness of a step follows from these three numbers, so that a resumed training is exact.
        numbers = (self.seed, self.current_epoch, step)
        seed_torch(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1), self.device)
        batch = self.make_batch(self._rows(step), step)
        net, config, size = self.net, self.config, len(batch.x)
        if config.mixup:
            share = torch.distributions.Beta(config.mixup, config.mixup).sample((size,)).to(batch.x)
            batch = mix_clips(batch, share, torch.randperm(size, device=batch.x.device))
        if isinstance(net, FrameNet):
            z = batch.x
            if config.mask_time or config.mask_columns:
                z = spec_augment(
                    z, batch.lengths, time_share=config.mask_time, column_share=config.mask_columns
                )
            outputs = net.classify(z, batch.lengths)
        else:
            outputs = net(batch.x, batch.lengths)
        n_logits = self.train_set.n_logits
        losses = [compute_loss(outputs[:, :n_logits], batch)] if n_logits else []
        if batch.values is not None:
            losses.append(concordance_loss(outputs[:, n_logits:], batch.values))
        loss = torch.stack(losses).sum()
        self._losses.append(loss.detach())
        return loss

    def _rows(self, step: int) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Rows of a step; each of several machines takes its share."""
        size = self.config.batch_size
        rows = self._order[step * size : None if step + 1 == self.n_steps else (step + 1) * size]
        mine = rows[self.global_rank :: self.trainer.world_size]
        return mine if len(mine) > 1 else rows[:2]

    def make_batch(self, rows: np.ndarray[Any, np.dtype[np.intp]], step: int) -> Batch:
        """Draw a variant of each clip, crop it, pad the batch and standardise frames."""
        clips, config = self.train_set, self.config
        rng = np.random.default_rng([self.seed, self.current_epoch, step])
        n = len(clips.variants)
        which = np.zeros_like(rows)
        if n > 1:
            which = np.where(rng.random(len(rows)) < config.clean, 0, rng.integers(1, n, len(rows)))
        chosen = []
        for variant, row in zip(which, rows, strict=True):
            clip = clips.variants[variant][row]
            if config.crop and len(clip) > config.crop:
                first = int(rng.integers(len(clip) - config.crop + 1))
                clip = clip[first : first + config.crop]
            chosen.append(clip)
        x, lengths = (part.to(self.device) for part in pad_clips(chosen))
        labels = torch.from_numpy(clips.labels[rows])
        mask = torch.from_numpy(clips.corpus_labels[clips.corpora[rows]])
        weights = torch.ones(len(rows)) if self.class_weights is None else self.class_weights[labels]
        shares = None if clips.shares is None else torch.from_numpy(clips.shares[rows])
        target = soft_targets(labels, mask, config.label_smoothing, shares)
        if isinstance(self.net, FrameNet):
            x = self.net.standardize(x, lengths)
        values = None if clips.values is None else torch.from_numpy(clips.values[rows]).to(self.device)
        target, mask, weights = (part.to(self.device) for part in (target, mask, weights))
        return Batch(x, lengths, target, mask, weights, values)

    @torch.no_grad()
    def on_train_batch_end(self, *args: Any) -> None:
        if self.average is None:
            return
        # The average moves faster at first, so that the initial weights do not stay in it.
        share = 1 - min(self.config.ema, (1 + self.global_step) / (10 + self.global_step))
        current = self.net.state_dict()
        for name, average in self.average.state_dict().items():
            if name in self.frozen:
                continue
            if average.is_floating_point():
                average.lerp_(current[name], share)
            else:
                average.copy_(current[name])

    # --- validation -------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._logits = []

    def validation_step(self, step: int) -> None:
        assert self.validation_set is not None
        size = self.config.batch_size
        x, lengths = pad_clips(self.validation_set.variants[0][step * size : (step + 1) * size])
        self._logits.append(self.evaluated_net(x.to(self.device), lengths.to(self.device)).float().cpu())

    def finish_epoch(self) -> Epoch:
        """Record the epoch, and its weights if it is the best."""
        loss = float(torch.stack(self._losses).mean())
        validation_loss = uar = ccc = None
        if self.validation_set is not None and self._logits:
            outputs, labels = torch.cat(self._logits), self.validation_set.labels
            n_logits = self.validation_set.n_logits
            losses = []
            if n_logits:
                logits = outputs[:, :n_logits]
                losses.append(nn.functional.cross_entropy(logits, torch.from_numpy(labels)))
                uar = metrics.uar(labels.tolist(), logits.argmax(1).tolist())
            if self.validation_set.values is not None:
                true = self.validation_set.values
                losses.append(concordance_loss(outputs[:, n_logits:], torch.from_numpy(true)))
                ccc = _mean_ccc(true, outputs[:, n_logits:].numpy())
            validation_loss = float(torch.stack(losses).sum())
        score = find_score(uar, ccc)
        if score is None or self.best_score is None or score > self.best_score:
            self.best_epoch, self.best_score = self.current_epoch + 1, score
            self.best_uar, self.best_ccc = uar, ccc
            state = self.evaluated_net.state_dict().items()
            self.best_state = {k: v.detach().cpu().clone() for k, v in state if k not in self.frozen}
        epoch = Epoch(
            self.current_epoch + 1,
            self.config.epochs,
            loss,
            validation_loss,
            uar,
            float(self.trainer.optimizers[0].param_groups[0]["lr"]),
            time.monotonic() - self._started_s,
            ccc,
        )
        self.epochs.append(epoch)
        return epoch

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done, or validation has not improved for ``patience`` epochs."""
        done = len(self.epochs)
        stalled = self.validation_set is not None and done - self.best_epoch >= self.config.patience
        return done >= self.config.epochs or stalled

    # --- checkpoints ------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["key"] = self.key
        state = checkpoint["state_dict"].items()
        checkpoint["state_dict"] = {k: v for k, v in state if k.partition(".")[2] not in self.frozen}
        checkpoint["epochs"] = [asdict(epoch) for epoch in self.epochs]
        checkpoint["best"] = {"number": self.best_epoch, "uar": self.best_uar, "state": self.best_state}
        if self.train_set.values is not None:
            checkpoint["best"]["ccc"] = self.best_ccc

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.epochs = [Epoch(**row) for row in checkpoint["epochs"]]
        best = checkpoint["best"]
        self.best_epoch, self.best_uar, self.best_state = best["number"], best["uar"], dict(best["state"])
        self.best_ccc = best.get("ccc")
        self.best_score = find_score(self.best_uar, self.best_ccc)


class _EpochEnd(Checkpoint):
    """At the end of each epoch: record it, save a checkpoint and the curves, decide whether to stop."""

    def __init__(self, folder: Path | None, logger: Any) -> None:
        self.folder, self.logger = folder, logger

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        epoch = module.finish_epoch()
        if self.folder is not None:
            if trainer.is_global_zero:
                with atomic_path(self.folder / CHECKPOINT) as partial:
                    trainer.save_checkpoint(partial)
                write_curves(self.folder, module.epochs)
            else:  # all machines take part in a checkpoint; the first one writes it
                trainer.save_checkpoint(self.folder / CHECKPOINT)
        if self.logger is not None:
            values = {"loss": epoch.loss, "validation_loss": epoch.validation_loss, "uar": epoch.uar}
            self.logger.log_metrics({k: v for k, v in values.items() if v is not None}, epoch.number)
        if trainer.is_global_zero:
            module.on_epoch(epoch)
        trainer.should_stop = module.is_finished or module.should_stop(epoch)


def run_training(module: NetModule, folder: Path | None, checkpoint: Mapping[str, Any] | None) -> None:
    """Train until all epochs are done, from ``checkpoint`` if there is one.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    if checkpoint is not None:
        module.on_load_checkpoint(dict(checkpoint))
        if module.is_finished:
            return
    config, logger = module.config, None
    if folder is not None and config.tensorboard:
        from lightning.pytorch.loggers import TensorBoardLogger

        logger = TensorBoardLogger(folder, name="", version="tensorboard")
    trainer = L.Trainer(
        accelerator=config.device,
        devices="auto" if config.device != "cpu" else 1,
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        max_epochs=config.epochs,
        gradient_clip_val=config.gradient_norm,
        callbacks=[_EpochEnd(folder, logger)],
        logger=logger or False,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    validation = None
    if module.validation_set is not None:
        validation = range(math.ceil(len(module.validation_set) / config.batch_size))
    path = None if checkpoint is None or folder is None else str(folder / CHECKPOINT)
    try:
        trainer.fit(module, range(module.n_steps), validation, ckpt_path=path, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    if trainer.interrupted:
        raise KeyboardInterrupt


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed the generators that a step uses.

    `torch.manual_seed` would also queue a call, with a stack trace, for each accelerator that is not in use.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
