"""F0: voices of known pitch are found, and what has no voice is given none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.errors import AudioValueError, ConfigError
from emovox.features import FEATURES
from emovox.features.frames import FrameSettings, ShortTime

RATE = 16_000
f0 = FEATURES["f0"]
PITCHES_HZ = (70, 90, 120, 160, 210, 280, 360, 450)
VOWELS_HZ = ((700, 1200, 2600), (300, 2300, 3000), (500, 1500, 2500), (350, 800, 2400))

KINDS: dict[str, dict[str, object]] = {
    "clean": {},
    "jitter 2 %": {"jitter": 0.02},
    "noise at 20 dB": {"snr_db": 20.0},
    "jitter and noise": {"jitter": 0.02, "snr_db": 20.0},
    "no fundamental": {"lowest": 2, "snr_db": 20.0},
    "harmonics from the third": {"lowest": 3, "snr_db": 20.0, "jitter": 0.01},
    "telephone": {"band_hz": (300.0, 3400.0), "snr_db": 20.0, "jitter": 0.01},
    "without 2 and 3": {"without": (2, 3), "snr_db": 20.0},
}


def voice(
    pitch_hz: float,
    *,
    seed: int,
    seconds: float = 0.6,
    rate: int = RATE,
    jitter: float = 0.0,
    snr_db: float = 60.0,
    lowest: int = 1,
    without: tuple[int, ...] = (),
    band_hz: tuple[float, float] = (0.0, 4000.0),
    glide_octaves: float = 0.1,
) -> tuple[np.ndarray, np.ndarray]:
    """A vowel whose pitch swings about ``pitch_hz``: samples, and the pitch at each of them, both ``(n,)``.

    The periods are laid one after the other, each with its own jitter; the harmonics follow their phase.
    """
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate

    def contour(at: float | np.ndarray) -> float | np.ndarray:
        return pitch_hz * 2 ** (glide_octaves * np.sin(2 * np.pi * 1.5 * at))

    starts = [0.0]
    while starts[-1] <= seconds:
        starts.append(starts[-1] + (1 + jitter * rng.standard_normal()) / contour(starts[-1]))
    cycles = np.interp(t, starts, np.arange(len(starts)))
    x = np.zeros(len(t))
    for k in range(lowest, int(4000 / pitch_hz) + 1):
        hz = k * pitch_hz
        if k in without or not band_hz[0] <= hz <= band_hz[1]:
            continue
        bells = (1 / (1 + ((hz - formant) / (0.1 * formant)) ** 2) for formant in VOWELS_HZ[seed % 4])
        amplitude = (0.05 + sum(bells)) / np.sqrt(k)
        x += amplitude * np.cos(2 * np.pi * (k * cycles + rng.random()))
    x /= np.sqrt(np.mean(x**2))
    x += 10 ** (-snr_db / 20) * rng.standard_normal(len(x))
    return (0.1 * x).astype(np.float32), np.asarray(contour(t))


def judge(found_hz: np.ndarray, truth_hz: np.ndarray, hop: int) -> np.ndarray:
    """Frames wrong by over a fifth, missed and judged; a twentieth of a second at both ends is not judged."""
    middles = np.arange(len(found_hz)) * hop
    inner = (middles >= 0.05 * RATE) & (middles < len(truth_hz) - 0.05 * RATE)
    found, truth = found_hz[inner], truth_hz[middles[inner]]
    missed = np.isnan(found)
    return np.array([(np.abs(found / truth - 1) > 0.2).sum(), missed.sum(), len(found)])


@pytest.mark.parametrize("kind", KINDS)
def test_voices_of_known_pitch(kind: str) -> None:
    total, fine = np.zeros(3), []
    for seed, pitch_hz in enumerate(PITCHES_HZ):
        x, truth = voice(pitch_hz, seed=seed, **KINDS[kind])  # type: ignore[arg-type]
        found = f0(x, RATE)[:, 0]
        total += judge(found, truth, 160)
        fine.append(np.nanmedian(np.abs(found[5:55] / truth[800:8800:160] - 1)))
    wrong, missed, judged = total
    assert judged > 350
    assert wrong / judged <= 0.005
    assert missed / judged <= 0.01
    assert np.median(fine) < (0.01 if "jitter" in KINDS[kind] else 0.003)


def test_octave_errors() -> None:
    # A steady voice is as periodic an octave below: with free jumps, the octave cost alone decides.
    wrong_for_free = 0
    for seed, pitch_hz in enumerate((200, 250, 320, 400)):  # whole samples a period
        x, truth = voice(pitch_hz, seed=seed, glide_octaves=0.0, snr_db=30.0)
        assert judge(f0(x, RATE, jump_cost=0.0)[:, 0], truth, 160)[:2].sum() == 0
        wrong_for_free += judge(f0(x, RATE, jump_cost=0.0, octave_cost=0.0)[:, 0], truth, 160)[0]
    assert wrong_for_free > 10


def test_no_worse_than_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    ours, theirs = np.zeros(3), np.zeros(3)
    for seed, pitch_hz in enumerate((75, 180, 400)):
        x, truth = voice(pitch_hz, seed=seed, snr_db=20.0, jitter=0.01, lowest=2)
        ours += judge(f0(x, RATE, settings=FrameSettings(hop=512))[:, 0], truth, 512)
        pyin = librosa.pyin(x, sr=RATE, fmin=60, fmax=500, frame_length=2048, hop_length=512)[0]
        theirs += judge(pyin, truth, 512)
    assert ours[2] == theirs[2] > 30
    assert ours[0] <= theirs[0]
    assert ours[:2].sum() <= theirs[:2].sum()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("colour", ["white", "muffled", "hissing"])
def test_noise_has_no_voice(colour: str, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal(2 * RATE)
    if colour == "muffled":
        x = np.convolve(x, np.hanning(32), "same")
    if colour == "hissing":
        x = np.diff(x)
    found = f0(0.1 * x, RATE)
    assert found[:, 1].mean() <= 0.01
    assert found[:, 2].mean() < 0.5


@pytest.mark.parametrize("level", [0.0, 0.3, 1e-8])
def test_silence_has_no_voice(level: float) -> None:
    n = 8000
    x = np.full(n, level, np.float32)  # an offset is silence too
    found = f0(x, RATE)[3:-3]
    assert np.isnan(found[:, 0]).all()
    assert not found[:, 1:].any()


def test_voicing_boundaries() -> None:
    x, truth = voice(150, seed=1, seconds=0.5)
    silence, rng = np.zeros(4800, np.float32), np.random.default_rng(0)
    sound = np.concatenate([silence, x, silence])
    sound += (1e-3 * rng.standard_normal(len(sound))).astype(np.float32)
    voiced = np.flatnonzero(f0(sound, RATE)[:, 1])
    assert abs(voiced[0] - 30) <= 2
    assert abs(voiced[-1] - 80) <= 2
    assert np.array_equal(voiced, np.arange(voiced[0], voiced[-1] + 1))
    assert truth.shape == x.shape


def test_columns_are_consistent() -> None:
    family = FEATURES["f0"]
    assert family.columns() == ("f0_hz", "f0_voiced", "f0_periodicity")
    noise = np.random.default_rng(5).standard_normal(8000).astype(np.float32) * 0.1
    found = family(np.concatenate([noise, voice(200, seed=2, snr_db=5.0)[0], noise]), RATE)
    hz, voiced, periodicity = found.T
    assert found.dtype == np.float32
    assert set(voiced) == {0.0, 1.0}
    assert np.array_equal(np.isnan(hz), voiced == 0)
    assert ((hz >= 60) & (hz <= 500))[voiced == 1].all()
    assert ((periodicity >= 0) & (periodicity <= 1)).all()


@given(st.sampled_from(PITCHES_HZ), st.floats(1e-3, 9.0), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_gain_invariance(pitch_hz: int, gain: float, seed: int) -> None:
    x, _ = voice(pitch_hz, seed=seed, seconds=0.3, snr_db=15.0, jitter=0.01)
    before, after = f0(x, RATE), f0(np.float32(gain) * x, RATE)
    assert np.array_equal(before[:, 1], after[:, 1])
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4)


@given(st.integers(1, 40), st.sampled_from([80, 160, 200]))
@settings(max_examples=20, deadline=None)
def test_shift_moves_frames(n_frames: int, hop: int) -> None:
    x, _ = voice(140, seed=3, seconds=0.4, snr_db=20.0)
    frames = FrameSettings(hop=hop)
    later = np.concatenate([np.zeros(n_frames * hop, np.float32), x])
    before, after = f0(x, RATE, settings=frames), f0(later, RATE, settings=frames)
    assert not after[: max(0, n_frames - 3), 1].any()
    np.testing.assert_allclose(after[n_frames:], before, rtol=1e-5, atol=1e-5)


def test_long_recording_equals_parts() -> None:
    # Frames are transformed a few at a time.
    x, _ = voice(110, seed=0, seconds=8.0, snr_db=20.0)
    whole = f0(x, RATE)
    part = f0(x[4 * RATE : 7 * RATE], RATE)
    np.testing.assert_allclose(part[10:-10], whole[410 : 400 + len(part) - 10], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100])
def test_other_rates(rate: int) -> None:
    x, truth = voice(180, seed=2, rate=rate)
    hop = rate // 100
    found = f0(x, rate, settings=FrameSettings(window=hop, hop=hop))[5:-5, 0]
    np.testing.assert_allclose(found, truth[hop * np.arange(5, 5 + len(found))], rtol=0.01)


@given(st.integers(1, 3000), st.sampled_from([64, 160, 1000]), st.booleans(), st.sampled_from([400, 2048]))
@settings(max_examples=60, deadline=None)
def test_frames_follow_settings(n: int, hop: int, centred: bool, window: int) -> None:
    frames = FrameSettings(window=window, n_fft=2048, hop=hop, centred=centred)
    x = np.random.default_rng(n).standard_normal(n).astype(np.float32)
    found = f0(x, RATE, settings=frames)
    assert found.shape == (frames.n_frames(n), 3)
    assert np.array_equal(found, f0(x, RATE, shared=ShortTime(x, RATE, frames)), equal_nan=True)


@pytest.mark.parametrize("window", [400, 2048])
def test_frames_not_centred(window: int) -> None:
    x, _ = voice(170, seed=1, seconds=0.8, glide_octaves=0.4)
    plain = FrameSettings(window=window, n_fft=2048, hop=window // 2, centred=False)
    centred = FrameSettings(window=window, n_fft=2048, hop=window // 2)
    began, middle = f0(x, RATE, settings=plain)[:, 0], f0(x, RATE, settings=centred)[:, 0]
    n = min(len(began), len(middle) - 1) - 1
    np.testing.assert_allclose(began[1:n], middle[2 : n + 1], rtol=1e-4)


def test_pitch_range() -> None:
    x, _ = voice(300, seed=0)
    assert np.nanmedian(f0(x, RATE)[:, 0]) == pytest.approx(300, rel=0.1)
    low = f0(x, RATE, low_hz=60, high_hz=200)
    assert (low[low[:, 1] == 1, 0] <= 200).all()


def test_voicing_threshold() -> None:
    x, _ = voice(200, seed=0, snr_db=3.0)
    shares = [f0(x, RATE, voicing=voicing)[:, 1].mean() for voicing in (0.2, 0.5, 0.7, 0.95)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.9
    assert shares[-1] == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"low_hz": 0},
        {"low_hz": 500, "high_hz": 100},
        {"high_hz": 5000},
        {"top_hz": 0},
        {"voicing": 1.0},
        {"jump_cost": -1},
        {"octave_cost": float("nan")},
    ],
)
def test_parameter_limits(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected 0 < low < high"):
        f0(np.zeros(1600, np.float32), RATE, **wrong)


def test_unusable_sound_is_told() -> None:
    for x in (np.zeros(0), np.zeros((2, 100)), np.array([0.0, np.nan])):
        with pytest.raises(AudioValueError):
            f0(x, RATE)
