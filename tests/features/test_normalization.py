"""Normalisers: equal to scikit-learn's, fitted on training rows alone, missing stays missing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emovox.errors import ConfigError
from emovox.features.normalization import (
    NORMALISERS,
    QuantileNormaliser,
    RobustNormaliser,
    SpeakerNormaliser,
    StandardNormaliser,
    normaliser_from_dict,
)

TABLES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 30), st.integers(1, 4)),
    elements=st.one_of(
        st.floats(-1e6, 1e6, width=32), st.just(np.nan), st.sampled_from([0.0, 1.0, 0.10000000149011612])
    ),
)


def rows(n: int = 200, d: int = 6, *, seed: int = 0) -> np.ndarray:
    """Columns of several scales, one of them constant, one with few values, some cells missing."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((n, d)) * 10.0 ** np.arange(-3, d - 3) + draw.standard_normal(d) * 100
    x[:, 0] = 0.1
    x[:, 1] = draw.integers(0, 3, n)
    x[draw.random((n, d)) < 0.05] = np.nan
    return x.astype(np.float32)


def of_sklearn(kind: str, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """What scikit-learn makes of the same rows, in double precision."""
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    scaler = {
        "standard": preprocessing.StandardScaler(),
        "robust": preprocessing.RobustScaler(),
        "quantile": preprocessing.QuantileTransformer(n_quantiles=min(1000, len(train))),
    }[kind]
    return scaler.fit(train.astype(np.float64)).transform(test.astype(np.float64))


@pytest.mark.parametrize("kind", list(NORMALISERS))
def test_they_equal_scikit_learns(kind: str) -> None:
    train, test = rows(), rows(50, seed=1)
    ours = NORMALISERS[kind].fit(train).transform(test)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, of_sklearn(kind, train, test), rtol=1e-6, atol=1e-6)


@settings(max_examples=40)
@given(x=TABLES, kind=st.sampled_from(list(NORMALISERS)))
def test_nan_stays_nan(x: np.ndarray, kind: str) -> None:
    made = NORMALISERS[kind].fit(x)
    z = made.transform(x)
    assert np.array_equal(np.isnan(z), np.isnan(x))
    assert np.isfinite(z[~np.isnan(x)]).all()
    # One row alone is the same row among others, and the way through JSON loses nothing.
    again = normaliser_from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False)))
    for row, expected in zip(x, z, strict=True):
        np.testing.assert_array_equal(again.transform(row), expected)


def test_constant_column() -> None:
    x = np.full((10, 1), 0.1, np.float32)
    for kind in (StandardNormaliser, RobustNormaliser):
        assert kind.fit(x).transform(x + 2)[0, 0] == pytest.approx(2)
    assert QuantileNormaliser.fit(x).transform(x)[0, 0] == 0


def test_column_without_values() -> None:
    train = np.array([[1.0, np.nan], [2.0, np.nan], [4.0, np.nan]])
    for kind in NORMALISERS.values():
        z = kind.fit(train).transform([[3.0, 7.0]])
        assert np.isfinite(z[0, 0])
        assert np.isnan(z[0, 1])


def test_only_training_rows_count() -> None:
    train, test = rows(), rows(40, seed=1)
    made = StandardNormaliser.fit(train)
    alone = made.transform(test[:1])
    test[1:] = 1e9  # what else is in the test cannot matter
    np.testing.assert_array_equal(made.transform(test)[:1], alone)


@pytest.mark.parametrize("kind", [*NORMALISERS.values(), SpeakerNormaliser])
@pytest.mark.parametrize("bad", [[], [1.0, 2.0], [[np.inf]], np.zeros((3, 0)), np.zeros((0, 3))])
def test_invalid_rows_are_refused(kind: type[StandardNormaliser], bad: object) -> None:
    with pytest.raises(ConfigError, match="training rows"):
        kind.fit(bad)


def test_column_count_is_checked() -> None:
    for kind in NORMALISERS.values():
        with pytest.raises(ConfigError, match="6 columns"):
            kind.fit(rows()).transform(np.zeros((2, 5)))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "kind is None"),
        ({"kind": "pickle"}, "expected one of standard, robust, quantile"),
        ({"kind": "standard", "mean": [0.0]}, "no list 'std'"),
        ({"kind": "standard", "mean": [0.0], "std": ["a"]}, "no lists of numbers"),
        ({"kind": "standard", "mean": [0.0], "std": [1.0, 2.0]}, "as many each"),
        ({"kind": "robust", "median": [[0.0]], "spread": [[1.0]]}, "as many each"),
        ({"kind": "quantile", "quantiles": [[0.0]]}, "two rows"),
        ({"kind": "quantile", "quantiles": [[0.0], [1.0, 2.0]]}, "as many each"),
    ],
)
def test_invalid_json_is_refused(told: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        normaliser_from_dict(told)


# ------------------------------------------------------------------------------------------ speakers


def voices(n: int = 40, d: int = 3) -> tuple[np.ndarray, list[str]]:
    """Three speakers whose columns lie far apart."""
    draw = np.random.default_rng(3)
    x = np.concatenate([draw.normal(10 * i, 1 + i, (n, d)) for i in range(3)]).astype(np.float32)
    return x, [name for name in "abc" for _ in range(n)]


def test_no_clips_gives_population() -> None:
    x, _ = voices()
    made = SpeakerNormaliser.fit(x)
    nobody = made.enroll(np.zeros((0, 3)))
    np.testing.assert_array_equal(nobody.transform(x), StandardNormaliser.fit(x).transform(x))


def test_many_clips_give_own_statistics() -> None:
    x, _ = voices(20_000)
    own = x[:20_000]
    far = SpeakerNormaliser.fit(x).enroll(own).transform(own)
    np.testing.assert_allclose(far, StandardNormaliser.fit(own).transform(own), atol=0.1)


def test_shrinkage_weight() -> None:
    x, _ = voices()
    made, own = SpeakerNormaliser.fit(x), x[:5].astype(np.float64)
    found = made.enroll(own)  # five clips: half its own, half the population's
    np.testing.assert_allclose(found.mean, (own.mean(0) + x.mean(0, dtype=np.float64)) / 2, rtol=1e-6)
    np.testing.assert_allclose(found.std**2, (own.var(0) + x.var(0, dtype=np.float64)) / 2, rtol=1e-6)


def test_rows_use_their_speaker() -> None:
    x, speakers = voices()
    made = SpeakerNormaliser.fit(x)
    z = made.transform(x, speakers)
    for name in "abc":
        own = np.array([s == name for s in speakers])
        np.testing.assert_array_equal(z[own], made.enroll(x[own]).transform(x[own]))
        assert abs(z[own].mean()) < 0.5  # most of the offset between voices is gone
    assert abs(StandardNormaliser.fit(x).transform(x)[:40].mean()) > 0.9


def test_drawn_clip_counts() -> None:
    x, speakers = voices()
    made = SpeakerNormaliser.fit(x)
    none = made.transform(x, speakers, clips=0)
    np.testing.assert_array_equal(none, made.population.transform(x))
    some = [made.transform(x, speakers, clips=(0, 3, 10), seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(some[0], some[1])
    assert not np.array_equal(some[0], some[2])


def test_missing_cells_per_column() -> None:
    x, _ = voices()
    made, own = SpeakerNormaliser.fit(x), x[:4].copy()
    own[:, 1] = np.nan
    found = made.enroll(own)
    whole = made.enroll(x[:4])
    assert found.mean[1] == made.population.mean[1]
    assert found.std[1] == made.population.std[1]
    assert np.array_equal(found.mean[[0, 2]], whole.mean[[0, 2]])


def test_constant_column_of_speaker() -> None:
    made = SpeakerNormaliser.fit(np.full((10, 1), 3.0))
    assert made.enroll(np.array([[3.0], [5.0]])).std[0] == 0


def test_speaker_json_round_trip() -> None:
    x, speakers = voices()
    made = SpeakerNormaliser.fit(x, shrinkage=3)
    again = SpeakerNormaliser.from_dict(json.loads(json.dumps(made.to_dict())))
    np.testing.assert_array_equal(again.transform(x, speakers), made.transform(x, speakers))
    enrolment = made.enroll(x[:7])
    told = normaliser_from_dict(json.loads(json.dumps(enrolment.to_dict())))
    np.testing.assert_array_equal(told.transform(x), enrolment.transform(x))


def test_speaker_normaliser_errors() -> None:
    x, speakers = voices()
    made = SpeakerNormaliser.fit(x)
    with pytest.raises(ConfigError, match="one for each row"):
        made.transform(x, speakers[1:])
    with pytest.raises(ConfigError, match="shrinkage"):
        SpeakerNormaliser.fit(x, shrinkage=0)
    with pytest.raises(ConfigError, match="population"):
        SpeakerNormaliser.from_dict({"kind": "speaker", "shrinkage": 5.0})
