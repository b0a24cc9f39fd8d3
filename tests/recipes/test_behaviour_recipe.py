"""The recipe that lists held-out clips: speakers, labels and sexes from the file names of three corpora."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from emovox.datasets.manifest import Manifest

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("behaviour_recipe", RECIPES / "behaviour.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_held_out_clips_are_listed(
    recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["banglaser/03-01-01-01-01-01-27.wav", "banglaser/03-01-03-01-01-01-26.wav"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.zeros(1600), 16_000)
    names = ["ased/05Angry/a1-02-03-01-17.opus", "ased/01Neutral/n1-02-03-02-18.opus"]
    names += [f"emospeech/Metro/help-noisy-calm-2019070{n}T10-ab.opus" for n in range(1, 9)]
    names += ["emospeech/Metro/background-noisy-calm-20190701T10-ab.opus"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr("sys.argv", ["behaviour.py", str(tmp_path), "-o", str(tmp_path / "out" / "held.csv")])
    recipe.main()
    found = Manifest.read_csv(tmp_path / "out" / "held.csv")
    assert found.counts("corpus") == {"ased": 2, "emospeech": 2, "banglaser": 1}
    assert {u.speaker for u in found.where(corpus="banglaser")} == {"banglaser-27"}
    facts = {(u.speaker, u.emotion, u.sex, u.language) for u in found.where(corpus="ased")}
    assert facts == {("ased-17", "angry", "female", "am"), ("ased-18", "neutral", "male", "am")}
    assert {u.speaker for u in found.where(corpus="emospeech")} == {
        "emospeech-Metro-20190701",
        "emospeech-Metro-20190705",
    }
    assert all(found.file(u).exists() for u in found)
