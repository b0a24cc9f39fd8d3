"""Groups: a fair model stays below the limit of chance, a biased one exceeds it, whatever their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emovox.audio import SAMPLE_RATE
from emovox.datasets.manifest import Manifest, Utterance
from emovox.evaluation import metrics
from emovox.evaluation.fairness import (
    CHANCE_QUANTILE,
    MIN_CLIPS,
    GroupComparison,
    Measure,
    compare_groups,
    group_clips,
)
from speech import pause, voice

LABELS = ("angry", "happy", "neutral", "sad")
MEASURES: tuple[Measure, ...] = ("uar", "recall", "share")


def answer(
    rng: np.random.Generator, y_true: Sequence[str], right: Sequence[float] | float, other: str | None = None
) -> list[str]:
    """Labels of a model that is right with a probability, and otherwise says ``other`` or any label."""
    chance = np.broadcast_to(right, len(y_true))
    wrong = [other or LABELS[k] for k in rng.integers(0, len(LABELS), len(y_true))]
    return [t if rng.random() < p else w for t, p, w in zip(y_true, chance, wrong, strict=True)]


def compare(
    y_true: list[str], y_pred: list[str], groups: list[str | None], measure: Measure
) -> GroupComparison:
    speakers = [f"{group}-{i // 4 % 11}" for i, group in enumerate(groups)]
    found = compare_groups(y_true, y_pred, speakers, groups, measure)
    assert found is not None
    return found


@pytest.mark.parametrize("measure", MEASURES)
def test_fair_models_seldom_exceed_chance(measure: Measure) -> None:
    n, exceeded = 40, 0
    for seed in range(n):
        rng = np.random.default_rng(seed)
        y_true = [LABELS[k] for k in rng.integers(0, 4, 400)]
        groups: list[str | None] = ["female" if x < 0.6 else "male" for x in rng.random(400)]
        found = compare(y_true, answer(rng, y_true, 0.6), groups, measure)
        exceeded += found.largest > found.chance
        assert 0.03 < found.chance < 0.4
    # Expected 0.4 of 40; 4 or more have a probability below 1e-3.
    assert exceeded < 4
    assert CHANCE_QUANTILE == 0.99


@pytest.mark.parametrize("measure", MEASURES)
def test_biased_model_exceeds_chance(measure: Measure) -> None:
    rng = np.random.default_rng(0)
    y_true = [LABELS[k] for k in rng.integers(0, 4, 400)]
    groups: list[str | None] = ["female", "male"] * 200
    right = [0.8 if group == "male" else 0.4 for group in groups]
    found = compare(y_true, answer(rng, y_true, right, "sad"), groups, measure)
    assert found.largest > max(found.chance, 0.1)
    assert {one.group for one in found.differences} == {"female", "male"}
    if measure == "share":
        assert all(one.label == "sad" for one in found.differences)
        assert next(one.difference for one in found.differences if one.group == "female") > 0


def test_groups_may_differ_in_labels() -> None:
    """As corpora do: raw shares differ by a half, though the model treats all clips alike."""
    rng = np.random.default_rng(3)
    y_true = ["angry", "happy"] * 100 + ["neutral", "sad"] * 100 + [*LABELS] * 50
    groups: list[str | None] = ["a"] * 200 + ["b"] * 200 + ["c"] * 200
    y_pred = answer(rng, y_true, 0.7)
    for measure in MEASURES:
        found = compare(y_true, y_pred, groups, measure)
        assert found.largest <= found.chance
    raw = abs(np.mean([p == "sad" for p in y_pred[:200]]) - np.mean([p == "sad" for p in y_pred[200:400]]))
    assert raw > 0.3


def test_values_are_those_of_the_metrics() -> None:
    rng = np.random.default_rng(5)
    y_true = [*LABELS] * 60
    groups: list[str | None] = [("x", "y", None)[i // 4 % 3] for i in range(240)]
    y_pred = answer(rng, y_true, 0.6)
    known = [i for i, group in enumerate(groups) if group is not None]
    all_true, all_pred = [y_true[i] for i in known], [y_pred[i] for i in known]
    for one in compare(y_true, y_pred, groups, "uar").differences:
        at = [i for i in known if groups[i] == one.group]
        true, pred = [y_true[i] for i in at], [y_pred[i] for i in at]
        assert one.value == pytest.approx(metrics.uar(true, pred))
        assert one.expected == pytest.approx(metrics.uar(all_true, all_pred))
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.value <= one.high
    for one in compare(y_true, y_pred, groups, "share").differences:
        at = [i for i in known if groups[i] == one.group]
        assert one.value == pytest.approx(np.mean([y_pred[i] == one.label for i in at]))
        # As all groups have the same labels, as often, the expected share is that of all clips.
        assert one.expected == pytest.approx(np.mean([p == one.label for p in all_pred]))


def test_small_groups_are_left_out() -> None:
    y_true = [*LABELS] * 25
    groups: list[str | None] = ["a"] * 40 + ["b"] * 40 + ["c"] * 20
    found = compare(y_true, y_true, groups, "uar")
    assert found.left_out == {"c": 20}
    assert found.largest == found.chance == 0, "a model without errors"
    assert compare_groups(y_true, y_true, y_true, ["a"] * 80 + ["b"] * 20, "uar") is None
    assert MIN_CLIPS == 30
    rare = compare(
        [*y_true, *["fear"] * 9], [*y_true, *["sad"] * 9], [*["a", "a", "b", "b"] * 25, *["a"] * 9], "uar"
    )
    assert rare.largest == 0, "9 clips of a label do not count"
    few = ["angry"] * 9 + ["sad"] * 9 + ["happy"] * 9 + ["neutral"] * 9
    recalls = compare([*few, *y_true], [*few, *y_true], ["few"] * 36 + ["a", "a", "b", "b"] * 25, "recall")
    assert recalls.left_out == {"few": 36}
    assert [one.label for one in recalls.differences] == ["angry", "neutral"]


def test_comparison_is_reproducible() -> None:
    y_true = [*LABELS] * 25
    y_pred = answer(np.random.default_rng(1), y_true, 0.5)
    groups: list[str | None] = ["a"] * 48 + ["b"] * 52
    assert compare(y_true, y_pred, groups, "recall") == compare(y_true, y_pred, groups, "recall")


def make_clip(
    root: Path, key: str, x: np.ndarray, speaker: str, extra: dict[str, str] | None = None
) -> Utterance:
    soundfile.write(root / f"{key}.wav", x, SAMPLE_RATE)
    return Utterance(
        id=f"toy/{key}",
        path=f"{key}.wav",
        corpus="toy",
        speaker=speaker,
        emotion="neutral",
        original="n",
        sex="female",
        extra=extra or {},
    )


def test_pitch_groups_are_of_speakers(tmp_path: Path) -> None:
    clips = [
        make_clip(tmp_path, "low-1", voice(1, pitch_hz=110), "low"),
        make_clip(tmp_path, "low-2", voice(1, pitch_hz=160), "low"),
        make_clip(tmp_path, "high-1", voice(1, pitch_hz=230), "high", {"accent": "Welsh"}),
        make_clip(tmp_path, "none-1", pause(1), "none"),
        make_clip(tmp_path, "middle-1", voice(1, pitch_hz=165), "middle"),
        Utterance("toy/gone", "gone.wav", "toy", "low", "neutral", "n"),
    ]
    manifest = Manifest(tmp_path, tuple(clips))
    low = "under 145 Hz"
    assert group_clips(manifest, "pitch") == [low, low, "over 190 Hz", None, "145 to 190 Hz", low]
    assert group_clips(manifest, "sex") == ["female"] * 5 + [None]
    assert group_clips(manifest, "accent") == [None, None, "Welsh", None, None, None]
