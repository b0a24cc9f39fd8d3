"""Sets side by side, and recordings without their silent ends."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.errors import ConfigError
from emovox.features.feature_set import find_feature_set, trim_silence

RATE = 16_000
WINDOW, HOP = 2048, 512
BOTH = "seed-180+emovox-core"


def voice(seconds: float = 1.0) -> np.ndarray:
    """A buzz that swells and falls, with a little noise."""
    t = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.cos(2 * np.pi * 140 * k * t) / k for k in range(1, 12))
    noise = np.random.default_rng(0).standard_normal(len(t))
    return (0.05 * buzz * (1 + 0.5 * np.sin(2 * np.pi * 3 * t)) + 0.001 * noise).astype(np.float32)


def between_silences(x: np.ndarray, seconds: float = 0.5) -> np.ndarray:
    pause = np.zeros(round(seconds * RATE), np.float32)
    return np.concatenate([pause, x, pause])


def test_joined_values_in_order() -> None:
    x = voice()
    both = find_feature_set(BOTH)
    parts = [find_feature_set(name) for name in BOTH.split("+")]
    np.testing.assert_array_equal(both(x), np.concatenate([part(x) for part in parts]))
    assert both.columns == tuple(f"{part.name}:{name}" for part in parts for name in part.columns)
    assert both.n_columns == len(both.columns)
    assert both.kind == "vector"


def test_joined_digest() -> None:
    names = [BOTH, "emovox-core+seed-180", "seed-180+seed-full"]
    digests = {find_feature_set(name).digest for name in names}
    digests |= {find_feature_set(BOTH, {"trim_db": level}).digest for level in (30, 40)}
    digests |= {find_feature_set("seed-180", changed).digest for changed in (None, {"trim_db": 30})}
    assert len(digests) == 7
    assert find_feature_set(BOTH).digest == find_feature_set(BOTH).digest


def test_joined_reference_round_trip() -> None:
    made = find_feature_set(BOTH, {"trim_db": 30})
    told = made.reference()
    again = find_feature_set(told["set"], told["overrides"])
    assert again.digest == told["digest"]
    x = between_silences(voice())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(made))(x), again(x))


def test_trimming_with_overrides() -> None:
    x = between_silences(voice())
    made = find_feature_set("seed-180", {"trim_db": 30, "mfcc.n_mfcc": 13})
    plain = find_feature_set("seed-180", {"mfcc.n_mfcc": 13})
    assert made.columns == plain.columns
    np.testing.assert_array_equal(made(x), plain(trim_silence(x, 30)))
    assert not np.array_equal(made(x), plain(x))


@pytest.mark.parametrize(
    ("name", "overrides", "told"),
    [
        ("seed-180+seed-180", None, "twice"),
        ("seed-180+seed-fu", None, "did you mean 'seed-full'"),
        ("seed-180+", None, "unknown feature set ''"),
        ("seed-180+seed-lstm", None, "set of frames"),
        ("seed-lstm", {"trim_db": 30}, "set of frames"),
        (BOTH, {"mfcc.n_mfcc": 13}, "trim_db alone"),
        (BOTH, {"trim_db": 0}, "over 0 to 120"),
        (BOTH, {"trim_db": "30 dB"}, "over 0 to 120"),
        (BOTH, {"trim_db": float("nan")}, "over 0 to 120"),
    ],
)
def test_invalid_joins(name: str, overrides: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        find_feature_set(name, overrides)


def test_trim_keeps_pauses() -> None:
    x = between_silences(between_silences(voice(), 0.25))
    x = np.concatenate([x, voice(), np.zeros(RATE, np.float32)])
    kept = trim_silence(x, 30)
    assert np.count_nonzero(kept) == np.count_nonzero(x)
    assert len(kept) == pytest.approx(len(x) - 1.75 * RATE, abs=2 * WINDOW)


def test_trim_ignores_gain() -> None:
    x = between_silences(voice())
    assert len(trim_silence(x, 30)) == len(trim_silence(np.float32(0.125) * x, 30))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 4 * WINDOW), place=st.floats(0, 1), top_db=st.floats(0.1, 120))
def test_trim_keeps_the_loudest(n: int, place: float, top_db: float) -> None:
    x = np.zeros(n, np.float32)
    click = int(place * (n - 1))
    x[click] = 1
    kept = trim_silence(x, top_db)
    assert 1 <= len(kept) <= n
    # A frame is the HOP samples around its middle; a click lies in a frame that remains or right behind it.
    assert kept.any() or n - click <= HOP


def test_trim_identity() -> None:
    x = voice()
    np.testing.assert_array_equal(trim_silence(x, 60), x)
    np.testing.assert_array_equal(trim_silence(np.zeros(5000, np.float32), 30), np.zeros(5000, np.float32))


def test_trim_equals_librosa() -> None:
    effects = pytest.importorskip("librosa").effects
    x = between_silences(voice(1.3), 0.37)
    theirs, _ = effects.trim(x, top_db=30)
    assert abs(len(trim_silence(x, 30)) - len(theirs)) <= HOP
