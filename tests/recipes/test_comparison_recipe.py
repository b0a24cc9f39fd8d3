"""The recipe that puts systems side by side, in miniature: a fold, unseen corpora, kept results."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("torch")

from emovox.datasets import Manifest
from emovox.datasets.protocols import make_splits
from emovox.training.trainers import make_config, make_trainer
from voices import toy_corpus

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def recipe() -> Iterator[ModuleType]:
    sys.path.insert(0, str(RECIPES))
    import comparison

    yield comparison
    sys.path.remove(str(RECIPES))


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    root = tmp_path_factory.mktemp("corpora")
    return {name: toy_corpus(root / name, n_speakers=5, name=name) for name in ("ravdess", "emodb")}


@pytest.fixture
def source(recipe: ModuleType, tmp_path: Path) -> object:
    options = argparse.Namespace(corpora=tmp_path, cache=None, work=tmp_path)
    config = make_config(recipe.CONFIGS / "seed-mlp.yaml", {"model.params.hidden_layer_sizes": [20]})
    return recipe.Inputs(make_trainer(config), options, False)


def test_fold_is_kept(
    recipe: ModuleType, corpora: dict[str, Manifest], source: object, tmp_path: Path
) -> None:
    manifest = corpora["ravdess"]
    split = make_splits(manifest, "speaker-kfold/5/0/1")[0]
    answers = recipe.run_fold(source, manifest, split, tmp_path)
    assert [key for key, _ in answers] == list(split.test)
    found = recipe.score(manifest, answers)
    assert (found["n_clips"], found["n_speakers"]) == (8, 1)
    file = tmp_path / "fold-1.json"
    kept = json.loads(file.read_text())
    assert kept["split"] == split.digest
    kept["answers"] = [[key, "sad"] for key, _ in answers]
    file.write_text(json.dumps(kept))
    assert recipe.run_fold(source, manifest, split, tmp_path) == [(key, "sad") for key, _ in answers]
    assert recipe.score(manifest, recipe.run_fold(source, manifest, split, tmp_path))["uar"] == 0.25


def test_unseen_corpora(
    recipe: ModuleType,
    corpora: dict[str, Manifest],
    source: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recipe, "UNSEEN", ("emodb",))
    monkeypatch.setattr(recipe, "read_unseen", lambda root, name: corpora[name])
    found = recipe.run_unseen(source, corpora["ravdess"], tmp_path)
    assert found["mean"] == found["corpora"]["emodb"]["uar"] > 0.5
    assert found["corpora"]["emodb"]["n_clips"] == 40
    speed = recipe.measure_speed(tmp_path / "bundle")
    assert speed["ms"] > 0
    assert 0 < speed["mib"] < 1
