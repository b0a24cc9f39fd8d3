"""`fit_net`: resumed trainings equal uninterrupted ones; sampling, masks, augmentation, settings."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from emovox.errors import ConfigError  # noqa: E402
from emovox.nets.registry import make_net  # noqa: E402
from emovox.training.config import TrainingConfig  # noqa: E402
from emovox.training.neural.batches import Batch, compute_loss, mix_clips, spec_augment  # noqa: E402
from emovox.training.neural.clips import ClipSet, draw_epoch, frame_statistics  # noqa: E402
from emovox.training.neural.curves import CHECKPOINT, CURVES, Epoch  # noqa: E402
from emovox.training.neural.lightning_module import NetModule, learning_rate_at  # noqa: E402
from emovox.training.neural.trainer import fit_net, predict_logits  # noqa: E402

D = 6
BUSY = TrainingConfig(
    epochs=5, batch_size=8, ema=0.9, mixup=0.3, mask_time=0.2, mask_columns=0.2, crop=20, tensorboard=False
)


def is_first(epoch: Epoch) -> bool:
    return epoch.number == 1


pytestmark = pytest.mark.usefixtures("one_thread")


def clips(n: int, seed: int, n_labels: int = 4) -> ClipSet:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_labels
    heard = [(rng.standard_normal((rng.integers(8, 30), D)) + k).astype(np.float32) for k in labels]
    return ClipSet([heard], labels, np.zeros(n, np.int64), np.ones((1, n_labels), bool))


def net(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return make_net("cnn1d", {"channels": [8], "head": 8}, n_in=D, n_labels=4)


def weights(fitted: Any) -> list[Any]:
    return list(fitted.net.state_dict().values())


def test_net_memorises_32_clips() -> None:
    torch.manual_seed(0)
    gru = make_net("gru", {"hidden": 24, "n_layers": 1, "dropout": 0.0}, n_in=D, n_labels=4)
    rng = np.random.default_rng(0)  # pure noise: there is nothing to learn but the clips themselves
    noise = [rng.standard_normal((12, D)).astype(np.float32) for _ in range(32)]
    data = replace(clips(32, 0), variants=[noise])
    settings = replace(
        BUSY, epochs=60, ema=0, mixup=0, mask_time=0, mask_columns=0, crop=0, label_smoothing=0
    )
    fitted = fit_net(gru, data, None, replace(settings, learning_rate=0.02, balance="none"))
    assert (predict_logits(fitted.net, data).argmax(1) == data.labels).all()
    assert not fitted.net.training
    assert (fitted.best, fitted.uar) == (60, None)


_KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_fit_net import BUSY, clips, fit_net, net
def tell(epoch):
    if epoch.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
fit_net(net(), clips(24, 1), clips(12, 2), BUSY, seed=5, folder=Path(sys.argv[2]), on_epoch=tell)
"""


def test_killed_and_resumed_is_uninterrupted(tmp_path: Path) -> None:
    taught, held = clips(24, 1), clips(12, 2)
    whole = fit_net(net(), taught, held, BUSY, seed=5)
    command = [sys.executable, "-c", _KILLED, str(Path(__file__).parent), str(tmp_path)]
    assert subprocess.run(command, timeout=120, check=False).returncode == -signal.SIGKILL
    told: list[Epoch] = []
    again = fit_net(net(seed=9), taught, held, BUSY, seed=5, folder=tmp_path, on_epoch=told.append)
    assert [epoch.number for epoch in told] == [4, 5]
    assert [e.loss for e in again.epochs] == [e.loss for e in whole.epochs]
    assert all(torch.equal(a, b) for a, b in zip(weights(again), weights(whole), strict=True))
    with (tmp_path / CURVES).open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["loss"]) for row in rows] == [e.loss for e in whole.epochs]
    finished = fit_net(net(seed=9), taught, held, BUSY, seed=5, folder=tmp_path, on_epoch=told.append)
    assert len(told) == 2, "what is finished is not taught again"
    assert all(torch.equal(a, b) for a, b in zip(weights(finished), weights(whole), strict=True))


def test_last_batch_of_one_joins_previous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taught, sizes = clips(17, 1), []
    honest = NetModule.make_batch

    def record_size(self: NetModule, rows: Any, step: int) -> Batch:
        sizes.append(len(rows))
        return honest(self, rows, step)

    def mlp(seed: int = 0) -> Any:
        torch.manual_seed(seed)
        return make_net("mlp", {"layers": [8]}, n_in=D, n_labels=4)  # a batch norm over clips: one is too few

    monkeypatch.setattr(NetModule, "make_batch", record_size)
    settings = replace(BUSY, epochs=3)
    whole = fit_net(mlp(), taught, None, settings, seed=5)
    assert sizes == [8, 9] * 3
    fit_net(
        mlp(), taught, None, settings, seed=5, folder=tmp_path, should_stop=lambda epoch: epoch.number == 1
    )
    again = fit_net(mlp(9), taught, None, settings, seed=5, folder=tmp_path)
    assert [e.loss for e in again.epochs] == [e.loss for e in whole.epochs]
    assert all(torch.equal(a, b) for a, b in zip(weights(again), weights(whole), strict=True))
    for n, expected in ((16, [8, 8]), (18, [8, 8, 2]), (9, [9])):
        sizes.clear()
        fit_net(mlp(), clips(n, 1), None, replace(settings, epochs=1))
        assert sizes == expected, "no other batch is changed"


def test_other_checkpoint_is_refused(tmp_path: Path) -> None:
    short = replace(BUSY, epochs=1)
    fit_net(net(), clips(16, 1), None, short, folder=tmp_path)
    torch.load(tmp_path / CHECKPOINT, weights_only=True)  # tensors and plain values: no code is run
    with pytest.raises(ConfigError, match="of another training"):
        fit_net(net(), clips(16, 2), None, short, folder=tmp_path)
    with pytest.raises(ConfigError, match="of another training"):
        fit_net(net(), clips(16, 1), None, replace(short, mixup=0.1), folder=tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(b"broken")
    with pytest.raises(ConfigError, match="cannot be read"):
        fit_net(net(), clips(16, 1), None, short, folder=tmp_path)


def test_seed_and_best_epoch() -> None:
    taught, held = clips(16, 1), clips(12, 2)
    settings = replace(BUSY, epochs=4, patience=1)
    first, again, other = (fit_net(net(), taught, held, settings, seed=s) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(again), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(weights(first), weights(other), strict=True))
    scores = [epoch.uar for epoch in first.epochs]
    assert first.best == 1 + int(np.argmax(scores))
    assert first.uar == max(scores)
    assert len(scores) == min(4, first.best + 1)


def test_masked_labels_are_not_trained() -> None:
    data = clips(24, 1)
    shown = np.array([[True, True, True, True, False]])
    torch.manual_seed(0)
    five = make_net("mlp", {"layers": [8]}, n_in=D, n_labels=5)
    before = five.head.output.weight.detach().clone(), five.head.output.bias.detach().clone()
    settings = replace(BUSY, epochs=2, ema=0, weight_decay=0.0)
    fit_net(five, replace(data, corpus_labels=shown), None, settings)
    assert torch.equal(before[0][4], five.head.output.weight[4])
    assert torch.equal(before[1][4], five.head.output.bias[4])
    assert not torch.equal(before[0][:4], five.head.output.weight[:4])


def test_draws_balance_labels() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    heard = [np.ones((2, D), np.float32)] * 100
    data = ClipSet([heard], labels, np.zeros(100, np.int64), np.ones((1, 2), bool))
    rows = np.concatenate([draw_epoch(data.draw_probabilities(), 100, 0, epoch) for epoch in range(20)])
    assert 0.45 < labels[rows].mean() < 0.55
    assert sorted(draw_epoch(None, 100, 0, 3)) == list(range(100))
    assert (draw_epoch(None, 100, 0, 3) != draw_epoch(None, 100, 0, 4)).any()


def test_frame_statistics_leave_out_nan() -> None:
    rng = np.random.default_rng(0)
    heard = [(1e3 + rng.standard_normal((n, 3)) * [1, 5, 0]).astype(np.float32) for n in (5, 40)]
    heard[0][:, 1] = np.nan
    mean, deviation = frame_statistics([heard])
    rows = np.concatenate(heard)
    np.testing.assert_allclose(mean, np.nanmean(rows, axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(deviation[:2], np.nanstd(rows, axis=0, dtype=np.float64)[:2], rtol=1e-4)
    assert deviation[2] == 1, "a constant column is not blown up"


def make_batch(b: int = 6) -> Batch:
    torch.manual_seed(0)
    target = torch.nn.functional.one_hot(torch.arange(b) % 3, 3).float()
    shown = torch.ones(b, 3, dtype=torch.bool)
    return Batch(torch.randn(b, 20, D), torch.arange(b) + 15, target, shown, torch.ones(b))


def test_mixup_blends_inputs_and_targets() -> None:
    one = make_batch()
    two = mix_clips(one, torch.full((6,), 0.4), torch.arange(5, -1, -1))
    torch.testing.assert_close(two.target.sum(1), torch.ones(6))
    assert (two.lengths >= one.lengths).all()
    assert not torch.equal(one.x, two.x)
    assert compute_loss(torch.zeros(6, 3), two) == pytest.approx(np.log(3), abs=1e-5)


def test_spec_augment_masks_at_most_its_share() -> None:
    z = torch.ones(50, 40, 20)
    lengths = torch.full((50,), 40)
    out = spec_augment(z, lengths, time_share=0.2, column_share=0.0)
    rows = (out == 0).all(2).sum(1)
    assert 0 < rows.max() <= 2 * 9
    assert torch.equal(spec_augment(z, lengths, time_share=0, column_share=0), z)
    columns = (spec_augment(z, lengths, time_share=0, column_share=0.3) == 0).all(1).sum(1)
    assert 0 < columns.max() <= 7


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
def test_learning_rate_schedules(schedule: Any) -> None:
    rates = [learning_rate_at(n, 100, TrainingConfig(schedule=schedule)) for n in range(101)]
    assert max(rates) == pytest.approx(1)
    assert all(0 <= rate <= 1 for rate in rates)
    assert rates[0] == (1 if schedule == "cosine" else pytest.approx(0.04))
    assert rates[-1] == (1 if schedule == "constant" else pytest.approx(0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("learning_rate", 0.0),
        ("weight_decay", -0.1),
        ("warm_up", 1.0),
        ("label_smoothing", 1.5),
        ("mixup", float("nan")),
        ("clean", 1.01),
        ("gradient_norm", 0.0),
        ("ema", 1.0),
        ("crop", -1),
    ],
)
def test_setting_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"train\.{name} is .*; expected"):
        TrainingConfig(**{name: value})


def test_inconsistent_clip_sets_are_refused() -> None:
    data = clips(4, 0)
    with pytest.raises(ConfigError, match="expected as many"):
        replace(data, labels=data.labels[:3])
    with pytest.raises(ConfigError, match="no frames"):
        replace(data, variants=[[*data.variants[0][:3], np.zeros((0, D), np.float32)]])
