"""A name or a path becomes a model, or a sentence that says what there is instead."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emovox
from emovox.bundles import registry
from emovox.errors import BundleCorruptError, BundleNotFoundError, ConfigError

absent = pytest.mark.skipif(
    not (registry.EMBEDDED / registry.DEFAULT / "spec.json").exists(),
    reason="the default model is not in this tree",
)


@pytest.fixture
def embedded(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with three models."""
    for name in ("alpha", "default", "zeta"):
        shutil.copytree(tiny_bundle, tmp_path / "models" / name)
    (tmp_path / "models" / "unfinished").mkdir()
    monkeypatch.setattr(registry, "EMBEDDED", tmp_path / "models")
    return tmp_path / "models"


def test_default_model_is_listed_first(embedded: Path) -> None:
    found = registry.models()
    assert [known.name for known in found] == ["default", "alpha", "zeta"]
    assert all(known.path == embedded / known.name for known in found)
    assert found[0].spec.labels == emovox.load("alpha").labels


def test_load_by_name_and_path(
    embedded: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).standard_normal(16_000) * 0.1
    answers = {
        str(emovox.load(*name, vad="off").predict(x, sample_rate=16_000))
        for name in [(), ("default",), (tiny_bundle,), (str(tiny_bundle),)]
    }
    assert len(answers) == 1
    (tmp_path / "here" / "default").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert registry.find("default") == embedded / "default"
    assert registry.find("./default") == Path("default")


def test_package_without_default(embedded: Path) -> None:
    shutil.rmtree(embedded / "default")
    assert registry.find() == registry.find("default") == embedded / "alpha"
    assert [entry.name for entry in registry.models()] == ["alpha", "zeta"]


@pytest.mark.parametrize("name", ["defualt", "nowhere/x", "a\0b", "", "~nobody-of-that-name/x"])
def test_unknown_name_lists_models(embedded: Path, name: str) -> None:
    if not name:
        name = str(embedded / "default" / "spec.json")
    with pytest.raises(BundleNotFoundError, match="default, alpha, zeta"):
        emovox.load(name)


def test_damaged_model_is_named(embedded: Path) -> None:
    (embedded / "alpha" / "spec.json").write_text("{")
    with pytest.raises(BundleCorruptError, match="alpha"):
        registry.models()


def test_load_passes_threads_and_vad(tiny_bundle: Path) -> None:
    model = emovox.load(tiny_bundle, threads=2, vad="off")
    quality = model.predict(np.ones(16_000) * 0.1, sample_rate=16_000).quality
    assert quality is not None
    assert quality.speech_s is None
    assert model._bundle.threads == 2


@pytest.mark.parametrize("threads", [0, -1, "two", True])
def test_impossible_threads(tiny_bundle: Path, threads: Any) -> None:
    with pytest.raises(ConfigError, match="threads is"):
        emovox.load(tiny_bundle, threads=threads)


@absent
def test_embedded_default_predicts() -> None:
    model = emovox.load()
    assert model.labels == emovox.EMOTIONS
    t = np.arange(32_000) / 16_000
    p = model.predict(
        0.1 * np.sin(2 * np.pi * 200 * t) * np.sin(2 * np.pi * 3 * t), sample_rate=16_000, vad="off"
    )
    assert sum(p.scores.values()) == pytest.approx(1, abs=1e-9)
    assert {known.name for known in emovox.models()} >= {"default"}
