"""The trainer: killed and started again it ends with the same weights; nothing hidden is taught."""

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
from emovox.training.neural.batches import Lesson, loss_of, mixed, spec_augmented  # noqa: E402
from emovox.training.neural.clips import ClipSet, drawn, frame_statistics  # noqa: E402
from emovox.training.neural.epochs import CHECKPOINT, CURVES, Epoch  # noqa: E402
from emovox.training.neural.lightning_module import Course, learning_rate_at  # noqa: E402
from emovox.training.neural.trainer import fit_net, logits_of  # noqa: E402

D = 6
BUSY = TrainingConfig(
    epochs=5, batch_size=8, ema=0.9, mixup=0.3, mask_time=0.2, mask_columns=0.2, crop=20, tensorboard=False
)
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


def test_it_learns_32_clips_by_heart() -> None:
    torch.manual_seed(0)
    gru = make_net("gru", {"hidden": 24, "n_layers": 1, "dropout": 0.0}, n_in=D, n_labels=4)
    rng = np.random.default_rng(0)  # pure noise: there is nothing to learn but the clips themselves
    noise = [rng.standard_normal((12, D)).astype(np.float32) for _ in range(32)]
    data = replace(clips(32, 0), variants=[noise])
    settings = replace(
        BUSY, epochs=60, ema=0, mixup=0, mask_time=0, mask_columns=0, crop=0, label_smoothing=0
    )
    fitted = fit_net(gru, data, None, replace(settings, learning_rate=0.02, balance="none"))
    assert (logits_of(fitted.net, data).argmax(1) == data.labels).all()
    assert not fitted.net.training
    assert (fitted.best, fitted.uar) == (60, None)


_KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_trainer import BUSY, clips, fit_net, net
def tell(epoch):
    if epoch.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
fit_net(net(), clips(24, 1), clips(12, 2), BUSY, seed=5, folder=Path(sys.argv[2]), tell=tell)
"""


def test_killed_and_resumed_is_uninterrupted(tmp_path: Path) -> None:
    taught, held = clips(24, 1), clips(12, 2)
    whole = fit_net(net(), taught, held, BUSY, seed=5)
    command = [sys.executable, "-c", _KILLED, str(Path(__file__).parent), str(tmp_path)]
    assert subprocess.run(command, timeout=120, check=False).returncode == -signal.SIGKILL
    told: list[Epoch] = []
    again = fit_net(net(seed=9), taught, held, BUSY, seed=5, folder=tmp_path, tell=told.append)
    assert [epoch.number for epoch in told] == [4, 5]
    assert [e.loss for e in again.epochs] == [e.loss for e in whole.epochs]
    assert all(torch.equal(a, b) for a, b in zip(weights(again), weights(whole), strict=True))
    with (tmp_path / CURVES).open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["loss"]) for row in rows] == [e.loss for e in whole.epochs]
    finished = fit_net(net(seed=9), taught, held, BUSY, seed=5, folder=tmp_path, tell=told.append)
    assert len(told) == 2, "what is finished is not taught again"
    assert all(torch.equal(a, b) for a, b in zip(weights(finished), weights(whole), strict=True))


def test_a_last_batch_of_one_clip_joins_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught, sizes = clips(17, 1), []
    honest = Course._lesson

    def lesson_of(self: Course, rows: Any, step: int) -> Lesson:
        sizes.append(len(rows))
        return honest(self, rows, step)

    def mlp(seed: int = 0) -> Any:
        torch.manual_seed(seed)
        return make_net("mlp", {"layers": [8]}, n_in=D, n_labels=4)  # a batch norm over clips: one is too few

    monkeypatch.setattr(Course, "_lesson", lesson_of)
    settings = replace(BUSY, epochs=3)
    whole = fit_net(mlp(), taught, None, settings, seed=5)
    assert sizes == [8, 9] * 3
    fit_net(mlp(), taught, None, settings, seed=5, folder=tmp_path, give_up=lambda epoch: epoch.number == 1)
    again = fit_net(mlp(9), taught, None, settings, seed=5, folder=tmp_path)
    assert [e.loss for e in again.epochs] == [e.loss for e in whole.epochs]
    assert all(torch.equal(a, b) for a, b in zip(weights(again), weights(whole), strict=True))
    for n, expected in ((16, [8, 8]), (18, [8, 8, 2]), (9, [9])):
        sizes.clear()
        fit_net(mlp(), clips(n, 1), None, replace(settings, epochs=1))
        assert sizes == expected, "no other batch is changed"


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
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


def test_seeds_and_the_best_epoch() -> None:
    taught, held = clips(16, 1), clips(12, 2)
    settings = replace(BUSY, epochs=4, patience=1)
    first, again, other = (fit_net(net(), taught, held, settings, seed=s) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(again), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(weights(first), weights(other), strict=True))
    scores = [epoch.uar for epoch in first.epochs]
    assert first.best == 1 + int(np.argmax(scores))
    assert first.uar == max(scores)
    assert len(scores) == min(4, first.best + 1)


def test_hidden_labels_are_not_taught() -> None:
    data = clips(24, 1)
    shown = np.array([[True, True, True, True, False]])
    torch.manual_seed(0)
    five = make_net("mlp", {"layers": [8]}, n_in=D, n_labels=5)
    before = five.head.output.weight.detach().clone(), five.head.output.bias.detach().clone()
    settings = replace(BUSY, epochs=2, ema=0, weight_decay=0.0)
    fit_net(five, replace(data, shown=shown), None, settings)
    assert torch.equal(before[0][4], five.head.output.weight[4])
    assert torch.equal(before[1][4], five.head.output.bias[4])
    assert not torch.equal(before[0][:4], five.head.output.weight[:4])


def test_draws_balance_labels() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    heard = [np.ones((2, D), np.float32)] * 100
    data = ClipSet([heard], labels, np.zeros(100, np.int64), np.ones((1, 2), bool))
    rows = np.concatenate([drawn(data.chances(), 100, 0, epoch) for epoch in range(20)])
    assert 0.45 < labels[rows].mean() < 0.55
    assert sorted(drawn(None, 100, 0, 3)) == list(range(100))
    assert (drawn(None, 100, 0, 3) != drawn(None, 100, 0, 4)).any()


def test_statistics_leave_out_what_is_missing() -> None:
    rng = np.random.default_rng(0)
    heard = [(1e3 + rng.standard_normal((n, 3)) * [1, 5, 0]).astype(np.float32) for n in (5, 40)]
    heard[0][:, 1] = np.nan
    mean, deviation = frame_statistics([heard])
    rows = np.concatenate(heard)
    np.testing.assert_allclose(mean, np.nanmean(rows, axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(deviation[:2], np.nanstd(rows, axis=0, dtype=np.float64)[:2], rtol=1e-4)
    assert deviation[2] == 1, "a constant column is not blown up"


def lesson(b: int = 6) -> Lesson:
    torch.manual_seed(0)
    target = torch.nn.functional.one_hot(torch.arange(b) % 3, 3).float()
    shown = torch.ones(b, 3, dtype=torch.bool)
    return Lesson(torch.randn(b, 20, D), torch.arange(b) + 15, target, shown, torch.ones(b))


def test_mixup_blends_what_is_heard_and_what_is_taught() -> None:
    one = lesson()
    two = mixed(one, 0.4)
    torch.testing.assert_close(two.target.sum(1), torch.ones(6))
    assert (two.lengths >= one.lengths).all()
    assert not torch.equal(one.z, two.z)
    assert loss_of(torch.zeros(6, 3), two) == pytest.approx(np.log(3), abs=1e-5)


def test_spec_augment_hides_no_more_than_told() -> None:
    z = torch.ones(50, 40, 20)
    lengths = torch.full((50,), 40)
    out = spec_augmented(z, lengths, time_share=0.2, column_share=0.0)
    rows = (out == 0).all(2).sum(1)
    assert 0 < rows.max() <= 2 * 9
    assert torch.equal(spec_augmented(z, lengths, time_share=0, column_share=0), z)
    columns = (spec_augmented(z, lengths, time_share=0, column_share=0.3) == 0).all(1).sum(1)
    assert 0 < columns.max() <= 7


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
def test_schedules(schedule: Any) -> None:
    rates = [learning_rate_at(n, 100, TrainingConfig(schedule=schedule)) for n in range(101)]
    assert max(rates) == pytest.approx(1)
    assert all(0 <= rate <= 1 for rate in rates)
    assert rates[0] == (1 if schedule == "cosine" else pytest.approx(0.04))
    assert rates[-1] == (1 if schedule == "constant" else pytest.approx(0))


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", 0), ("mixup", float("nan")), ("ema", 1.0), ("crop", -1)]
)
def test_a_setting_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"train\.{name} is .*; expected"):
        TrainingConfig(**{name: value})


def test_clips_that_do_not_fit_are_refused() -> None:
    data = clips(4, 0)
    with pytest.raises(ConfigError, match="expected as many"):
        replace(data, labels=data.labels[:3])
    with pytest.raises(ConfigError, match="no frames"):
        replace(data, variants=[[*data.variants[0][:3], np.zeros((0, D), np.float32)]])
