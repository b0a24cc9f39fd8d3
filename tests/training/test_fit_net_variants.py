"""`fit_net` with every net, Ctrl-C, half precision, TensorBoard and devices."""

from __future__ import annotations

import csv
import math
import os
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
from emovox.training.neural.clips import ClipSet  # noqa: E402
from emovox.training.neural.curves import CURVES, Epoch, read_curves, write_curves  # noqa: E402
from emovox.training.neural.lightning_module import seed_torch  # noqa: E402
from emovox.training.neural.trainer import fit_net, predict_logits  # noqa: E402
from small_nets import SMALL_NETS  # noqa: E402
from voices import tones  # noqa: E402

D = 6
QUICK = ("mlp", "cnn1d")
NETS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SMALL_NETS]
SHORT = TrainingConfig(epochs=3, batch_size=8, ema=0.9, mixup=0.3, tensorboard=False)
MEMORISE = TrainingConfig(
    epochs=60, batch_size=8, learning_rate=0.02, balance="none", label_smoothing=0.0, tensorboard=False
)


def is_first(epoch: Epoch) -> bool:
    return epoch.number == 1


pytestmark = pytest.mark.usefixtures("one_thread")


def clips(n: int, seed: int, n_labels: int = 4) -> ClipSet:
    """Pure noise: there is nothing to learn but the clips themselves."""
    rng = np.random.default_rng(seed)
    heard = [rng.standard_normal((9 + k % 4, D)).astype(np.float32) for k in range(n)]
    return ClipSet([heard], np.arange(n) % n_labels, np.zeros(n, np.int64), np.ones((1, n_labels), bool))


def net(name: str, seed: int = 0, **params: Any) -> Any:
    torch.manual_seed(seed)
    return make_net(name, SMALL_NETS[name] | params, n_in=D, n_labels=4)


def equal(one: Any, other: Any) -> bool:
    pairs = zip(one.net.state_dict().values(), other.net.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", NETS)
def test_every_net_memorises_32_clips(name: str) -> None:
    data = clips(32, 0)
    fitted = fit_net(net(name, dropout=0.0, pooling="statistics"), data, None, MEMORISE)
    assert (predict_logits(fitted.net, data).argmax(1) == data.labels).all()


@pytest.mark.parametrize("name", NETS)
def test_every_net_resumes_exactly(name: str, tmp_path: Path) -> None:
    taught, held = clips(16, 1), clips(8, 2)
    whole = fit_net(net(name), taught, held, SHORT, seed=5)
    fit_net(
        net(name), taught, held, SHORT, seed=5, folder=tmp_path, should_stop=lambda epoch: epoch.number == 1
    )
    again = fit_net(net(name, seed=9), taught, held, SHORT, seed=5, folder=tmp_path)
    assert [e.loss for e in again.epochs] == [e.loss for e in whole.epochs]
    assert equal(again, whole)


def test_bf16_memorises_clips() -> None:
    data = clips(32, 0)
    fitted = fit_net(net("gru", dropout=0.0), data, None, replace(MEMORISE, precision="bf16"))
    answers = predict_logits(fitted.net, data)
    assert answers.shape == (32, 4)
    assert np.isfinite(answers).all()
    assert (answers.argmax(1) == data.labels).all()
    assert {weight.dtype for weight in fitted.net.parameters()} == {torch.float32}


def test_tensorboard_files_contain_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fitted = fit_net(net("mlp"), clips(16, 1), clips(8, 2), replace(SHORT, tensorboard=True), folder=tmp_path)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for name in ("loss", "validation_loss", "uar"):
        seen = [(one.step, one.value) for one in board.Scalars(name)]
        assert seen == [(e.number, pytest.approx(getattr(e, name), rel=1e-6)) for e in fitted.epochs]


def test_missing_gpu_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match=r"train\.device is gpu.*finds none.*auto"):
        fit_net(net("mlp"), clips(16, 1), None, replace(SHORT, device="gpu"))
    one = fit_net(net("mlp"), clips(16, 1), None, replace(SHORT, device="auto", epochs=1))
    assert equal(one, fit_net(net("mlp"), clips(16, 1), None, replace(SHORT, epochs=1)))


def test_seed_torch_equals_manual_seed() -> None:
    queued = len(torch.cuda._queued_calls)
    seed_torch(7, torch.device("cpu"))
    mine = torch.rand(5)
    assert len(torch.cuda._queued_calls) == queued
    torch.manual_seed(7)
    assert torch.equal(mine, torch.rand(5))


def test_curves_are_read_back(tmp_path: Path) -> None:
    losses = (1.5, math.nan, math.inf)
    rows = [Epoch(n + 1, 3, loss, None, (0.2, 0.5, 0.5)[n], 1e-3, 0.5) for n, loss in enumerate(losses)]
    write_curves(tmp_path, rows)
    found = read_curves(tmp_path)
    assert found["kept"] == 2, "the first of equals"
    assert [row["loss"] for row in found["epochs"]] == [1.5, None, None]
    write_curves(tmp_path, [replace(row, uar=None) for row in rows])
    assert read_curves(tmp_path)["kept"] == 3, "the last, without validation"
    assert [path.name for path in tmp_path.iterdir()] == [CURVES]


_INTERRUPTED = """
import os, signal, sys
import emovox.cli.train
import torch
from emovox.cli import main
torch.set_num_threads(1)
say = emovox.cli.train.say
def told(line):
    say(line)
    if sys.argv[1] == "stop" and line.startswith("epoch 2/"):
        os.kill(os.getpid(), signal.SIGINT)
emovox.cli.train.say = told
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
def test_interrupted_training_resumes(tmp_path: Path) -> None:
    """A real signal, in a process of its own; what is resumed has the weights of what was not stopped."""
    tones(tmp_path / "tree", parts=("train", "validation", "test"), first=8000)
    command = ["train", "model.kind=net", "model.name=mlp", "model.params.layers=[8]"]
    command += ["train.epochs=4", "train.batch_size=4", "train.tensorboard=false"]
    command += [
        "--features",
        "seed-lstm",
        "--data",
        str(tmp_path / "tree"),
        "--store",
        str(tmp_path / "store"),
    ]

    def typed(how: str, *more: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", _INTERRUPTED, how, *command, "--mlflow", "off", *more]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, env=environment)

    stopped = typed("stop", "-o", str(tmp_path / "run"))
    assert stopped.returncode == 130, stopped.stderr
    assert "to resume add  --resume" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    with (tmp_path / "run/training" / CURVES).open() as stream:
        assert len(list(csv.DictReader(stream))) == 2
    resumed = typed("go", "-o", str(tmp_path / "run"), "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 1/4" not in resumed.stderr
    assert "epoch 3/4" in resumed.stderr
    assert typed("go", "-o", str(tmp_path / "whole")).returncode == 0
    graphs = [(tmp_path / name / "bundle/model.onnx").read_bytes() for name in ("run", "whole")]
    assert graphs[0] == graphs[1]
