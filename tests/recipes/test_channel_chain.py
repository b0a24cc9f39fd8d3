"""The augmentation of the default model: each function keeps time and level, and is repeatable."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals import RATE, delay, draw, level_db, pitch, speech, tone

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

import channel_chain as chain  # type: ignore[import-not-found]

AUGMENTATIONS, ChainConfig, channel_chain = chain.AUGMENTATIONS, chain.ChainConfig, chain.channel_chain
KEEPS_LENGTH = sorted(set(AUGMENTATIONS) - {"crop", "speed"})

# How much louder a transform may make the RMS, in dB; the equaliser's tilt and bumps add up.
LOUDER_DB = {"equalise": 30.0, "gain": 12.0, "noise": 1.3, "reverb": 4.0}


# ------------------------------------------------------------------------------------ all of them


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_same_seed_same_sound(name: str) -> None:
    x = speech()
    before = x.copy()
    change = AUGMENTATIONS[name]
    first, again = change(x, draw(5)), change(x, draw(5))
    assert first.dtype == np.float32
    assert first.ndim == 1
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(x, before)
    others = [change(x, draw(seed)) for seed in range(6, 12)]
    assert any(len(y) != len(first) or (y != first).any() for y in others)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_read_only_input(name: str) -> None:
    x = speech(0.5)
    x.flags.writeable = False
    AUGMENTATIONS[name](x, draw(0))


@pytest.mark.parametrize("name", KEEPS_LENGTH)
def test_length_time_and_level(name: str) -> None:
    x = speech()
    for seed in range(5):
        y = AUGMENTATIONS[name](x, draw(seed))
        assert len(y) == len(x)
        assert delay(x, y) == 0
        assert level_db(y) - level_db(x) <= LOUDER_DB.get(name, 0.5)
        assert np.abs(y).max() > 0.01


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("n", [1, 16, 160, 401])
def test_very_short_sounds(name: str, n: int) -> None:
    for seed in range(3):
        y = AUGMENTATIONS[name](speech()[8000 : 8000 + n], draw(seed))
        assert y.dtype == np.float32
        assert np.isfinite(y).all()
        assert len(y) == n or (name == "speed" and abs(len(y) - n) <= 0.12 * n + 1)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_silence_stays_silence(name: str) -> None:
    for seed in range(3):
        y = AUGMENTATIONS[name](np.zeros(RATE // 2, np.float32), draw(seed))
        assert np.abs(y).max() < 1e-6


def test_functions_are_exported() -> None:
    functions = {change.__name__ for change in AUGMENTATIONS.values()}
    assert len(functions) == len(AUGMENTATIONS)
    assert functions <= set(chain.__all__)
    assert set(ChainConfig.__dataclass_fields__) == set(AUGMENTATIONS)


# ------------------------------------------------------------------------------------ each of them


@given(st.floats(-30, 0), st.floats(0, 30), st.integers(0, 99))
def test_gain_range(low_db: float, high_db: float, seed: int) -> None:
    x = speech(0.1)
    change_db = level_db(chain.gain(x, draw(seed), low_db=low_db, high_db=high_db)) - level_db(x)
    assert low_db - 1e-3 <= change_db <= high_db + 1e-3


@given(st.floats(0.8, 1.25))
@settings(max_examples=25)
def test_speed_pitch_and_length(factor: float) -> None:
    y = chain.speed(tone(440), draw(0), low=factor, high=factor)
    assert 1200 * abs(np.log2(pitch(y) / 440 / factor)) < 10  # cents
    assert len(y) == pytest.approx(RATE / factor, rel=0.01)


def test_crop_span() -> None:
    x = np.arange(3 * RATE, dtype=np.float32)
    lengths = set()
    for seed in range(30):
        y = chain.crop(x, draw(seed), shortest_s=1.0, least=0.6)
        np.testing.assert_array_equal(y, x[int(y[0]) : int(y[0]) + len(y)])
        assert 1.8 * RATE <= len(y) <= 3 * RATE
        lengths.add(len(y))
    assert len(lengths) > 20
    np.testing.assert_array_equal(chain.crop(x[:RATE], draw(0), shortest_s=1.2), x[:RATE])


@given(st.floats(-5, 50), st.integers(0, 99))
@settings(max_examples=40)
def test_noise_ratio(snr_db: float, seed: int) -> None:
    x = speech(0.6)
    y = chain.add_noise(x, draw(seed), low_db=snr_db, high_db=snr_db)
    added = y.astype(np.float64) - x
    assert level_db(x) - level_db(added) == pytest.approx(snr_db, abs=0.5)


def test_noise_colour_range() -> None:
    x = speech(1.0)
    tilts = []
    for seed in range(12):
        added = chain.add_noise(x, draw(seed), low_db=0, high_db=0).astype(np.float64) - x
        power = np.abs(np.fft.rfft(added)) ** 2
        tilts.append(10 * np.log10(power[200:400].mean() / power[3200:6400].mean()))  # four octaves apart
    assert min(tilts) < 6  # nearly white
    assert max(tilts) > 15  # nearly brown: 24 dB


def test_equaliser_response() -> None:
    click = np.zeros(4096, np.float32)
    click[2048] = 1
    for seed in range(8):
        response_db = 20 * np.log10(np.abs(np.fft.rfft(chain.equalise(click, draw(seed)))) + 1e-9)
        assert np.abs(np.diff(response_db[13:])).max() < 1.5  # above 50 Hz, from bin to bin
        assert np.abs(response_db).max() < 32
        assert np.ptp(response_db) > 0.5


def test_band_limit_response() -> None:
    click = np.zeros(8192, np.float32)
    click[4096] = 1
    telephones = 0
    for seed in range(30):
        y = chain.band_limit(click, draw(seed))
        hz = np.fft.rfftfreq(len(y), 1 / RATE)
        response_db = 20 * np.log10(np.abs(np.fft.rfft(y)) + 1e-9)
        assert np.abs(response_db[(hz > 500) & (hz < 2500)]).max() < 1.0
        assert response_db.max() < 0.5
        assert (response_db[hz < 5] < -40).all()
        if response_db[hz < 150].max() < -30:
            telephones += 1
            assert response_db[hz > 4800].max() < -30
            assert response_db[np.searchsorted(hz, 300)] == pytest.approx(-3, abs=0.5)
            assert response_db[np.searchsorted(hz, 3400)] == pytest.approx(-3, abs=0.5)
    assert 3 <= telephones <= 18


def test_reverberation_tail() -> None:
    click = np.zeros(RATE, np.float32)
    click[1000] = 0.5
    for seed in range(5):
        y = chain.reverberate(click, draw(seed), longest_s=0.4)
        np.testing.assert_allclose(y[:1000], 0, atol=1e-6)  # nothing before its cause
        assert y[1000] == pytest.approx(0.5, abs=1e-5)
        np.testing.assert_allclose(y[1001:1030], 0, atol=1e-6)  # the walls are farther off than 2 ms
        tail = y[1032:].astype(np.float64)
        assert -13 < 10 * np.log10((tail**2).sum() / 0.25) < 1
        assert np.abs(tail[6400:]).max() < 1e-6  # longest_s
        assert (tail[:800] ** 2).mean() > (tail[800:1600] ** 2).mean()


def test_clipped_peaks() -> None:
    x = speech()
    for seed in range(5):
        y = chain.clip_peaks(x, draw(seed))
        rail = np.abs(y).max()
        cut = np.abs(x) > rail
        assert 0.0005 < cut.mean() < 0.051
        np.testing.assert_array_equal(y[~cut], x[~cut])
        np.testing.assert_allclose(np.abs(y[cut]), rail)


def test_mu_law_error() -> None:
    t = np.arange(RATE) / RATE
    x = 0.4 * np.sin(2 * np.pi * 300 * t) * np.hanning(len(t)) + 0.05 * np.sin(2 * np.pi * 1100 * t)
    x = x.astype(np.float32)
    for seed in range(6):
        y = chain.mu_law(x, draw(seed))
        error = (y - x)[200:-200]  # without the resampler's ends
        # Half a step is at most 1/32 of the value; between samples of 8 kHz neighbours add a little.
        assert np.abs(error).max() < 1.3 * np.abs(x).max() / 32
        assert 30 < level_db(x) - level_db(error) < 45  # the textbook says 38 dB
        assert level_db(y) == pytest.approx(level_db(x), abs=0.1)


def test_mu_law_bandwidth() -> None:
    y = chain.mu_law(tone(300) + tone(5500), draw(0))
    power = np.abs(np.fft.rfft(y)) ** 2
    assert power[5400:5600].max() < 1e-3 * power[300]


@pytest.mark.parametrize("form", [("MP3", "MPEG_LAYER_III"), ("OGG", "OPUS")])
def test_codec_delay(form: tuple[str, str]) -> None:
    x = speech()
    for level in (0.5, 0.9):
        y = chain._through_file(x, RATE, *form, level, len(x))
        assert len(y) == len(x)
        assert delay(x, y) == 0
        assert np.corrcoef(x, y)[0, 1] > 0.8
        assert np.abs(y - x).max() > 1e-3  # it is lossy


def test_both_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    x, drawn = speech(0.5), set()
    through_file = chain._through_file

    def told(y: np.ndarray, rate: int, form: str, *rest: object) -> np.ndarray:
        drawn.add(form)
        assert np.abs(y).max() < 1  # else the encoder would clip
        return through_file(y, rate, form, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(chain, "_through_file", told)
    for seed in range(10):
        y = chain.encode_decode(10 * x, draw(seed))
        assert np.corrcoef(x, y)[0, 1] > 0.7
        assert level_db(y) - level_db(x) == pytest.approx(20, abs=1)
    assert drawn == {"MP3", "OGG"}


# ------------------------------------------------------------------------------------ the chain

NOTHING = dict.fromkeys(ChainConfig.__dataclass_fields__, 0.0)


def test_empty_chain() -> None:
    x = speech()
    np.testing.assert_array_equal(channel_chain(x, draw(0), ChainConfig(**NOTHING)), x)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_chain_of_one_step(name: str) -> None:
    x = speech(0.4)
    alone, chained = draw(3), draw(3)
    order = list(ChainConfig.__dataclass_fields__)
    for _ in range(order.index(name) + 1):
        alone.random()  # a draw for each link, taken or not
    expected = AUGMENTATIONS[name](x, alone)
    np.testing.assert_array_equal(channel_chain(x, chained, ChainConfig(**NOTHING | {name: 1.0})), expected)


def test_whole_chain() -> None:
    x = speech(1.0)
    lengths = set()
    for seed in range(8):
        y = channel_chain(x, draw(seed))
        np.testing.assert_array_equal(y, channel_chain(x, draw(seed)))
        assert y.dtype == np.float32
        assert np.isfinite(y).all()
        assert level_db(y) > -60
        lengths.add(len(y))
    assert len(lengths) > 3
