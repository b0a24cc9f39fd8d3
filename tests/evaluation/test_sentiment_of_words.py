"""Synthetic sentences: a model that follows the words is found; without a synthesiser the reason is named."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from emovox.errors import ConfigError
from emovox.evaluation.sentences import SENTIMENTS, measure_sentiment, synthesize_sentences

FRAMES = [f"f{i}" for i in range(24) for _ in range(6)]
SENTIMENT = [s for _ in range(24) for s in SENTIMENTS for _ in range(2)]


def test_model_of_the_voice_does_not_shift() -> None:
    exceeded = 0
    for seed in range(40):
        y_pred = np.random.default_rng(seed).choice(["angry", "neutral"], len(FRAMES)).tolist()
        found = measure_sentiment(y_pred, SENTIMENT, FRAMES)
        exceeded += abs(found.shifts[found.largest]) > found.chance
    assert exceeded < 4
    always = measure_sentiment(["neutral"] * len(FRAMES), SENTIMENT, FRAMES)
    assert always.shifts[always.largest] == always.chance == 0


def test_model_of_the_words_shifts() -> None:
    rng = np.random.default_rng(0)
    follows = rng.random(len(FRAMES)) < 0.4
    y_pred = ["sad" if s == "negative" and f else "neutral" for s, f in zip(SENTIMENT, follows, strict=True)]
    found = measure_sentiment(y_pred, SENTIMENT, FRAMES)
    assert found.largest[0] == "negative"
    share = y_pred.count("sad") / len(y_pred)
    assert found.shifts["negative", "sad"] == pytest.approx(2 * share)
    assert 2 * share > max(found.chance, 0.075)
    with pytest.raises(ValueError, match="lacks one of the sentiments"):
        measure_sentiment(y_pred[:4], SENTIMENT[:4], FRAMES[:4])


def test_synthesiser_is_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="espeak-ng is not installed"):
        synthesize_sentences(tmp_path / "clips")


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script")
def test_sentences_are_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "espeak-ng"
    program.write_text(
        f"#!{sys.executable}\nimport sys\n_, _, voice, _, file, text = sys.argv\n"
        "assert voice[:3] != 'xx+'\nopen(file, 'w').write(voice + ': ' + text)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    import emovox.evaluation.sentences as module

    monkeypatch.setattr(module, "VOICES", {"m3": "male"})
    folder = tmp_path / "clips"
    manifest = synthesize_sentences(folder)
    assert len(manifest) == 8 * 16 * 3
    assert {u.language for u in manifest} == {"de", "en", "es", "fr", "it", "nl", "pl", "pt"}
    u = manifest["sentences/en-7-negative-m3"]
    assert manifest.file(u).read_text() == "en+m3: The film was awful."
    assert (u.extra["sentiment"], u.extra["frame"], u.sex) == ("negative", "en-7", "male")
    texts = [manifest.file(u).read_text() for u in manifest]
    assert len({*texts}) == len(texts), "no sentence twice"
    program.write_text("#!/bin/sh\nexit 3\n")
    assert synthesize_sentences(folder) == manifest
    manifest.file(u).unlink()
    with pytest.raises(ConfigError, match=r"cannot say 'The film was awful\.'"):
        synthesize_sentences(folder)
