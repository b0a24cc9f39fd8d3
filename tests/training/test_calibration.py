"""How sure a model may be: the share that is answered is the one asked for."""

from __future__ import annotations

import numpy as np
import pytest

from emovox.training.calibration import FEWEST, abstention, calibrated, fit_temperature


@pytest.mark.parametrize("coverage", [0.25, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [30, 31, 1000])
def test_the_share_that_is_answered_is_the_one_asked_for(coverage: float, n: int) -> None:
    confidence = np.random.default_rng(0).uniform(0.3, 1, n)
    answered = float((confidence >= abstention(confidence, coverage)).mean())
    assert coverage <= answered < coverage + 2 / n


def test_clips_that_count_nothing_move_nothing() -> None:
    confidence = np.linspace(0.3, 1, 50)
    weights = np.ones(60)
    weights[50:] = 0
    more = np.concatenate([confidence, np.full(10, 0.31)])
    assert abstention(more, 0.8, weights) == abstention(confidence, 0.8)


def test_all_are_answered_when_all_are_asked_for() -> None:
    assert abstention(np.array([0.3, 0.9]), 1.0) == 0


def test_an_overconfident_model_is_cooled_and_a_handful_of_clips_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 400)
    logits = 8 * (np.eye(3)[labels] + rng.standard_normal((400, 3)))
    found = calibrated(logits, labels)
    assert 2 < found.temperature < 10
    assert found.notes == ()
    few = calibrated(logits[: FEWEST - 1], labels[: FEWEST - 1])
    assert (few.temperature, few.threshold, len(few.notes)) == (1.0, 0.0, 1)


def test_a_timid_model_may_need_a_temperature_far_below_one() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 400)
    logits = np.eye(3)[labels] + 0.5 * rng.standard_normal((400, 3))
    sharp, timid = (fit_temperature(scale * logits, labels) for scale in (1, 0.1))
    assert timid == pytest.approx(0.1 * sharp, rel=0.01)
    assert timid < 0.1


@pytest.mark.parametrize(("right", "end"), [(True, 0.02), (False, 50.0)])
def test_the_temperature_stays_between_its_ends(right: bool, end: float) -> None:
    """Answers that are always right want no temperature at all, those always wrong an endless one."""
    labels = np.arange(40) % 3
    logits = np.eye(3)[labels if right else (labels + 1) % 3] * 2.0
    found = fit_temperature(logits, labels)
    assert 0.02 <= found <= 50
    assert abs(np.log(found / end)) < 0.1
