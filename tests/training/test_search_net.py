"""Searching settings of nets: given up by the epoch, resumed to the same, and only what can be made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("optuna")

from emovox.errors import ConfigError  # noqa: E402
from emovox.nets.registry import NETS  # noqa: E402
from emovox.training.classical.spaces import Choice, Range, Space, read_space  # noqa: E402
from emovox.training.config import Config, NetModel, TrainingConfig, read_config, to_yaml  # noqa: E402
from emovox.training.neural.clips import ClipSet  # noqa: E402
from emovox.training.search import (  # noqa: E402
    SearchPlan,
    SearchResult,
    Trial,
)
from emovox.training.search.nets import NET_SPACES, check_space, find_net_space, make_inner_parts, search_net  # noqa: E402  # noqa: E402

TINY = Config(
    model=NetModel(name="mlp", params={"head": 0, "pooling": "mean"}),
    train=TrainingConfig(epochs=6, patience=9, batch_size=16, learning_rate=1e-6, tensorboard=False),
)
SPACE: Space = {
    "layers": Choice(((2,), (8,))),
    "dropout": Range(0.0, 0.5),
    "train.learning_rate": Range(1e-5, 0.05, log=True),
}
pytestmark = pytest.mark.usefixtures("one_thread")


def clips(n: int, seed: int) -> ClipSet:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    heard = [(rng.standard_normal((6, 5)) + 0.7 * k * np.arange(5)).astype(np.float32) for k in labels]
    return ClipSet([heard], labels, np.zeros(n, np.int64), np.ones((1, 3), bool))


def found(draws: int = 9, on_trial: Any = lambda trial: None, **plan: Any) -> SearchResult[Config]:
    way = SearchPlan(space=SPACE, draws=draws, **{"method": "optuna", **plan})
    return search_net(TINY, [(clips(24, 1), clips(30, 2))], way, on_trial=on_trial)


def summarize(result: SearchResult[Config]) -> Any:
    """What a search found, without the clock, in plain types."""
    rows = [trial.to_dict() | {"seconds": 0} for trial in result.trials]
    return json.loads(json.dumps([to_yaml(result.best), rows]))


def test_net_search_prunes_and_resumes(tmp_path: Path) -> None:
    whole = found()
    assert whole.trials[0].params == {}, "the defaults first"
    pruned = [trial for trial in whole.trials if not trial.complete]
    assert pruned, "none was given up"
    assert all(2 <= len(trial.epochs) < 6 for trial in pruned)
    assert all(len(trial.epochs) == 6 for trial in whole.trials if trial.complete)
    best = next(trial for trial in whole.trials if trial.complete and trial.score == whole.score)
    assert best.params == whole.params
    assert best.epochs[-1] == best.score == max(best.epochs)
    assert whole.best.train.learning_rate == best.params["train.learning_rate"]
    assert whole.best.model.params == TINY.model.params | {
        "layers": list(best.params["layers"]),
        "dropout": best.params["dropout"],
    }
    seen: list[Trial] = []
    found(4, study=tmp_path / "s.db")
    again = found(study=tmp_path / "s.db", on_trial=seen.append)
    assert summarize(again) == summarize(whole)
    assert [trial.number for trial in seen] == list(range(9))


def test_interrupted_net_search_keeps_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import emovox.training.search.nets

    original, calls = emovox.training.search.nets.fit_net, []

    def fit_net(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(emovox.training.search.nets, "fit_net", fit_net)
        partial = found(4, study=tmp_path / "s.db")
    assert partial.interrupted
    assert len(partial.trials) == 2
    assert summarize(found(4, study=tmp_path / "s.db")) == summarize(found(4))


def test_halving_uses_more_epochs_for_fewer_nets() -> None:
    result = found(method="halving")
    sizes = sorted({len(trial.epochs) for trial in result.trials})
    assert sizes == [3, 6], "the least, then all"
    assert {trial.complete for trial in result.trials if len(trial.epochs) == 3} == {False}
    assert sum(trial.complete for trial in result.trials) < 9


def test_inner_parts_are_speaker_disjoint() -> None:
    data, speakers = clips(36, 1), [f"s{n // 6}" for n in range(36)]
    parts = make_inner_parts(data, speakers, 3, seed=0)
    assert len(parts) == 3
    names = {clip.tobytes(): who for clip, who in zip(data.variants[0], speakers, strict=True)}
    for training, held in parts:
        here, there = ({names[clip.tobytes()] for clip in part.variants[0]} for part in (training, held))
        assert here | there == set(speakers)
        assert not here & there
    plan = SearchPlan(space={"train.learning_rate": Choice((0.01,))}, draws=1)
    trial = search_net(TINY, parts, plan).trials[0]
    assert len(trial.scores) == 3
    assert len(trial.epochs) == 18
    assert trial.score == pytest.approx(np.mean([trial.epochs[n] for n in (5, 11, 17)]))


def test_every_net_space_is_valid() -> None:
    assert NET_SPACES.keys() == {name for name, entry in NETS.items() if entry.input == "frames"}
    for name in NET_SPACES:
        check_space(Config(model=NetModel(name=name)), find_net_space(name))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"hiden": [3]}, "did you mean 'hidden'"),
        ({"train.learnin_rate": [1e-3]}, "did you mean 'train.learning_rate'"),
        ({"train.schedule": ["one-cycle", "cosin"]}, "did you mean 'cosine'"),
        ({"dropout": {"low": 0.1, "high": 1.5}}, "dropout is 1.5; expected numbers from 0"),
        ({"hidden": {"low": 8.5, "high": 16}}, "expected whole numbers"),
        ({"hidden": {"low": 16, "high": 8}}, "low at most high"),
        ({"hidden": {"low": 0, "high": 8, "log": True}}, "over 0 with log"),
        ({"hidden": {"low": 1, "hihg": 8}}, "expected a list of values, or a range"),
        ({"hidden": []}, "expected a list of values"),
        ({"hidden": 8}, "expected a list of values"),
    ],
)
def test_invalid_spaces_are_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_space(replace(TINY, model=NetModel(name="gru")), read_space(space))


def test_space_from_command_line() -> None:
    words = ["tune.space.hidden=[8, 16]", "tune.space.train.learning_rate={low: 1e-4, high: 1e-2, log: true}"]
    words += ["tune.space.n_layers={low: 1, high: 3}"]
    assert read_space(read_config(None, ["model.kind=net", *words]).tune.space) == {
        "hidden": Choice((8, 16)),
        "train.learning_rate": Range(1e-4, 1e-2, log=True),
        "n_layers": Range(1, 3, whole=True),
    }
