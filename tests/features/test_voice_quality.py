"""Voice quality, formants, syllables: voices made with known ones are measured right, and as Praat does."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.errors import AudioValueError, ConfigError
from emovox.features import FEATURES
from emovox.features.frames import ShortTime
from emovox.features.pitch import VoicedFrames, find_nuclei

RATE = 16_000
NAMES = ("f0", "formants", "harmonics", "hnr", "jitter", "shimmer", "syllable_rate")
f0, formants, harmonics, hnr, jitter, shimmer, syllable_rate = (FEATURES[name] for name in NAMES)
VOWELS = {"a": (730, 1090, 2440), "i": (270, 2290, 3010), "u": (300, 870, 2240), "schwa": (500, 1500, 2500)}
WIDTHS_HZ = (80, 100, 140, 200)
NAMES = ("jitter", "shimmer", "hnr", "formants", "harmonics", "syllable_rate")


def voice(
    pitch_hz: float,
    *,
    seed: int = 0,
    seconds: float = 1.0,
    formants_hz: tuple[float, ...] = VOWELS["schwa"],
    jitter: float = 0.0,
    shimmer: float = 0.0,
    snr_db: float | None = None,
) -> np.ndarray:
    """Pulses, each at its own time and with its own height, through resonances in a row: ``(n,)``.

    ``jitter`` and ``shimmer`` are deviations, as shares of a period and of the height. Pulses fall between
    samples too: each is a band-limited one.
    """
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    spectrum = np.zeros(n // 2 + 1, dtype=complex)
    omega = 2 * np.pi * np.arange(n // 2 + 1) / n
    time = 0.0
    while time < n:
        height = 1 + shimmer * rng.standard_normal()
        spectrum += height * np.exp(-1j * omega * time)
        time += RATE / pitch_hz * (1 + jitter * rng.standard_normal())
    z = np.exp(-1j * omega)
    for hz, width in zip((*formants_hz, 3500), WIDTHS_HZ, strict=True):
        radius = np.exp(-np.pi * width / RATE)
        spectrum /= 1 - 2 * radius * np.cos(2 * np.pi * hz / RATE) * z + radius**2 * z**2
    spectrum /= 1 - 0.9 * z  # the slope of a voice
    x = np.fft.irfft(spectrum, n)
    x -= x.mean()
    x /= np.sqrt(np.mean(x**2))
    if snr_db is not None:
        x += 10 ** (-snr_db / 20) * rng.standard_normal(n)
    return (0.1 * x).astype(np.float32)


def inner(values: np.ndarray) -> np.ndarray:
    """Frames that are not at an end."""
    return values[8:-8]


# --- jitter, shimmer, HNR ----------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.005, 0.01, 0.02])
@pytest.mark.parametrize("pitch_hz", [110.0, 220.0])
def test_jitter_of_synthetic_voice(share: float, pitch_hz: float) -> None:
    # Two neighbours that deviate independently differ by 2 / sqrt(pi) deviations on average.
    found = [np.nanmean(jitter(voice(pitch_hz, jitter=share, seed=s), RATE)) for s in range(4)]
    assert np.mean(found) == pytest.approx(2 / np.sqrt(np.pi) * share, rel=0.3)


def test_regular_voice() -> None:
    for pitch_hz in (90.0, 143.0, 251.0):
        x = voice(pitch_hz)
        assert np.nanmean(inner(jitter(x, RATE))) < 0.002
        assert np.nanmean(inner(shimmer(x, RATE))) < 0.1


@pytest.mark.parametrize("share", [0.03, 0.08])
def test_shimmer_of_synthetic_voice(share: float) -> None:
    found = [np.nanmean(shimmer(voice(120.0, shimmer=share, seed=s), RATE)) for s in range(4)]
    assert np.mean(found) == pytest.approx(20 / np.log(10) * 2 / np.sqrt(np.pi) * share, rel=0.35)


@pytest.mark.parametrize("snr_db", [5.0, 10.0, 20.0])
@pytest.mark.parametrize("pitch_hz", [120.0, 215.0])
def test_hnr_of_synthetic_voice(snr_db: float, pitch_hz: float) -> None:
    x = voice(pitch_hz, snr_db=snr_db)
    assert np.nanmedian(inner(hnr(x, RATE))) == pytest.approx(snr_db, abs=1.5)


@given(st.floats(0.01, 8.0), st.sampled_from([100.0, 230.0]))
@settings(max_examples=8)
def test_gain_invariance(gain: float, pitch_hz: float) -> None:
    x = voice(pitch_hz, jitter=0.01, snr_db=20.0, seconds=0.4)
    for name in NAMES:
        before, after = FEATURES[name](x, RATE), FEATURES[name](np.float32(gain) * x, RATE)
        close = np.isclose(before, after, rtol=2e-2, atol=2e-2, equal_nan=True)
        assert close.mean() > 0.97, name


# --- formants ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vowel", VOWELS)
@pytest.mark.parametrize("pitch_hz", [90.0, 130.0])
def test_formants_of_vowels(vowel: str, pitch_hz: float) -> None:
    x = voice(pitch_hz, formants_hz=VOWELS[vowel], snr_db=50.0)
    found = np.nanmedian(inner(formants(x, RATE)), axis=0)
    np.testing.assert_allclose(found[[0, 3, 6]], VOWELS[vowel], rtol=0.08, atol=45)


def test_formant_bandwidths() -> None:
    low = np.nanmedian(inner(formants(voice(100.0), RATE))[:, 1])
    assert 30 < low < 200


def test_harmonic_levels() -> None:
    t = np.arange(RATE) / RATE
    x = 0.1 * np.cos(2 * np.pi * 150 * t) + 0.05 * np.cos(2 * np.pi * 300 * t + 1)
    x += 0.01 * np.cos(2 * np.pi * 450 * t)
    found = inner(harmonics(x.astype(np.float32), RATE, pitch_hz=np.full(101, 150.0)))
    assert found[:, 0] == pytest.approx(20 * np.log10(2), abs=0.3)


def test_formant_levels() -> None:
    a, u = (inner(formants(voice(120.0, formants_hz=VOWELS[v]), RATE)) for v in ("a", "u"))
    assert np.nanmedian(a[:, 5]) > np.nanmedian(u[:, 5]) - 3
    assert np.nanmedian(a[:, 8]) > np.nanmedian(u[:, 8]) + 3


# --- syllables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5, 9])
def test_syllables_are_counted(n: int) -> None:
    seconds = 2.0
    x = voice(140.0, seconds=seconds)
    t = np.arange(x.size) / RATE
    swell = np.sin(np.pi * n * t / seconds) ** 2
    found = syllable_rate((x * swell).astype(np.float32), RATE)
    assert found[:, 0].sum() == n
    assert found[100, 1] == pytest.approx(n / seconds, abs=1.01)


def test_syllables_of_noise() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert syllable_rate(noise, RATE)[:, 0].sum() == 0


def test_nuclei_need_a_dip() -> None:
    level = np.array([-60.0, -20, -21.5, -19, -60, -22, -60, -50, -60])
    voiced = np.ones(9, dtype=bool)
    assert find_nuclei(level, voiced).tolist() == [3, 5]
    assert find_nuclei(level, voiced, dip_db=1.0).tolist() == [1, 3, 5]
    assert find_nuclei(level, voiced, threshold_db=2.0).tolist() == [3]
    assert find_nuclei(level, voiced & (np.arange(9) != 5)).tolist() == [3]


# --- what all have in common -------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_shape_and_missing(name: str) -> None:
    silence = np.zeros(4000, np.float32)
    x = np.concatenate([silence, voice(150.0, seconds=0.5), silence])
    family = FEATURES[name]
    found = family(x, RATE)
    assert found.dtype == np.float32
    assert found.shape == (1 + x.size // 160, len(family.columns()))
    if name != "syllable_rate":
        unvoiced = np.isnan(f0(x, RATE)[:, 0])
        assert np.isnan(found[unvoiced]).all()
        assert np.isfinite(found[~unvoiced]).any(axis=0).all()
    assert np.isfinite(family(silence, RATE)).all() == (name == "syllable_rate")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 2, 159, 400, 801])
def test_short_sounds(name: str, n: int) -> None:
    x = voice(150.0, seconds=0.5)[2000 : 2000 + n]
    assert FEATURES[name](x, RATE).shape[0] == 1 + n // 160


@pytest.mark.parametrize("name", NAMES)
def test_pitch_argument(name: str) -> None:
    x = voice(150.0, seconds=0.4)
    short = ShortTime(x, RATE)
    own = FEATURES[name](x, RATE, shared=short)
    assert VoicedFrames.of(short) is VoicedFrames.of(short)
    given_f0 = FEATURES[name](x, RATE, pitch_hz=f0(x, RATE)[:, 0])
    np.testing.assert_allclose(own, given_f0, equal_nan=True, rtol=1e-5)
    none = FEATURES[name](x, RATE, pitch_hz=np.full(short.n_frames, np.nan))
    assert not np.nan_to_num(none).any()


@pytest.mark.parametrize("pitch_hz", [np.ones(3), np.full(41, 5000.0), np.full(41, -1.0)])
def test_invalid_pitch_is_refused(pitch_hz: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="pitch_hz"):
        jitter(voice(150.0, seconds=0.4), RATE, pitch_hz=pitch_hz)


def test_out_of_range_parameters() -> None:
    x = voice(150.0, seconds=0.2)
    for wrong in ({"top_hz": 9000.0}, {"order": 1}):
        with pytest.raises(ConfigError, match=r"top_hz|order"):
            formants(x, RATE, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="dip_db"):
        syllable_rate(x, RATE, dip_db=0)
    with pytest.raises(AudioValueError):
        hnr(np.empty(0), RATE)


# --- Praat -------------------------------------------------------------------------------------------


def praat(x: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Praat's F1 to F3 and HNR of our frames, ``(t, 4)``, jitter and shimmer (dB) of the whole."""
    parselmouth = pytest.importorskip("parselmouth")
    sound = parselmouth.Sound(x.astype(float), RATE)
    points = parselmouth.praat.call(sound, "To PointProcess (periodic, cc)", 60, 500)
    local = parselmouth.praat.call(points, "Get jitter (local)", 0, 0, 0.0001, 0.02, 1.3)
    decibels = parselmouth.praat.call([sound, points], "Get shimmer (local_dB)", 0, 0, 0.0001, 0.02, 1.3, 1.6)
    resonances = sound.to_formant_burg(0.01, 5, 5500)
    harmonicity = sound.to_harmonicity_cc(0.01, 60)
    times = np.arange(1 + x.size // 160) * 0.01
    rows = [
        [*(resonances.get_value_at_time(k, t) for k in (1, 2, 3)), harmonicity.get_value(t)] for t in times
    ]
    return np.array(rows, dtype=float), local, decibels


def test_praat_on_synthetic_voices() -> None:
    x = voice(120.0, jitter=0.01, shimmer=0.05, snr_db=30.0)
    frames, local, decibels = praat(x)
    assert np.nanmean(jitter(x, RATE)) == pytest.approx(local, rel=0.35)
    assert np.nanmean(shimmer(x, RATE)) == pytest.approx(decibels, rel=0.4)
    ours = inner(formants(x, RATE))[:, [0, 3, 6]]
    np.testing.assert_allclose(np.nanmedian(ours, 0), np.nanmedian(inner(frames[:, :3]), 0), rtol=0.06)


@pytest.mark.corpora
def test_praat_on_ravdess() -> None:
    from emovox import audio

    folder = Path(os.environ.get("EMOVOX_CORPORA", "")) / "ravdess"
    clips = sorted(folder.glob("Actor_*/*"))[::144] if folder.is_dir() else []
    if not clips:
        pytest.skip("EMOVOX_CORPORA names no folder with RAVDESS")
    pairs = []
    for clip in clips:
        x = audio.read(clip)
        frames, _, _ = praat(x)
        ours = np.column_stack([formants(x, RATE)[:, [0, 3, 6]], hnr(x, RATE)])
        pairs.append(np.stack([frames, ours])[:, f0(x, RATE)[:, 2] > 0.85])
    theirs, ours = np.concatenate(pairs, axis=1)
    found = []
    for k in range(4):
        there = np.isfinite(theirs[:, k]) & np.isfinite(ours[:, k]) & (theirs[:, k] > -100)
        found.append(float(np.corrcoef(theirs[there, k], ours[there, k])[0, 1]))
    print("correlation with Praat, F1 F2 F3 HNR:", [round(r, 2) for r in found])
    assert found[0] > 0.4
    assert found[1] > 0.5
    assert found[2] > 0.4
    assert found[3] > 0.6
