"""The recipe of the seeds in miniature: rows of both protocols, augmented clips on both sides, kept rows."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("torch")

from emovox.datasets import Dataset
from emovox.training.trainers import make_config, make_trainer
from voices import toy_corpus

RECIPES = Path(__file__).parents[2] / "recipes"
STEPS = ({"kind": "noise", "snr_db": [10, 30]},)


@pytest.fixture(scope="module")
def recipe() -> Iterator[ModuleType]:
    sys.path.insert(0, str(RECIPES))
    import seeds

    yield seeds
    sys.path.remove(str(RECIPES))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("toy") / "toy"
    toy_corpus(root, n_speakers=6, n_takes=3)
    return str(root / "toy.csv")


def test_drawn_by_clip(recipe: ModuleType, data: str) -> None:
    manifest = Dataset.load(data).manifest
    split = recipe.draw_by_clip(manifest)
    parts = (split.train, split.validation, split.test)
    assert sorted(key for part in parts for key in part) == sorted(manifest.ids)
    assert [len(part) for part in parts] == [49, 5, 18]
    assert split.stamp == "speaker-dependent"


def test_rows_of_both_protocols(recipe: ModuleType, data: str, tmp_path: Path) -> None:
    config = make_config(
        recipe.CONFIGS / "seed-mlp.yaml", {"model.params.hidden_layer_sizes": [20]}, data=[data]
    )
    options = argparse.Namespace(work=tmp_path, validation=False)
    plain = recipe.Claim(80.0, None, {}, (("toy",),))
    augmented = replace(plain, augmented=(STEPS, STEPS), is_one_corpus=True)

    def compute(protocol: str, claim: Any) -> dict[str, Any]:
        row: dict[str, Any] = recipe.compute_row(
            make_trainer(config), "seed-mlp", ("toy",), protocol, claim, options
        )
        return row

    rows = [compute("claimed", plain), compute("claimed", augmented), compute("strict", augmented)]
    assert [row["stamp"] for row in rows] == ["speaker-dependent", "contaminated", "strict"]
    assert [row["n_clips"] for row in rows] == [18, 54, 72]
    for row in rows:
        assert 0 <= row["precision"] <= 1
        assert row["loss"] > 0
        assert row["accuracy_by_corpus"] == {"toy": row["accuracy"]}
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == 3
    file = next(file for file in files if "strict" in file.name)
    kept = json.loads(file.read_text()) | {"accuracy": 0.123}
    file.write_text(json.dumps(kept))
    assert compute("strict", augmented) == kept, "a kept row is not computed again"
    options.validation = True
    row = compute("claimed", plain)
    assert row["n_clips"] == 5
    assert len(list(tmp_path.glob("*.json"))) == 4, "a row of a validation part has a file of its own"
