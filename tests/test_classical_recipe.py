"""The recipe of the classical system: scikit-learn's discriminant; no fold chooses by its own actors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")
discriminant_analysis = pytest.importorskip("sklearn.discriminant_analysis")

RECIPES = Path(__file__).parents[1] / "recipes"
RATE = 16_000
EMOTIONS = ("angry", "happy", "sad")
N_ACTORS, N_TAKES = 12, 4


@pytest.fixture(scope="module")
def recipe() -> Iterator[ModuleType]:
    sys.path.insert(0, str(RECIPES))
    import classical  # type: ignore[import-not-found]

    yield classical
    sys.path.remove(str(RECIPES))


@pytest.fixture
def pool(recipe: ModuleType) -> Any:
    """Twelve actors in six folds; each emotion moves one column of each set, the rest is noise."""
    dice = np.random.default_rng(5)
    actor, emotion, _ = np.indices((N_ACTORS, len(EMOTIONS), N_TAKES)).reshape(3, -1)

    def rows(n_columns: int) -> np.ndarray:
        x = dice.standard_normal((len(actor), n_columns)).astype(np.float32)
        x[np.arange(len(x)), emotion] += 1.5
        return x

    sets = [[rows(n_columns) for _ in recipe.SPEEDS] for n_columns in (150, 40)]
    return recipe.Pool(
        ids=[f"clip-{i}" for i in range(len(actor))],
        speakers=np.array([f"actor-{a:02}" for a in actor]),
        emotions=EMOTIONS,
        y=emotion,
        fold=actor // 2 + 1,
        sets=sets,
    )


class Shrunken:
    """The covariance as the recipe's docstring has it, for scikit-learn."""

    def __init__(self, shrinkage: float, n_directions: int) -> None:
        self.shrinkage, self.n_directions = shrinkage, n_directions

    def fit(self, x: np.ndarray) -> Shrunken:
        covariance = np.cov(x.T, bias=True)
        even = np.trace(covariance) / self.n_directions * np.eye(len(covariance))
        self.covariance_ = (1 - self.shrinkage) * covariance + self.shrinkage * even
        return self


@pytest.mark.parametrize("shrinkage", [0.1, 0.5, 0.9])
def test_the_discriminant_is_scikit_learns(recipe: ModuleType, shrinkage: float) -> None:
    dice = np.random.default_rng(1)
    y = np.repeat(np.arange(4), 15)
    x, judged = dice.standard_normal((60, 90)), dice.standard_normal((9, 90))
    x[:, 0] += y
    x -= x.mean(0)
    weights, bias = recipe.discriminant(x @ x.T, y, shrinkage, 4)
    ours = judged @ x.T @ weights + bias
    theirs = discriminant_analysis.LinearDiscriminantAnalysis(
        solver="lsqr", covariance_estimator=Shrunken(shrinkage, len(x)), priors=np.full(4, 0.25)
    )
    theirs = theirs.fit(x, y).decision_function(judged)
    # The scores may differ by one number a clip, which the priors and the softmax do not see.
    np.testing.assert_allclose(
        ours - ours.mean(1, keepdims=True), theirs - theirs.mean(1, keepdims=True), atol=1e-9
    )


def test_it_learns(recipe: ModuleType, pool: Any) -> None:
    judged = pool.fold == 1
    for choice in recipe.CHOICES:
        answers = recipe.tested(pool, 1, choice)
        assert (answers == pool.y[judged]).mean() > 0.6, choice


def test_a_fold_does_not_choose_by_its_own_actors(recipe: ModuleType, pool: Any) -> None:
    before = recipe.inner_uars(pool)
    own = pool.fold == 2
    spoilt = [[np.where(own[:, None], np.float32(1e3), rows) for rows in speeds] for speeds in pool.sets]
    after = recipe.inner_uars(replace(pool, sets=spoilt, y=np.where(own, 0, pool.y)))
    assert after[2] == before[2]
    assert after[1] != before[1]


def test_the_test_actors_teach_nothing(recipe: ModuleType, pool: Any) -> None:
    own = pool.fold == 3
    other = replace(pool, y=np.where(own, 0, pool.y))
    choice = recipe.CHOICES[-1]
    np.testing.assert_array_equal(recipe.tested(pool, 3, choice), recipe.tested(other, 3, choice))
    # A clip's answer does not depend on the other test clips.
    training = ~own
    every = recipe.scores(pool, training, own, [choice])[choice]
    one = np.zeros_like(own)
    one[np.flatnonzero(own)[4]] = True
    np.testing.assert_allclose(recipe.scores(pool, training, one, [choice])[choice][0], every[4], atol=1e-4)


def test_copies_are_never_judged(recipe: ModuleType, pool: Any) -> None:
    training, judged = pool.fold != 4, pool.fold == 4
    spoilt = [
        [speeds[0], *(np.where(judged[:, None], np.nan, s) for s in speeds[1:])] for speeds in pool.sets
    ]
    choice = recipe.Choice(len(recipe.SPEEDS), 0.5)
    found = recipe.scores(replace(pool, sets=spoilt), training, judged, [choice])[choice]
    np.testing.assert_array_equal(found, recipe.scores(pool, training, judged, [choice])[choice])


def test_equal_choices_take_the_first(recipe: ModuleType) -> None:
    row = dict.fromkeys(recipe.CHOICES, 0.5)
    assert recipe.chosen({1: row}) == {1: recipe.CHOICES[0]}
    assert recipe.chosen({1: row | {recipe.CHOICES[2]: 0.6}}) == {1: recipe.CHOICES[2]}


@pytest.mark.parametrize("speed", [0.93, 1.07])
def test_another_speed_moves_tempo_and_pitch(recipe: ModuleType, speed: float) -> None:
    tone = np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE).astype(np.float32)
    changed = recipe.played(tone, speed)
    assert len(changed) == pytest.approx(RATE / speed, abs=2)
    hz = np.abs(np.fft.rfft(changed)).argmax() * RATE / len(changed)
    assert hz == pytest.approx(500 * speed, abs=2)
    assert recipe.played(tone, 1.0) is tone
