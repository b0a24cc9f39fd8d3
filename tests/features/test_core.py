"""emovox-core: named columns, gain, voices of known pitch and rhythm, and eGeMAPS on real speech."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from emovox.features import SETS, find_feature_set
from emovox.features.core import COLUMNS, LEVEL_COLUMNS, core

RATE = 16_000


def speech(pitch_hz: float = 140.0, *, seconds: float = 2.0, per_s: float = 3.0, seed: int = 0) -> np.ndarray:
    """Syllables of a gliding voice with breath between them, and a little noise throughout."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    pitch = pitch_hz * 2 ** (0.15 * np.sin(2 * np.pi * 0.7 * t))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    x = np.zeros(t.size)
    for k in range(1, int(4000 / pitch_hz)):
        bells = sum(1 / (1 + ((k * pitch_hz - f) / 120) ** 2) for f in (550, 1500, 2600))
        x += (0.03 + bells) / k**0.5 * np.cos(k * phase)
    x *= np.clip(np.sin(np.pi * per_s * t), -0.0, None)
    x += 0.1 * rng.standard_normal(t.size) * (np.sin(np.pi * per_s * t) < 0)
    x += 0.003 * rng.standard_normal(t.size)
    return (0.1 * x / np.abs(x).max() * 5).astype(np.float32)


def named(x: np.ndarray) -> dict[str, float]:
    return dict(zip(COLUMNS, core(x, RATE).tolist(), strict=True))


def test_it_is_a_set() -> None:
    made = find_feature_set("emovox-core")
    assert SETS["emovox-core"] is made
    assert (made.kind, made.columns, made.extra) == ("vector", COLUMNS, None)
    assert len(set(COLUMNS)) == len(COLUMNS)
    assert set(LEVEL_COLUMNS) < set(COLUMNS)
    # It goes to worker processes.
    again = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(again(speech()), made(speech()))


def test_values_are_finite() -> None:
    assert np.isfinite(core(speech(), RATE)).all()
    rng = np.random.default_rng(0)
    for n in (1, 2, 159, 160, 321, 1000, 16_001):
        for x in (np.zeros(n), 0.1 * rng.standard_normal(n), np.ones(n)):
            row = core(x.astype(np.float32), RATE)
            assert row.shape == (len(COLUMNS),)
            assert not np.isinf(row).any()


def test_unvoiced_recording_gives_nan() -> None:
    noise = named((0.1 * np.random.default_rng(1).standard_normal(RATE)).astype(np.float32))
    assert noise["voiced_share"] < 0.05
    silence = named(np.zeros(RATE, np.float32))
    for name in ("f0_semitone_mean", "jitter_mean", "hnr_db_mean", "f1_hz_mean", "level_db"):
        assert np.isnan(silence[name])
    assert silence["voiced_share"] == silence["heard_s"] == silence["voiced_segments_per_s"] == 0


@pytest.mark.parametrize("pitch_hz", [90.0, 140.0, 220.0, 330.0])
def test_pitch_columns(pitch_hz: float) -> None:
    found = named(speech(pitch_hz))
    assert found["f0_semitone_p50"] == pytest.approx(12 * np.log2(pitch_hz / 27.5), abs=1.5)
    assert found["f0_semitone_range_20_80"] < 4
    assert found["hnr_db_mean"] > 8


@pytest.mark.parametrize("per_s", [2.0, 4.0])
def test_rhythm_columns(per_s: float) -> None:
    # A syllable is half a period of the sine, the breath the other half.
    found = named(speech(per_s=per_s, seconds=3.0))
    assert found["voiced_segments_per_s"] == pytest.approx(per_s / 2, abs=0.4)
    assert found["voiced_length_mean_s"] == pytest.approx(1 / per_s, rel=0.2)
    assert found["voiced_share"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("gain_db", [-20.0, -6.0, 9.0])
def test_gain_changes_level_columns_alone(gain_db: float) -> None:
    x = speech()
    before, after = named(x), named(np.float32(10 ** (gain_db / 20)) * x)
    others = [name for name in COLUMNS if name not in LEVEL_COLUMNS]
    np.testing.assert_allclose([after[n] for n in others], [before[n] for n in others], rtol=5e-3, atol=5e-3)
    assert after["level_db"] - before["level_db"] == pytest.approx(gain_db, abs=1e-3)
    assert all(not np.isclose(after[n], before[n], rtol=1e-3) for n in LEVEL_COLUMNS)


def test_modulation_columns() -> None:
    low = "modulation_0.5_2_hz_band_03"
    high = "modulation_4_8_hz_band_03"
    slow, fast = named(speech(per_s=2.0, seconds=4.0)), named(speech(per_s=10.0, seconds=4.0))
    assert slow[low] > fast[low] + 0.5
    assert fast[high] > slow[high] + 0.5


def test_spectral_tilt_columns() -> None:
    x = speech()
    dull, sharp = np.convolve(x, [0.25, 0.5, 0.25], "same"), np.diff(x, prepend=0)
    found = [named(v.astype(np.float32)) for v in (dull, x, sharp)]
    for name, sign in (("alpha_ratio_db_voiced_mean", 1), ("hammarberg_db_voiced_mean", -1)):
        values = [sign * row[name] for row in found]
        assert values == sorted(values)


@pytest.mark.corpora
def test_correlation_with_egemaps() -> None:
    opensmile = pytest.importorskip("opensmile")
    from emovox import audio

    folder = Path(os.environ.get("EMOVOX_CORPORA", "")) / "emodb"
    clips = sorted(folder.rglob("*.flac"))[::27]
    if not clips:
        pytest.skip("EMOVOX_CORPORA names no folder with EMO-DB")
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    sounds = [audio.read(clip) for clip in clips]
    theirs = np.stack([smile.process_signal(x, RATE).to_numpy()[0] for x in sounds])
    ours = np.stack([core(x, RATE) for x in sounds])
    for name, other, least in (
        ("f0_semitone_p50", "F0semitoneFrom27.5Hz_sma3nz_percentile50.0", 0.95),
        ("loudness_mean", "loudness_sma3_amean", 0.95),
        ("flux_mean", "spectralFlux_sma3_amean", 0.95),
        ("mfcc_02_voiced_mean", "mfcc2V_sma3nz_amean", 0.95),
        ("hammarberg_db_voiced_mean", "hammarbergIndexV_sma3nz_amean", 0.9),
        ("level_db", "equivalentSoundLevel_dBp", 0.99),
    ):
        pair = ours[:, COLUMNS.index(name)], theirs[:, list(smile.feature_names).index(other)]
        assert np.corrcoef(*pair)[0, 1] > least, name
