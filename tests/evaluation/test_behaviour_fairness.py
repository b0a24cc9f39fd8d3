"""Tests of fairness: limits, groups that cannot be compared, sentences of a stand-in for the synthesiser."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emovox.audio import SAMPLE_RATE
from emovox.datasets.loading import Dataset
from emovox.datasets.manifest import Manifest, Utterance
from emovox.errors import ConfigError
from emovox.evaluation.behaviour import BehaviourTest, OtherModel, check_behaviour, read_tests, select_tests
from emovox.evaluation.fairness import compare_groups
from signals import tone

LABELS = ("angry", "sad")


def tone_scores(x: np.ndarray, sample_rate: int) -> Mapping[str, float]:
    """Angry for a high tone, sad for a low one."""
    hz = np.abs(np.fft.rfft(x)).argmax() * sample_rate / len(x)
    return {"angry": 0.9, "sad": 0.1} if hz > 500 else {"angry": 0.1, "sad": 0.9}


MODEL = OtherModel("tones", LABELS, tone_scores)


def make_clips(root: Path, sexes: list[str | None], right: list[bool]) -> Manifest:
    """Clips of eight speakers: angry, sad, angry, ...; wrong ones have the tone of the other label."""
    for name, hz in (("high", 900), ("low", 200)):
        soundfile.write(root / f"{name}.wav", tone(hz, 0.3), SAMPLE_RATE)
    rows = []
    for i, (sex, is_right) in enumerate(zip(sexes, right, strict=True)):
        emotion = LABELS[i % 2]
        high = (emotion == "angry") == is_right
        rows.append(
            Utterance(
                id=f"toy/{i}",
                path="high.wav" if high else "low.wav",
                corpus="toy",
                speaker=f"toy-{sex}-{i // 2 % 4}",
                emotion=emotion,
                original=emotion,
                sex=sex,
            )
        )
    return Manifest(root, tuple(rows))


def check(clips: Manifest, *tests: BehaviourTest) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = check_behaviour(MODEL, Dataset(clips), tests=tests).document["tests"]
    return rows


def make_test(**fields: Any) -> BehaviourTest:
    defaults: dict[str, Any] = {"name": "sex", "category": "fairness", "metric": "group-uar", "by": "sex"}
    return BehaviourTest(**(defaults | {"source": "ours"} | fields))


def test_limit_is_the_larger_one(tmp_path: Path) -> None:
    """Six of 40 errors are too few to say that women are treated otherwise; twice as many are enough."""
    sexes: list[str | None] = ["female"] * 40 + ["male"] * 40
    for n_wrong, status in ((6, "passed"), (14, "failed")):
        right = [i >= n_wrong for i in range(80)]
        clips = make_clips(tmp_path, sexes, right)
        tolerant, strict, by_chance = check(
            clips,
            make_test(name="tolerant", at_most=0.5),
            make_test(name="strict", at_most=0.01),
            make_test(name="chance"),
        )
        y_true = [u.emotion for u in clips]
        y_pred = ["angry" if u.path == "high.wav" else "sad" for u in clips]
        compared = compare_groups(y_true, y_pred, [u.speaker for u in clips], sexes, "uar")
        assert compared is not None
        assert tolerant["status"] == "passed"
        assert tolerant["limit"] == 0.5
        for row in (strict, by_chance):
            assert row["status"] == status
            assert row["limit"] == pytest.approx(compared.chance, abs=1e-6)
            assert row["value"] == pytest.approx(compared.largest, abs=1e-6)
        assert {"limit of chance"} <= {row["name"] for row in strict["rows"]}
        assert strict["rows"][0]["name"].startswith(("female: ", "male: "))


@pytest.mark.parametrize(
    ("sexes", "by", "reason"),
    [
        ([None] * 80, "sex", "no clip has a known sex"),
        (["female"] * 60 + ["male"] * 20, "sex", "enough clips (female 60, male 20)"),
        (["female"] * 80, "accent", "no clip has a known accent"),
    ],
)
def test_groups_that_cannot_be_compared(
    sexes: list[str | None], by: str, reason: str, tmp_path: Path
) -> None:
    (row,) = check(make_clips(tmp_path, sexes, [True] * 80), make_test(by=by, at_most=0.1))
    assert row["status"] == "not applicable"
    assert reason in row["reason"]


def test_groups_must_be_named() -> None:
    with pytest.raises(ConfigError, match="by"):
        make_test(by=None, at_most=0.1)


def test_embedded_tests_of_fairness() -> None:
    tests = select_tests(read_tests(), ["fairness"])
    assert {test.by for test in tests} == {"sex", "age", "pitch", "language", "corpus", "accent", None}
    assert all(test.at_most is not None and test.source for test in tests)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script")
def test_model_of_the_words_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (test,) = select_tests(read_tests(), ["sentiment of words"])
    clips = make_clips(tmp_path, ["female"] * 4, [True] * 4)
    monkeypatch.setenv("EMOVOX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    (row,) = check(clips, test)
    assert row["status"] == "not applicable"
    assert "espeak-ng is not installed" in row["reason"]

    monkeypatch.setattr("emovox.evaluation.sentences.VOICES", {"m3": "male"})
    program = tmp_path / "espeak-ng"
    for pattern, status in (("*-[ed]?-*", "passed"), ("*-negative-*", "failed")):
        program.write_text(
            f'#!/bin/sh\ncase "$4" in {pattern}) /bin/cp {tmp_path}/high.wav "$4";; '
            f'*) /bin/cp {tmp_path}/low.wav "$4";; esac\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("EMOVOX_CACHE", str(tmp_path / status))
        (row,) = check(clips, test)
        assert (row["status"], row["n_clips"]) == (status, 384)
    assert row["rows"][0]["name"] in ("negative, angry", "negative, sad")
    assert row["value"] == pytest.approx(2 / 3, abs=1e-6)
