"""Adapters of other people's classifiers, on stand-ins with the interfaces of funasr and transformers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from voices import toy_corpus

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = ["生气/angry", "厌恶/disgusted", "恐惧/fearful", "开心/happy", "中立/neutral", "其他/other"]
NAMES += ["难过/sad", "吃惊/surprised", "<unk>"]
X = np.zeros(16_000, np.float32)


@pytest.fixture(scope="module")
def recipe() -> Iterator[ModuleType]:
    sys.path.insert(0, str(RECIPES))
    import other_models

    yield other_models
    sys.path.remove(str(RECIPES))


@pytest.fixture
def funasr(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """A module funasr whose AutoModel answers as emotion2vec+ and SenseVoice do."""
    calls: list[tuple[str, dict[str, Any]]] = []

    class AutoModel:
        def __init__(self, **settings: Any) -> None:
            self.name = settings["model"]

        def generate(self, input: Any, **settings: Any) -> list[dict[str, Any]]:
            calls.append((self.name, {"input": input, **settings}))
            if "SenseVoice" in self.name:
                tag = "HAPPY" if len(input) == len(X) else "EMO_UNKNOWN"
                text = f"<|en|><|{tag}|><|Speech|><|woitn|>a word <|SAD|> in the text"
                return [{"key": "clip", "text": text}]
            return [{"key": "clip", "labels": NAMES, "scores": [0.1] * 6 + [0.2] + [0.1] * 2}]

    module = ModuleType("funasr")
    module.AutoModel = AutoModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "funasr", module)
    return calls


def test_emotion2vec(recipe: ModuleType, funasr: list[tuple[str, dict[str, Any]]]) -> None:
    model = recipe.open_model("emotion2vec", None)
    scores = model.scores(X, 16_000)
    assert set(scores) == set(model.labels)
    assert max(scores, key=scores.get) == "sad"
    assert sum(scores.values()) == pytest.approx(0.8), "other and unknown have no column"
    name, call = funasr[0]
    assert name == "iic/emotion2vec_plus_large"
    assert call["granularity"] == "utterance"
    assert call["fs"] == 16_000


def test_sensevoice(recipe: ModuleType, funasr: list[tuple[str, dict[str, Any]]]) -> None:
    model = recipe.open_model("sensevoice", "my/SenseVoice")
    assert model.scores(X, 16_000) == {"happy": 1.0}, "tags after the first word are text"
    assert model.scores(X[:8_000], 16_000) == {}
    assert funasr[0][0] == "my/SenseVoice"


def test_report(
    recipe: ModuleType,
    funasr: list[tuple[str, dict[str, Any]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    toy_corpus(tmp_path / "toy", n_speakers=2, n_takes=1)
    argv = ["emotion2vec", "--data", str(tmp_path / "toy" / "toy.csv"), "--max-clips", "2"]
    monkeypatch.setattr(sys, "argv", ["other_models.py", *argv, "-o", str(tmp_path / "report")])
    recipe.main()
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])["summary"][0]
    assert summary["failed"] > 0, "a model that always says sad has no recall of the others"
    assert summary["passed"] > 0, "and never changes its answer"
    document = json.loads((tmp_path / "report" / "behaviour.json").read_text())
    assert document["model"]["name"] == "iic/emotion2vec_plus_large"
    (recall,) = (row for row in document["tests"] if row["name"] == "recall per label")
    assert recall["status"] == "failed"


def test_missing_packages(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "funasr", None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SystemExit, match="pip install funasr"):
        recipe.open_model("emotion2vec", None)
    with pytest.raises(SystemExit, match=r"pip install 'emovox\[ssl\]'"):
        recipe.open_model("hub", "some/model")
    with pytest.raises(SystemExit, match="hub needs --model"):
        recipe.open_model("hub", None)


def test_classifier_of_the_hub(recipe: ModuleType, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    folder = save_classifier(transformers, torch, tmp_path / "tiny", ["neu", "hap", "ang", "sad"])
    model = recipe.open_model("hub", folder)
    assert model.labels == ("neutral", "happy", "angry", "sad")
    scores = model.scores(np.random.default_rng(0).standard_normal(8_000).astype(np.float32), 16_000)
    assert sum(scores.values()) == pytest.approx(1, abs=1e-4)
    folder = save_classifier(transformers, torch, tmp_path / "other", ["male", "female"])
    with pytest.raises(SystemExit, match="are male, female; expected two emotions"):
        recipe.open_model("hub", folder)


def save_classifier(transformers: Any, torch: Any, folder: Path, names: list[str]) -> str:
    """Write a tiny wav2vec2 classifier with random weights, as a checkpoint of the Hub has it."""
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(16,),
        conv_kernel=(10,),
        conv_stride=(160,),
        num_feat_extract_layers=1,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
        id2label=dict(enumerate(names)),
        label2id={name: n for n, name in enumerate(names)},
    )
    transformers.Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return str(folder)
