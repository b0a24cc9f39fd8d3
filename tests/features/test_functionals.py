"""Functionals are numpy's and scipy's own figures of the frames that exist, and nan where none do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from emovox.features.functionals import ELEVEN, STATISTICS, functional_names, functionals

stats = pytest.importorskip("scipy.stats")

ALL = (*ELEVEN, "p00", "p05", "p90", "p100")


def reference(z: np.ndarray, hop_s: float) -> dict[str, float]:
    """The same of one column without gaps, by numpy and scipy, at its times ``z[0]``; values are ``z[1]``."""
    time, x = z[0] * hop_s, z[1]
    if not len(x):
        return dict.fromkeys(ALL, np.nan)
    flat = x.max() == x.min()
    return {
        "mean": x.mean(),
        "std": 0.0 if flat else x.std(),
        "min": x.min(),
        "max": x.max(),
        "range": np.ptp(x),
        "median": np.median(x),
        "q25": np.percentile(x, 25),
        "q75": np.percentile(x, 75),
        "skew": np.nan if flat else stats.skew(x),
        "kurtosis": np.nan if flat else stats.kurtosis(x),
        "slope": np.nan if len(x) < 2 else 0.0 if flat else stats.linregress(time, x).slope,
        "p00": x.min(),
        "p05": np.percentile(x, 5),
        "p90": np.percentile(x, 90),
        "p100": x.max(),
    }


def expected(values: np.ndarray, there: np.ndarray, hop_s: float = 1.0) -> np.ndarray:
    """``(len(ALL), d)``, a column at a time."""
    every = []
    for j in range(values.shape[1]):
        time = np.flatnonzero(there[:, j])
        found = reference(np.stack([time.astype(float), values[time, j].astype(float)]), hop_s)
        every.append([found[name] for name in ALL])
    return np.array(every).reshape(-1, len(ALL)).T


# Hundredths: differences far above the rounding of scipy, which cancels where numbers are close.
matrices = arrays(
    np.int64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-999, 999)
)


@given(matrices, st.data())
@settings(max_examples=150, deadline=None)
def test_functionals_equal_scipy(hundredths: np.ndarray, data: st.DataObject) -> None:
    values = hundredths / 100
    masked = data.draw(arrays(np.bool_, values.shape))
    nan = data.draw(arrays(np.bool_, values.shape))
    hop_s = data.draw(st.sampled_from([0.005, 0.01, 1.0]))
    given_values = np.where(nan, np.nan, values)
    got = functionals(given_values, statistics=ALL, mask=masked, hop_s=hop_s).reshape(len(ALL), -1)
    wanted = expected(values, masked & ~nan, hop_s)
    scale = 1 + np.nanmax(np.abs(np.nan_to_num(wanted)))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6 * scale)


def test_long_series() -> None:
    values = np.random.default_rng(3).gamma(2.0, 3.0, (500, 7)) + np.arange(500)[:, None] * 0.01
    got = functionals(values, statistics=ALL, hop_s=0.01).reshape(len(ALL), -1)
    np.testing.assert_allclose(got, expected(values, np.ones_like(values, bool), 0.01), rtol=1e-5)


def test_slope_of_a_line() -> None:
    time_s = 0.01 * np.arange(100)
    line = 150 + 40 * time_s
    line[[3, 50, 51, 99]] = np.nan  # gaps do not move the others in time
    assert functionals(line, statistics=["slope"], hop_s=0.01) == pytest.approx([40.0], rel=1e-6)


def test_missing_frames_are_left_out() -> None:
    rng = np.random.default_rng(0)
    values, mask = rng.standard_normal((60, 3)), rng.random(60) < 0.6
    order_free = [name for name in ALL if name != "slope"]
    short = functionals(values[mask], statistics=order_free)
    assert np.array_equal(functionals(np.where(mask[:, None], values, np.nan), statistics=order_free), short)
    values[~mask] = 1e9  # whatever stands in a masked frame
    np.testing.assert_allclose(functionals(values, mask=mask, statistics=order_free), short, rtol=1e-6)


@given(matrices, st.floats(0.01, 100), st.floats(-50, 50))
@settings(max_examples=50, deadline=None)
def test_gain_and_offset(hundredths: np.ndarray, gain: float, offset: float) -> None:
    values = hundredths / 100
    before = dict(zip(ALL, functionals(values, statistics=ALL).reshape(len(ALL), -1), strict=True))
    after = dict(
        zip(ALL, functionals(gain * values + offset, statistics=ALL).reshape(len(ALL), -1), strict=True)
    )
    for name in ALL:
        if name in {"skew", "kurtosis"}:
            spread = before["range"] * gain > 1e-9 * (1 + abs(offset))
            wanted, got = before[name][spread], after[name][spread]
        else:
            moved = 0.0 if name in {"std", "range", "slope"} else offset
            wanted, got = gain * before[name] + moved, after[name]
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * gain + 1e-4, err_msg=name)


def test_undefined_is_nan() -> None:
    assert np.isnan(functionals(np.full((5, 2), np.nan), statistics=ALL)).all()
    assert np.isnan(functionals(np.zeros((0, 2)), statistics=ALL)).all()
    assert np.isnan(functionals(np.ones(4), mask=np.zeros(4, bool), statistics=ALL)).all()
    one = dict(zip(ALL, functionals([[2.5]], statistics=ALL), strict=True))
    assert {name for name, value in one.items() if np.isnan(value)} == {"skew", "kurtosis", "slope"}
    assert one["std"] == one["range"] == 0.0
    constant = dict(zip(ALL, functionals(np.full(9, 0.1), statistics=ALL), strict=True))
    assert {name for name, value in constant.items() if np.isnan(value)} == {"skew", "kurtosis"}
    assert constant["std"] == constant["slope"] == 0.0


def test_missing_column() -> None:
    values = np.random.default_rng(1).standard_normal((20, 3))
    alone = functionals(values[:, [0, 2]]).reshape(-1, 2)
    values[:, 1] = np.nan
    together = functionals(values).reshape(-1, 3)
    assert np.array_equal(together[:, [0, 2]], alone)
    assert np.isnan(together[:, 1]).all()


def test_functional_names() -> None:
    names = functional_names(["a", "b"], ["mean", "p90", "max"])
    assert names == ("a_mean", "b_mean", "a_p90", "b_p90", "a_max", "b_max")
    values = np.column_stack([np.arange(11.0), 10 * np.arange(11.0)])
    got = dict(zip(names, functionals(values, statistics=["mean", "p90", "max"]), strict=True))
    assert got == {"a_mean": 5, "b_mean": 50, "a_p90": 9, "b_p90": 90, "a_max": 10, "b_max": 100}
    assert (
        len(functional_names(["x"]))
        == len(functionals(values[:, :1]))
        == 11
        == len(ELEVEN)
        == len(STATISTICS)
    )
    assert functionals(values, statistics=[]).shape == (0,)


def test_dtype_and_input() -> None:
    values = np.random.default_rng(2).standard_normal((30, 4)).astype(np.float32)
    before = values.copy()
    got = functionals(values)
    assert got.dtype == np.float32
    assert got.shape == (44,)
    assert np.array_equal(values, before)


@pytest.mark.parametrize("name", ["average", "p", "p5", "p101", "P05", "p050", ""])
def test_unknown_statistics_are_told(name: str) -> None:
    for ask in (
        lambda: functionals(np.ones((3, 1)), statistics=[name]),
        lambda: functional_names(["a"], [name]),
    ):
        with pytest.raises(ValueError, match=r"unknown statistic .* expected one of mean, std"):
            ask()


def test_invalid_arguments() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2\); expected \(t, d\)"):
        functionals(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="infinity"):
        functionals([[1.0], [np.inf]])
    with pytest.raises(ValueError, match="hop_s is 0"):
        functionals([[1.0]], hop_s=0)
    for mask in (np.ones(3, bool), np.ones((4, 1), bool), np.ones(4)):
        with pytest.raises(ValueError, match="the mask is"):
            functionals(np.zeros((4, 2)), mask=mask)
